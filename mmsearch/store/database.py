"""What every part of the catalog stands on: an open database, transactions, and statements that fail in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mmsearch.store import connection as database

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Values bound in one statement; SQLite takes 32,766.
_CHUNK = 500


class Database:
    """An open catalog. Methods that write expect to be inside `transaction()`."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        """Open the catalog in `folder`; with `write` it is created or migrated. See `connection.connect` for errors."""
        self.folder = folder
        self._connection = database.connect(folder, write=write)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside happen together or not at all. Raises `StorageError` or `CollectionBusyError`."""
        with database.translated(self.folder):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state of the catalog."""
        with database.translated(self.folder):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    def meta(self, key: str) -> str | None:
        row = self._one("SELECT value FROM meta WHERE key = ?", (key,))
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _run(self, sql: str, values: Iterable[Any] = ()) -> int:
        return self._connection.execute(sql, tuple(values)).rowcount

    def _one(self, sql: str, values: Iterable[Any] = ()) -> Any:
        with database.translated(self.folder):
            return self._connection.execute(sql, tuple(values)).fetchone()

    def _all(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        with database.translated(self.folder):
            return self._connection.execute(sql, tuple(values)).fetchall()

    def _count(self, sql: str, values: Iterable[Any] = ()) -> int:
        count: int = self._one(sql, values)[0]
        return count

    def _id_array(self, sql: str, values: Iterable[Any]) -> NDArray[np.int64]:
        import numpy as np

        return np.fromiter((row[0] for row in self._all(sql, values)), np.int64)


def now() -> str:
    """The time as the catalog writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def chunks(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield [int(number) for number in ids[start : start + _CHUNK]]


def marks(values: Iterable[Any]) -> str:
    return ", ".join("?" for _ in values)
