"""The catalog: a collection's truth, in SQLite. The only room with SQL."""
