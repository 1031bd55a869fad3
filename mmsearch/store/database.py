"""What every part of the catalog stands on: an open database, transactions, and statements that fail in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.base.errors import StorageError
from mmsearch.store import checksums, schema
from mmsearch.store import connection as database

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Values bound in one statement; SQLite takes 32,766.
_CHUNK = 500


class Database:
    """An open database. Methods that write expect to be inside `transaction()`."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        """Open the one in `folder`; with `write` it is created or migrated. See `connection.connect` for errors."""
        self.folder = folder
        self._connection = database.connect(folder, write=write)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

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
        """A fact about the whole collection, by its name."""
        row = self.one("SELECT value FROM meta WHERE key = ?", (key,))
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        """Set a fact about the whole collection."""
        row = (key, value, checksums.of_row(key, value))
        self.run("INSERT OR REPLACE INTO meta (key, value, checksum) VALUES (?, ?, ?)", row)

    def run(self, sql: str, values: Iterable[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        return self._connection.execute(sql, tuple(values)).rowcount

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row of values: for all or none, within a transaction or not. Raises
        `StorageError`."""
        with database.translated(self.folder):
            self._connection.execute("SAVEPOINT many")
            try:
                self._connection.executemany(sql, rows)
            except BaseException:
                self._connection.execute("ROLLBACK TO many")
                raise
            finally:
                self._connection.execute("RELEASE many")

    def insert(self, sql: str, values: Iterable[Any]) -> int:
        """Run an INSERT of one row; its id."""
        number = self._connection.execute(sql, tuple(values)).lastrowid
        assert number is not None
        return number

    def create_embeddings_table(self, encoder_id: int) -> None:
        """Make the empty table that an encoder's embeddings go to."""
        schema.create_embeddings_table(self._connection, encoder_id)

    def embeddings_tables(self) -> list[str]:
        """The tables of embeddings that there are, whether an encoder has them or not."""
        return schema.embeddings_tables(self._connection)

    def shrink(self) -> None:
        """Give the room of what was dropped back to the disk: writes everything that is left. Not in a transaction."""
        self.all("VACUUM")
        self.all("PRAGMA wal_checkpoint(TRUNCATE)")

    def one(self, sql: str, values: Iterable[Any] = ()) -> Any:
        """The first row, None where there is none. Raises `StorageError`."""
        with database.translated(self.folder):
            return self._connection.execute(sql, tuple(values)).fetchone()

    def all(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        """All rows. Raises `StorageError`."""
        with database.translated(self.folder):
            return self._connection.execute(sql, tuple(values)).fetchall()

    @contextmanager
    def damaged_text(self) -> Iterator[None]:
        """Inside, text that is not UTF-8 is read too: its stray bytes become surrogate escapes."""
        before, self._connection.text_factory = self._connection.text_factory, _tolerant
        try:
            yield
        finally:
            self._connection.text_factory = before

    def each(self, sql: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        """The rows one by one, however many there are. Raises `StorageError`."""
        with database.translated(self.folder):
            yield from self._connection.execute(sql, tuple(values))

    def pages(self, sql: str, after: int, *values: Any) -> Iterator[list[Any]]:
        """The rows of a query with a LIMIT, a page at a time: its first column is an id, ascending, and the first of
        its values the one that a page comes after.

        Raises `StorageError`, also where ids are out of order in a damaged file: reading on would never end.
        """
        while rows := self.all(sql, (after, *values)):
            if rows[-1][0] <= after:
                raise StorageError("rows of the catalog are out of order", "`mmsearch doctor --repair` repairs it")
            yield rows
            after = rows[-1][0]

    def count(self, sql: str, values: Iterable[Any] = ()) -> int:
        """The number that a query of one row and column gives."""
        count: int = self.one(sql, values)[0]
        return count

    def ids(self, sql: str, values: Iterable[Any]) -> NDArray[np.int64]:
        """The first column of a query, int64 (n,)."""
        import numpy as np

        return np.fromiter((row[0] for row in self.all(sql, values)), np.int64)


def now() -> str:
    """The time as the catalog writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def damage_told() -> Iterator[None]:
    """Turn what comes of a damaged row, whose columns may hold anything, into `StorageError`."""
    try:
        yield
    except (TypeError, AttributeError, ValueError) as error:
        raise StorageError("a row of the catalog is damaged", "`mmsearch doctor --repair` repairs it") from error


def _tolerant(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def chunks(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield [int(number) for number in ids[start : start + _CHUNK]]


def where(columns: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The SQL condition that columns have these values, and the values to bind; text may have surrogate escapes."""
    parts = [
        f"{name} = CAST(? AS TEXT)" if isinstance(value, str) else f"{name} = ?" for name, value in columns.items()
    ]
    bound = [
        value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value for value in columns.values()
    ]
    return " AND ".join(parts), bound


def marks(values: Iterable[Any]) -> str:
    return ", ".join("?" for _ in values)
