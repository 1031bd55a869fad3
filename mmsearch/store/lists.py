"""Lists of any length for a statement, as rows of a temporary table: SQLite bounds what one statement can hold.

A temporary table lies in a file of its own, which the system removes, so one that can only be read gets none of it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import count

from mmsearch.store.database import Database

# Lists that are kept, since a question asks for the same again; one statement needs no more than some 5.
_MOST = 16

# `first` and `beyond` bound what lies below a folder.
_TABLE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS lists (
        list INTEGER, value BLOB, first BLOB, beyond BLOB, PRIMARY KEY (list, value)
    ) WITHOUT ROWID
"""

# The conditions that go with them: {} is what is looked for, ? the number of the list.
IN_LIST = "{} IN (SELECT value FROM temp.lists WHERE list = ?)"
MATCHES_LIST = "EXISTS (SELECT 1 FROM temp.lists WHERE list = ? AND {} GLOB value)"
IN_FOLDERS = """
    {} IN (SELECT place.id FROM temp.lists AS wanted CROSS JOIN folders AS place
        ON place.path = wanted.value WHERE wanted.list = ? UNION ALL
        SELECT place.id FROM temp.lists AS wanted CROSS JOIN folders AS place
        ON place.path > wanted.first AND place.path < wanted.beyond WHERE wanted.list = ?)
"""


class Lists:
    """The lists of one connection, each by its number."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._numbers: OrderedDict[tuple[str, ...], int] = OrderedDict()
        self._next = count(1)

    def of_texts(self, texts: Sequence[str]) -> int:
        """The number of the list of these texts."""
        rows = ((os.fsencode(text), None, None) for text in texts)
        return self._number(("texts", *texts), "CAST(? AS TEXT)", rows)

    def of_folders(self, paths: Sequence[str]) -> int:
        """The number of the list of the folders with these absolute paths."""
        return self._number(("folders", *paths), "?", ((os.fsencode(path), *below(path)) for path in paths))

    def _number(
        self, key: tuple[str, ...], value: str, rows: Iterable[tuple[bytes, bytes | None, bytes | None]]
    ) -> int:
        self._db.run(_TABLE)
        known = self._numbers.get(key)
        # A transaction that was rolled back has taken its lists with it.
        if known is not None and self._db.one("SELECT 1 FROM temp.lists WHERE list = ?", (known,)):
            self._numbers.move_to_end(key)
            return known
        number = next(self._next)
        self._db.run_many(f"INSERT OR IGNORE INTO temp.lists VALUES ({number}, {value}, ?, ?)", rows)
        self._numbers[key] = number
        while len(self._numbers) > _MOST:
            self._db.run("DELETE FROM temp.lists WHERE list = ?", (self._numbers.popitem(last=False)[1],))
        return number


def below(path: str) -> tuple[bytes, bytes]:
    """Bounds of the byte strings that start with a folder's path and a separator."""
    stem = os.fsencode(path).rstrip(os.fsencode(os.sep))
    separator = os.fsencode(os.sep)
    return stem + separator, stem + bytes([separator[0] + 1])
