"""The catalog's schema, as the migrations that lead to it.

A migration never changes once released: a collection of any version is brought up to date by the ones that it lacks, in
one transaction. `PRAGMA user_version` is the version; the table `migrations` is the ledger of when each was applied.

Names of files and folders are BLOBs (the bytes of the file system). Times are ISO 8601 in UTC. Embeddings are
little-endian float16, L2-normalised, in one table an encoder: `embeddings_<encoder id>`. `checksum` is of the columns
that `mmsearch.store.checksums` names.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from mmsearch.base.errors import CollectionVersionError

# "mmsr", so that `file` and others can tell what the database is.
APPLICATION_ID = 0x6D6D7372

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "first schema",
        """
        CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

        CREATE TABLE roots (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL UNIQUE,
            options TEXT NOT NULL,
            added_at TEXT NOT NULL,
            offline_since TEXT
        ) STRICT;

        CREATE TABLE folders (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE) STRICT;

        -- What a file holds, whatever and however many its names. An id is never used twice: vector files rely on it.
        CREATE TABLE contents (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            hash BLOB NOT NULL UNIQUE,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            format TEXT NOT NULL,
            taken_at TEXT,
            camera TEXT,
            latitude REAL,
            longitude REAL
        ) STRICT;

        CREATE TABLE images (
            id INTEGER PRIMARY KEY,
            folder_id INTEGER NOT NULL REFERENCES folders (id),
            name BLOB NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            content_id INTEGER NOT NULL REFERENCES contents (id),
            UNIQUE (folder_id, name)
        ) STRICT;
        CREATE INDEX images_by_content ON images (content_id);

        -- Files that could not be indexed, not tried again until they change. `ignored`: not images, nor named so.
        CREATE TABLE failures (
            folder_id INTEGER NOT NULL REFERENCES folders (id),
            name BLOB NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            reason TEXT NOT NULL,
            ignored INTEGER NOT NULL,
            PRIMARY KEY (folder_id, name)
        ) STRICT, WITHOUT ROWID;

        -- Contents that lost a file; those left with none are dropped at the end of a run.
        CREATE TABLE released (content_id INTEGER PRIMARY KEY) STRICT;

        CREATE TABLE encoders (
            id INTEGER PRIMARY KEY,
            spec TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            dim INTEGER NOT NULL,
            preprocess TEXT NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT;

        -- The current vector files of an encoder: `main`, and `recent` for what came since. Each covers the contents
        -- with ids over `first` and up to `watermark`; `removed` of its vectors are of contents that are gone.
        CREATE TABLE vector_files (
            encoder_id INTEGER NOT NULL REFERENCES encoders (id),
            part TEXT NOT NULL CHECK (part IN ('main', 'recent')),
            name TEXT NOT NULL,
            first INTEGER NOT NULL,
            watermark INTEGER NOT NULL,
            count INTEGER NOT NULL,
            removed INTEGER NOT NULL,
            kind TEXT NOT NULL,
            lists INTEGER NOT NULL,
            probes INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            head_bytes INTEGER NOT NULL,
            head_digest TEXT NOT NULL,
            digest TEXT NOT NULL,
            created_at TEXT NOT NULL,
            PRIMARY KEY (encoder_id, part)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE runs (
            id INTEGER PRIMARY KEY,
            started_at TEXT NOT NULL,
            summary TEXT NOT NULL
        ) STRICT;
        """,
    ),
    (
        "ctime and inode of files",
        """
        -- They tell that a file may hold something else although its size and mtime are the same. NULL: not known yet.
        ALTER TABLE images ADD COLUMN ctime_ns INTEGER;
        ALTER TABLE images ADD COLUMN inode INTEGER;
        ALTER TABLE failures ADD COLUMN ctime_ns INTEGER;
        ALTER TABLE failures ADD COLUMN inode INTEGER;
        """,
    ),
    (
        "checksums",
        """
        -- Adding a column writes no row: those that were there before have no checksum until they are given one, which
        -- `meta` says.
        ALTER TABLE meta ADD COLUMN checksum INTEGER;
        ALTER TABLE roots ADD COLUMN checksum INTEGER;
        ALTER TABLE folders ADD COLUMN checksum INTEGER;
        ALTER TABLE contents ADD COLUMN checksum INTEGER;
        ALTER TABLE images ADD COLUMN checksum INTEGER;
        ALTER TABLE failures ADD COLUMN checksum INTEGER;
        ALTER TABLE encoders ADD COLUMN checksum INTEGER;
        ALTER TABLE vector_files ADD COLUMN checksum INTEGER;
        ALTER TABLE runs ADD COLUMN checksum INTEGER;
        INSERT INTO meta (key, value) SELECT 'checksums', 'partial' WHERE EXISTS
            (SELECT 1 FROM encoders UNION ALL SELECT 1 FROM roots UNION ALL SELECT 1 FROM folders);
        """,
    ),
    (
        "remarks on images, and what refused a file",
        """
        -- What is amiss with a picture that could be used all the same.
        ALTER TABLE contents ADD COLUMN remark TEXT;
        -- The versions that refused a file, and the limit of the run that did, such as `max_pixels 1000`; '' for none.
        ALTER TABLE failures ADD COLUMN reader TEXT;
        ALTER TABLE failures ADD COLUMN refused_by TEXT;
        """,
    ),
)

# What a migration, by its name, does to each table of embeddings besides.
_ON_EMBEDDINGS = {"checksums": "ALTER TABLE {table} ADD COLUMN checksum INTEGER"}

VERSION = len(MIGRATIONS)


def embeddings_table(encoder_id: int) -> str:
    """The name of an encoder's table of embeddings."""
    return f"embeddings_{int(encoder_id)}"


def create_embeddings_table(connection: sqlite3.Connection, encoder_id: int) -> None:
    """Make the table for a new encoder, as the first schema had it and later migrations have changed it."""
    create_first_embeddings_table(connection, embeddings_table(encoder_id))
    for statement in _ON_EMBEDDINGS.values():
        connection.execute(statement.format(table=embeddings_table(encoder_id)))


def create_first_embeddings_table(connection: sqlite3.Connection, table: str) -> None:
    """Make a table of embeddings as the first schema had it."""
    connection.execute(
        f"CREATE TABLE {table} ("
        "content_id INTEGER PRIMARY KEY REFERENCES contents (id) ON DELETE CASCADE, vector BLOB NOT NULL) STRICT"
    )


def embeddings_tables(connection: sqlite3.Connection) -> list[str]:
    """The tables of embeddings that there are, whether an encoder has them or not."""
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'embeddings_[0-9]*' ORDER BY name"
    return [name for (name,) in connection.execute(sql) if name.removeprefix("embeddings_").isdecimal()]


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version of an open catalog; 0 for an empty file.

    A copy by way of SQL (`sqlite3 ... .dump`) has lost its number: then the ledger tells.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    has_ledger = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'"
    if version == 0 and connection.execute(has_ledger).fetchone():
        version = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0]
    return version


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """Raise `CollectionVersionError` where the catalog is newer than this program."""
    version = version_of(connection)
    if version > VERSION:
        raise CollectionVersionError(
            f"the collection at {path} has schema {version}, and this mmsearch knows schemas up to {VERSION}",
            "upgrade mmsearch; the collection was left untouched",
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a catalog up to `VERSION` in one transaction. Expects autocommit mode (`isolation_level=None`)."""
    if [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")] == [
        VERSION,
        APPLICATION_ID,
    ]:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = version_of(connection)
        for number, (name, script) in enumerate(MIGRATIONS[done:], done + 1):
            apply(connection, name, script)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number, name, now))
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def apply(connection: sqlite3.Connection, name: str, script: str) -> None:
    """Do what one of `MIGRATIONS` does, in the open transaction."""
    for statement in _statements(script):
        connection.execute(statement)
    apply_to_embeddings(connection, name)


def apply_to_embeddings(connection: sqlite3.Connection, name: str) -> None:
    """Do what the migration of this name does to tables of embeddings."""
    if name in _ON_EMBEDDINGS:
        for table in embeddings_tables(connection):
            connection.execute(_ON_EMBEDDINGS[name].format(table=table))


def _statements(script: str) -> list[str]:
    """Split a script, since `executescript` would commit the open transaction."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements


def lacks(encoder_id: int, content: str) -> str:
    """The SQL condition that a content has no embedding by an encoder."""
    return f"NOT EXISTS (SELECT 1 FROM {embeddings_table(encoder_id)} WHERE content_id = {content})"
