"""Read what can still be read of a damaged catalog into a new one. The damaged one is kept."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mmsearch.base.cleaning import ours, remove_ours
from mmsearch.base.errors import StorageError
from mmsearch.store import checksums, schema
from mmsearch.store import connection as database

# The folder that a new catalog is made in.
_PREFIX = ".recovering-"
_LEFT = re.compile(rf"{re.escape(_PREFIX)}\w+")

# Parents before children. Vector files are made anew, runs and what was released are history.
_TABLES = ("roots", "folders", "contents", "images", "failures", "encoders", "meta")

_LARGEST_ROW_ID = 2**63 - 1


def salvage(folder: Path) -> tuple[int, str]:
    """Put a new catalog in the place of a damaged one; returns how many images it has, and the damaged one's new name.

    Raises `StorageError`, and leaves everything as it was, where no image can be read.
    """
    path = folder / database.CATALOG_NAME
    with database.translated(folder), _making(folder) as recovered:
        images = _read_into(recovered, path)
        if not images:
            raise StorageError(f"nothing in the catalog of {folder} can be read")
        kept = _set_aside(path)
        os.replace(recovered / path.name, path)
    return images, kept


@contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A new folder for the new catalog, gone at the end. What processes that were killed left here goes too."""
    for left in ours(folder, _LEFT, through_links=True):
        remove_ours(left, through_links=True)
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    try:
        yield made
    finally:
        with suppress(OSError):
            remove_ours(made, through_links=True)


def _read_into(recovered: Path, path: Path) -> int:
    """Copy what can be read of the catalog at `path` into a new one in `recovered`; returns how many images it has."""
    target = database.connect(recovered, write=True)
    source = database.open_file(path, "ro", in_part=True)
    try:
        return _copy_all(source, target)
    finally:
        source.close()
        target.close()


def _set_aside(path: Path) -> str:
    """Give the damaged catalog and its log another name, which is returned."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    remove_ours(path.with_name(f"{path.name}-shm"), through_links=True)
    for ending in ("", "-wal"):
        if (old := path.with_name(path.name + ending)).exists():
            old.rename(path.with_name(f"{path.name}.damaged-{moment}{ending}"))
    return f"{path.name}.damaged-{moment}"


def _copy_all(source: sqlite3.Connection, target: sqlite3.Connection) -> int:
    target.execute("PRAGMA foreign_keys = OFF")
    target.execute("BEGIN")
    for table in _TABLES:
        _copy(source, target, table)
    # The catalog may be older than checksums, or have lost the note that some rows are.
    some_lack = " UNION ALL ".join(f"SELECT 1 FROM {table} WHERE checksum IS NULL" for table in checksums.COVERED)
    target.execute(
        f"INSERT OR IGNORE INTO meta (key, value) SELECT ?, 'partial' WHERE EXISTS ({some_lack})", (checksums.PARTIAL,)
    )
    for (number,) in target.execute("SELECT id FROM encoders").fetchall():
        schema.create_embeddings_table(target, number)
        _copy(source, target, schema.embeddings_table(number))
    images: int = target.execute("SELECT count(*) FROM images").fetchone()[0]
    target.execute("COMMIT")
    return images


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    """Copy all rows that can be read and that the new table takes."""
    names = _columns(source, target, table)
    if not names:
        return
    marks = ", ".join("?" for _ in names)
    has_row_ids = (
        "WITHOUT ROWID" not in target.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    )
    for row in _rows(source, table, names) if has_row_ids else _some_rows(source, table, names):
        try:
            target.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})", row)
        except sqlite3.IntegrityError:  # what was read is no value of its column
            continue


def _columns(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> list[str]:
    """The columns of a table that can be copied: the old one may be of an earlier schema. None of what is no table."""
    names = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    try:
        kinds = dict(source.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main'"))
        there = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:  # of what is damaged, rows may still be found
        return names
    return [name for name in names if name in there] if kinds.get(table) == "table" else []


def _rows(source: sqlite3.Connection, table: str, names: list[str]) -> Iterator[tuple[object, ...]]:
    """Rows in the order of their ids; where the file is damaged, what comes behind is looked for in growing steps."""
    sql = f"SELECT rowid, {', '.join(names)} FROM {table} WHERE rowid > ? ORDER BY rowid"
    last, step = -1, 1  # `last` only grows: ids may be out of order, and what was read is not read for ever
    while last < _LARGEST_ROW_ID:
        reached = last
        try:
            for number, *values in source.execute(sql, (last,)):
                reached = number
                yield tuple(values)
            return
        except sqlite3.DatabaseError:
            if reached > last:
                last, step = reached, 1
            last, step = min(last + step, _LARGEST_ROW_ID), 2 * step


def _some_rows(source: sqlite3.Connection, table: str, names: list[str]) -> Iterator[tuple[object, ...]]:
    """Rows from both ends, up to where the file is damaged."""
    key = "folder_id, name" if table == "failures" else "key"
    for order in (key, ", ".join(f"{name} DESC" for name in key.split(", "))):
        try:
            yield from source.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}")
            return
        except sqlite3.DatabaseError:
            continue
