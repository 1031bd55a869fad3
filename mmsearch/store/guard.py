"""What every connection is told because a catalog may come from somebody else, and so that Ctrl-C ends every statement.

sqlite.org/security.html has the advice. What the file itself may hold is checked by `mmsearch.store.identity`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Any

# Steps of SQLite's machine between two looks at what Python has to do. So many take some 0.1 ms, or a few hundred rows
# from a slow disk; a look takes less than 1 us.
_STEPS = 5_000

# Bytes of one value. An embedding takes some thousands, the longest text a few more; SQLite allows 1,000 times as much.
_LARGEST_VALUE = 1 << 24

# Seconds that SQLite waits by itself for somebody else's lock: it handles no signal meanwhile.
_NAP = 0.1

_SETTINGS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",  # what tables are made of calls no function that could do anything
    "PRAGMA cell_size_check = ON",  # a page that lies about what is in it is damage, not data
    "PRAGMA mmap_size = 0",  # a disk that fails is an error, not the end of the process
)

# Flags that Python can set from 3.12 on: no SQL changes the file's inner workings, no trigger runs and no view is read.
_FLAGS = {
    "SQLITE_DBCONFIG_DEFENSIVE": True,
    "SQLITE_DBCONFIG_ENABLE_TRIGGER": False,
    "SQLITE_DBCONFIG_ENABLE_VIEW": False,
}

_WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_INNER_WORKINGS = {"writable_schema", "schema_version"}


class PatientConnection(sqlite3.Connection):
    """A connection that waits up to `patience` seconds for locks of others, and can be interrupted meanwhile.

    Statements that find a lock have done nothing yet; what writes begins with BEGIN IMMEDIATE, so that none finds one
    later.
    """

    patience = 0.0

    def execute(self, sql: str, values: Iterable[Any] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
        deadline = None
        while True:
            try:
                return super().execute(sql, tuple(values))
            except sqlite3.OperationalError as error:
                deadline = deadline or time.monotonic() + self.patience
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise


def connect(uri: str, patience: float, *, in_part: bool = False) -> sqlite3.Connection:
    """Open a database in autocommit mode, for any thread (one at a time), and wait as long for locks of others.

    With `in_part`, a definition that cannot be read does not keep the others from being used. Only for files that are
    not written to: SQLite takes it as leave to change definitions.
    """
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=min(patience, _NAP),
        isolation_level=None,
        check_same_thread=False,
        factory=PatientConnection,
    )
    connection.patience = patience
    if in_part:
        connection.execute("PRAGMA writable_schema = ON")
    _set_up(connection, {"SQLITE_DBCONFIG_DEFENSIVE": not in_part})
    return connection


def _set_up(connection: sqlite3.Connection, flags: dict[str, bool]) -> None:
    """Distrust the database that was opened, and let signals be handled during long statements."""
    for setting in _SETTINGS:
        connection.execute(setting)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    connection.set_progress_handler(_let_python_work, _STEPS)
    set_flag = getattr(connection, "setconfig", None)
    if set_flag is None:  # before Python 3.12
        connection.set_authorizer(_authorize)
        return
    for name, value in {**_FLAGS, **flags}.items():
        set_flag(getattr(sqlite3, name), value)


def _let_python_work() -> None:
    """Nothing: that this is called lets Python handle signals, which it does between its own instructions only.

    An exception in it (KeyboardInterrupt) makes SQLite end the statement as "interrupted".
    """


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, source: str | None) -> int:
    """Deny what a trigger writes, `source` being its name, and changes of the file's inner workings."""
    by_trigger = source is not None and action in _WRITES
    if by_trigger or (action == sqlite3.SQLITE_PRAGMA and first in _INNER_WORKINGS and second is not None):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
