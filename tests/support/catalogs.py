"""Edit a collection's catalog with SQLite alone, as an accident or an enemy would."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.store import checksums
from mmsearch.store.connection import CATALOG_NAME


@contextmanager
def edited(place: Path, *, enforce: bool = False) -> Iterator[sqlite3.Connection]:
    """The catalog, open to any edit; with `enforce`, references must hold."""
    database = sqlite3.connect(place / CATALOG_NAME, isolation_level=None)
    try:
        database.execute(f"PRAGMA foreign_keys = {int(enforce)}")
        yield database
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        database.close()


def seal(database: sqlite3.Connection, table: str) -> None:
    """Give the rows of a table the checksums of what they now hold, so that an edit looks as if it had been written."""
    covered = checksums.COVERED[table]
    for number, *values in database.execute(f"SELECT rowid, {', '.join(covered)} FROM {table}").fetchall():
        database.execute(f"UPDATE {table} SET checksum = ? WHERE rowid = ?", (checksums.of_row(*values), number))
