"""Open the catalog's database, and turn SQLite's errors into ours."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from mmsearch.base import names, ownership, shortages
from mmsearch.base.durable import open_to_write
from mmsearch.base.errors import CollectionBusyError, CollectionNotFoundError, MMSearchError, StorageError, UsageError
from mmsearch.base.paths import make_private
from mmsearch.store import guard, identity, schema, trust
from mmsearch.store.distance import distance
from mmsearch.store.trust import CATALOG_NAME as CATALOG_NAME

# Files that SQLite opens for a catalog: the database, its log and the index of that, and a folder for a moment.
_FILES = 4

# What SQLite says of a statement that Ctrl-C has ended, in the progress handler or in a function of ours: these
# raise nothing else.
_INTERRUPTED = {"interrupted", "user-defined function raised exception"}

# What SQLite says of a statement that passes its limits: too many parts, values or letters.
_LIMITS = ("too large", "too many", "too big", "too complex", "stack overflow")

# Seconds to wait for another process's transaction. A batch's transaction takes milliseconds.
BUSY_SECONDS = 30.0


def connect(folder: Path, *, write: bool) -> sqlite3.Connection:
    """Open the catalog in `folder`; with `write` it is made or migrated as needed.

    The connection is in autocommit mode and may pass between threads (one at a time). Raises `CollectionNotFoundError`,
    `CollectionVersionError`, `StorageError`, and `UntrustedError` where others may have written to what is to be
    written to, if only to migrate it.
    """
    path = folder / CATALOG_NAME
    with translated(folder):
        if write:
            trust.require(folder)
        trust.require_files(folder)
        refuse_foreign(folder)
        if write:
            _create_private(folder, path)
            return _prepared_for_writing(open_file(path, "rw"), path)
        if not path.exists():
            raise CollectionNotFoundError(f"no collection at {folder}", "run `mmsearch index DIR` first")
        connection = open_for_reading(path)
        with _closed_on_error(connection):
            if identity.check(connection, path) == schema.VERSION:
                return connection
        connection.close()
        return connect(folder, write=True)


def _prepared_for_writing(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    with _closed_on_error(connection):
        identity.check(connection, path)
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
    """Turn exceptions of SQLite and the file system into mmsearch's, and what Ctrl-C has ended into its own again."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if str(error) in _INTERRUPTED:
            raise KeyboardInterrupt from error
        raise _translate(str(error), folder) from error
    except UnicodeDecodeError as error:  # what SQLite says of damaged text repeats it, which Python cannot read
        raise _translate("its text is damaged", folder) from error
    except PermissionError as error:
        raise StorageError(f"no permission to write to {folder}", "choose another place with -C") from error
    except OSError as error:
        short = shortages.told(error, folder)
        if short:
            raise StorageError(*short) from error
        raise StorageError(f"cannot use {folder}: {error.strerror or error}", "choose another place with -C") from error


def _translate(message: str, folder: Path) -> MMSearchError:
    if any(words in message for words in _LIMITS):
        hint = "give fewer folders, patterns or conditions"
        return UsageError(f"the question is too large for the catalog ({message})", hint)
    if "locked" in message or "busy" in message:
        return CollectionBusyError(f"the collection at {folder} is busy", "try again when the other run is done")
    if "full" in message:
        return StorageError(*shortages.full(folder))
    short = _shortage(folder) if "unable to open" in message else None
    if short:
        return StorageError(*short)
    if "readonly" in message or "read-only" in message or "unable to open" in message:
        hint = "check its permissions, or choose another: -C"
        return StorageError(f"the collection at {folder} cannot be written", hint)
    hint = "`mmsearch doctor` says what is wrong with it"
    return StorageError(f"the catalog in {folder} cannot be used ({message})", hint)


def refuse_foreign(folder: Path, *, is_new: bool = False) -> None:
    """Raise `StorageError` for the database of another program, `CollectionVersionError` for a later schema.

    Nothing is written to it, and none of SQLite's files are left beside it.

    This sees the file without its log: what that holds is seen when it is opened, and without it the file may look
    damaged. It is SQLite that reads it: closing a file of which this process has locks would drop them
    (sqlite.org/howtocorrupt.html, 2.2). `is_new` says that nothing of mmsearch lies beside the file: then what looks
    like no database at all (it may be encrypted) is somebody else's too.
    """
    path = folder / CATALOG_NAME
    if not path.exists():
        return
    is_empty = False
    try:
        with closing(open_file(path, "ro&immutable=1")) as connection:
            is_empty = identity.check_owner(connection, path)
            schema.check_version(connection, str(folder))
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if is_new and not _has_log(path) and "not a database" in str(error):
            raise StorageError(f"{path} is not a database", "choose another place with -C") from error
    if is_empty and _has_log(path):  # everything may be in the log, which this leaves there
        mode = "ro&readonly_shm=1" if trust.doubt(folder) else "ro"
        with suppress(sqlite3.DatabaseError, UnicodeDecodeError), closing(open_file(path, mode)) as connection:
            identity.check_owner(connection, path)


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _shortage(folder: Path) -> tuple[str, str] | None:
    """What has run out where SQLite says no more than that it cannot open a file: another one is told why."""
    try:
        with ExitStack() as stack:
            for _ in range(_FILES):
                stack.enter_context(tempfile.TemporaryFile(dir=folder))
        return None
    except OSError as error:
        return shortages.told(error, folder)


def _create_private(folder: Path, path: Path) -> None:
    """Photos are private: only the user may enter the folder or read the file."""
    make_private(folder)
    if not path.exists():
        with suppress(FileExistsError):  # another process was faster
            os.close(open_to_write(path, os.O_CREAT | os.O_EXCL | os.O_RDWR))


def address(path: Path, mode: str) -> str:
    """The URI of a database file; its path may be any bytes."""
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def open_file(path: Path, mode: str, *, in_part: bool = False) -> sqlite3.Connection:
    """Open a database file, whatever is in it, in a mode of SQLite's URIs; with `in_part`, also where only some of its
    definitions can be read."""
    connection = guard.connect(address(path, mode), BUSY_SECONDS, in_part=in_part)
    connection.create_function("distance_km", 4, distance, deterministic=True)
    connection.create_function("folded", 1, _folded, deterministic=True)
    return connection


def _folded(name: bytes | None) -> bytes | None:
    return None if name is None else names.key(name)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open read-only, also where the folder cannot be written, or is not to be because it is somebody else's.

    SQLite reads a WAL database through an index in shared memory, which it makes in the folder. Where it cannot, a
    database without a log can be read as a file that nobody changes; one with a log needs the index of its last writer.
    """
    shared, has_log = path.with_name(f"{path.name}-shm"), _has_log(path)
    doubt = trust.doubt(path.parent)
    if not has_log and (doubt or not os.access(path.parent, os.W_OK)):
        return open_file(path, "ro&immutable=1")
    connection = open_file(path, "ro&readonly_shm=1" if doubt else "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except sqlite3.OperationalError as error:
        connection.close()
        if has_log and not shared.exists() and "unable to open" in str(error):
            if doubt:
                what = f"the collection at {path.parent} was copied during a run, so that reading it has to write to it"
                raise ownership.untrusted(what, path.parent, doubt) from error
            raise StorageError(
                f"the collection at {path.parent} was copied during a run, to a place that cannot be written",
                "copy it to a writable place, or run `mmsearch info` on the original and copy it again",
            ) from error
        if has_log or "locked" in str(error):
            raise
        return open_file(path, "ro&immutable=1")
    return connection
