"""Whether a database is a catalog of mmsearch, and holds nothing but what mmsearch has made.

SQL that lies in a file (triggers, views, expressions of indexes and columns) is run by whoever opens it. So a catalog's
definitions must be, word by word, those that the migrations make.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from mmsearch.base.errors import StorageError
from mmsearch.store import schema

# Definitions by kind (`table`) and name: a trigger may have the name of a table.
Definitions = dict[tuple[str, str], str]

# SQLite's own tables, which it makes where it needs them, the last ones for `ANALYZE`.
_OF_SQLITE = {("table", name) for name in ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")}

_EMBEDDINGS = re.compile(r"embeddings_[1-9]\d{0,17}")
_SAMPLE = schema.embeddings_table(1)

_LEDGER = ("table", "migrations")


def check_owner(connection: sqlite3.Connection, path: Path) -> bool:
    """Raise `StorageError` for the database of another program; returns whether there is nothing in it yet.

    The file may be read without its log. A catalog without our id is known by its ledger: a copy by way of SQL has
    lost the id.
    """
    application_id = _pragma(connection, "application_id")
    if application_id == schema.APPLICATION_ID:
        return False
    found = {} if application_id else definitions(connection)
    is_empty = not (application_id or found or _pragma(connection, "user_version"))
    if not is_empty and found.get(_LEDGER) != _made_by(schema.MIGRATIONS[:1])[_LEDGER]:
        raise StorageError(f"{path} is the database of another program", "choose another place with -C")
    return is_empty


def check(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of an open catalog, 0 for an empty file.

    Raises `StorageError` for the database of another program, or for one with definitions that are not mmsearch's,
    `CollectionVersionError` for a later version.
    """
    check_owner(connection, path)
    schema.check_version(connection, str(path.parent))
    version = schema.version_of(connection)
    found = definitions(connection)
    wanted = wanted_beside(found, version)
    for kind, name in sorted(found.keys() | wanted.keys()):
        if (kind, name) not in found:
            raise _refusal(path, f"lacks the {kind} {name!r}")
        if found[kind, name] != wanted.get((kind, name)):
            raise _refusal(path, f"holds something that mmsearch has not made: the {kind} {name!r}")
    return version


def _refusal(path: Path, what: str) -> StorageError:
    hint = "`mmsearch doctor --repair` takes it out, or copies what is good into a new catalog"
    return StorageError(f"the catalog in {path.parent} {what}", hint)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def definitions(connection: sqlite3.Connection) -> Definitions:
    """All but what SQLite makes by itself. Blanks count as one, whatever was between the words."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {(kind, name): " ".join(str(sql).split()) for kind, name, sql in rows if (kind, name) not in _OF_SQLITE}


def wanted_beside(found: Definitions, version: int) -> Definitions:
    """What a catalog of a schema version holds, with those tables of embeddings that were found."""
    wanted = dict(_made_by(schema.MIGRATIONS[:version]))
    embeddings = wanted.pop(("table", _SAMPLE), "")
    for kind, name in found:
        if kind == "table" and _EMBEDDINGS.fullmatch(name):
            wanted[kind, name] = embeddings.replace(_SAMPLE, name, 1)
    return wanted


@lru_cache
def _made_by(migrations: tuple[tuple[str, str], ...]) -> Definitions:
    """What these migrations make, and the table of embeddings of the encoder 1. Takes 1 ms."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        for number, (name, script) in enumerate(migrations):
            made.executescript(script)
            if number == 0:
                schema.create_first_embeddings_table(made, _SAMPLE)
            schema.apply_to_embeddings(made, name)
        return definitions(made)
