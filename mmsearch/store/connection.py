"""Open the catalog's database, and turn SQLite's errors into ours."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from mmsearch.base.errors import CollectionBusyError, CollectionNotFoundError, StorageError
from mmsearch.base.paths import make_private
from mmsearch.store import schema, selection

CATALOG_NAME = "catalog.sqlite3"

# A full disk, and a full share of one.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}

# Seconds to wait for another process's transaction. A batch's transaction takes milliseconds.
BUSY_SECONDS = 30.0


def connect(folder: Path, *, write: bool) -> sqlite3.Connection:
    """Open the catalog in `folder`; with `write` it is made or migrated as needed.

    The connection is in autocommit mode and may pass between threads (one at a time). Raises `CollectionNotFoundError`,
    `CollectionVersionError`, `StorageError`.
    """
    path = folder / CATALOG_NAME
    with translated(folder):
        _check_header(path, folder)
        if write:
            _create_private(folder, path)
            return _prepared_for_writing(_open(path, "rw"), folder)
        if not path.exists():
            raise CollectionNotFoundError(f"no collection at {folder}", "run `mmsearch index DIR` first")
        connection = _open_for_reading(path)
        with _closed_on_error(connection):
            schema.check_version(connection, str(folder))
            if schema.version_of(connection) == schema.VERSION:
                return connection
        connection.close()
        return connect(folder, write=True)


def _prepared_for_writing(connection: sqlite3.Connection, folder: Path) -> sqlite3.Connection:
    with _closed_on_error(connection):
        schema.check_version(connection, str(folder))
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit survives a power cut; one fsync a batch.
        connection.execute("PRAGMA synchronous = FULL")
        schema.migrate(connection)
    return connection


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn exceptions of SQLite and the file system into mmsearch's."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translate(str(error), folder) from error
    except PermissionError as error:
        raise StorageError(f"no permission to write to {folder}", "choose another place with -C") from error
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(folder) from error
        raise StorageError(f"cannot use {folder}: {error.strerror or error}", "choose another place with -C") from error


def _translate(message: str, folder: Path) -> StorageError | CollectionBusyError:
    if "locked" in message or "busy" in message:
        return CollectionBusyError(f"the collection at {folder} is busy", "try again when the other run is done")
    if "full" in message:
        return _disk_full(folder)
    if "readonly" in message or "read-only" in message or "unable to open" in message:
        hint = "check its permissions, or choose another: -C"
        return StorageError(f"the collection at {folder} cannot be written", hint)
    return StorageError(f"the catalog in {folder} cannot be used ({message})")


def _check_header(path: Path, folder: Path) -> None:
    """Raise `CollectionVersionError` for a later schema without leaving SQLite's files beside it.

    This sees the file without its log: what that holds is seen when it is opened, and without it the file may look
    damaged. It is SQLite that reads it: closing a file of which this process has locks would drop them
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    if path.exists():
        with suppress(sqlite3.DatabaseError), closing(_open(path, "ro&immutable=1")) as connection:
            schema.check_version(connection, str(folder))


def _disk_full(folder: Path) -> StorageError:
    return StorageError(f"the disk of {folder} is full", "free some space and run the command again")


def _create_private(folder: Path, path: Path) -> None:
    """Photos are private: only the user may enter the folder or read the file."""
    make_private(folder)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def address(path: Path, mode: str) -> str:
    """The URI of a database file; its path may be any bytes."""
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def _open(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address(path, mode),
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.create_function("distance_km", 4, selection.distance, deterministic=True)
    return connection


def _open_for_reading(path: Path) -> sqlite3.Connection:
    """Open read-only, also where the folder cannot be written.

    SQLite reads a WAL database through an index in shared memory, which it makes in the folder. Where it cannot, a
    database without a log can be read as a file that nobody changes; one with a log needs the index of its last writer.
    """
    journal, shared = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    has_log = journal.exists() and journal.stat().st_size > 0
    if not os.access(path.parent, os.W_OK) and not has_log:
        return _open(path, "ro&immutable=1")
    connection = _open(path, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except sqlite3.OperationalError as error:
        connection.close()
        if has_log and not shared.exists() and "unable to open" in str(error):
            raise StorageError(
                f"the collection at {path.parent} was copied during a run, to a place that cannot be written",
                "copy it to a writable place, or run `mmsearch info` on the original and copy it again",
            ) from error
        if has_log or "locked" in str(error):
            raise
        return _open(path, "ro&immutable=1")
    return connection
