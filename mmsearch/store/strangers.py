"""What of a database's schema is not as mmsearch makes it, and so keeps it from being opened: see `store.identity`.

The file is opened here without that check, so that it can be said what is wrong, and mended.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mmsearch.base.errors import StorageError
from mmsearch.store import connection as database
from mmsearch.store import identity, schema, trust

# Kinds that can be dropped by their name.
_DROPPED = ("trigger", "view", "index", "table")


@dataclass(frozen=True, slots=True)
class Strangers:
    """What was found, by (type, name).

    `acting` would do something when the catalog is used, `foreign` are tables of others, which hold data; `altered` are
    ours but differ, `missing` are ours and not there.
    """

    acting: list[tuple[str, str]] = field(default_factory=list)
    foreign: list[tuple[str, str]] = field(default_factory=list)
    altered: list[tuple[str, str]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def are_there(self) -> bool:
        """Whether there is anything that should not be, or not anything that should."""
        return bool(self.acting or self.foreign or self.altered or self.missing)


def find(folder: Path) -> Strangers | None:
    """Compare the catalog's schema with what mmsearch makes; None where SQLite cannot read it.

    Raises `CollectionVersionError`, and `StorageError` for the database of another program.
    """
    trust.require_files(folder)
    database.refuse_foreign(folder)
    try:
        with closing(database.open_for_reading(folder / database.CATALOG_NAME)) as connection:
            found = identity.definitions(connection)
            ours = identity.wanted_beside(found, schema.version_of(connection))
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
    strangers = Strangers()
    for (kind, name), sql in found.items():
        if (kind, name) not in ours:
            _place(strangers, kind, sql).append((kind, name))
        elif sql != ours[kind, name]:
            strangers.altered.append((kind, name))
    strangers.missing.extend(ours.keys() - found.keys())
    return strangers


def _place(strangers: Strangers, kind: str, sql: str) -> list[tuple[str, str]]:
    """The list for something that is not ours."""
    is_plain = kind == "table" and not sql.lower().startswith("create virtual")
    return strangers.foreign if is_plain else strangers.acting


def drop(folder: Path, strangers: Strangers) -> None:
    """Drop what acts. Raises `StorageError`, as for a virtual table of a module that is not there."""
    trust.require(folder)
    with database.translated(folder), closing(_opened(folder)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for kind, name in strangers.acting:
            if kind not in _DROPPED:
                raise StorageError(f"the catalog has a {kind} {name}, which SQLite does not know")
            quoted = name.replace('"', '""')
            connection.execute(f'DROP {kind.upper()} IF EXISTS "{quoted}"')
        connection.execute("COMMIT")


def make_missing(folder: Path, strangers: Strangers) -> None:
    """Make what is ours and missing, empty. Raises `StorageError`."""
    trust.require(folder)
    with database.translated(folder), closing(_opened(folder)) as connection:
        ours = _made_anew(schema.version_of(connection))
        for kind, name in sorted(strangers.missing, reverse=True):  # tables before indexes
            connection.execute(ours[kind, name])


def _made_anew(version: int) -> dict[tuple[str, str], str]:
    """The statements that make what a catalog of a schema version holds."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        for name, script in schema.MIGRATIONS[:version]:
            schema.apply(fresh, name, script)
        return {(kind, name): sql for kind, name, sql in fresh.execute("SELECT type, name, sql FROM sqlite_schema")}


def _opened(folder: Path) -> sqlite3.Connection:
    return database.open_file(folder / database.CATALOG_NAME, "rw")
