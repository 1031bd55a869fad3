"""The embeddings of each encoder: a table each, little-endian float16."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.base.errors import StorageError
from mmsearch.store import checksums, schema
from mmsearch.store.database import Database, chunks, marks
from mmsearch.store.encoders import StoredEncoder
from mmsearch.store.vector_files import VectorFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # Content ids (n,) and their embeddings (n, dim).
    Embeddings = tuple[NDArray[np.int64], NDArray[np.float32]]


# Embeddings whose checksums are computed while a question waits: 0.5 ms for so many. It has a few hundred candidates.
_MOST_CHECKED = 1_000

# SQLite's largest row id.
_LARGEST_ID = 2**63 - 1


class EmbeddingTables:
    """What encoders made of contents. Methods that write expect to be inside a transaction."""

    def __init__(self, database: Database, vector_files: VectorFiles) -> None:
        self._db = database
        self._vector_files = vector_files

    def put(self, encoder_id: int, content_id: int, vector: NDArray[np.float32]) -> None:
        """Store a content's embedding, (dim,) and L2-normalised, as little-endian float16.

        Vector files that were to cover the content, which they do not hold, are forgotten.
        """
        table = schema.embeddings_table(encoder_id)
        if self._db.one("SELECT 1 FROM vector_files WHERE encoder_id = ? AND watermark >= ?", (encoder_id, content_id)):
            self._vector_files.drop(encoder_id)
        data = vector.astype("<f2").tobytes()
        row = (content_id, data, checksums.of_vector(content_id, data))
        self._db.run(f"INSERT OR REPLACE INTO {table} (content_id, vector, checksum) VALUES (?, ?, ?)", row)

    def of(self, encoder: StoredEncoder, content_ids: Sequence[int]) -> Embeddings:
        """Ids (n,) ascending and embeddings (n, dim) float32 of those contents that have one.

        Raises `StorageError` where one is damaged; of more than `_MOST_CHECKED`, only sizes are looked at.
        """
        table = schema.embeddings_table(encoder.id)
        rows: list[tuple[int, bytes, int | None]] = []
        for part in chunks(sorted(content_ids)):
            marked = f"WHERE content_id IN ({marks(part)}) ORDER BY content_id"
            rows += self._db.all(f"SELECT content_id, vector, checksum FROM {table} {marked}", part)
        if len(rows) <= _MOST_CHECKED and any(
            checksum is not None and checksum != checksums.of_vector(number, vector)
            for number, vector, checksum in rows
        ):
            raise _damaged()
        return _matrix(rows, encoder.info.dim)

    def after(
        self, encoder: StoredEncoder, first: int, last: int | None = None, rows: int = 8192
    ) -> Iterator[Embeddings]:
        """Embeddings of contents with ids over `first` (and up to `last`), as `of` gives them, `rows` at a
        time.
        """
        table = schema.embeddings_table(encoder.id)
        where = "WHERE content_id > ? AND content_id <= ? ORDER BY content_id LIMIT ?"
        sql = f"SELECT content_id, vector FROM {table} {where}"
        for part in self._db.pages(sql, first, last if last is not None else _LARGEST_ID, rows):
            yield _matrix(part, encoder.info.dim)

    def sample(self, encoder: StoredEncoder, first: int, last: int, count: int) -> NDArray[np.float32]:
        """About `count` embeddings of contents with ids over `first` and up to `last`, evenly spread over their ids."""
        table = schema.embeddings_table(encoder.id)
        step = max(1, (last - first) // max(1, count))
        rows = self._db.all(
            f"SELECT content_id, vector FROM {table} WHERE content_id > ? AND content_id <= ? AND content_id % ? = 0",
            (first, last, step),
        )
        return _matrix(rows, encoder.info.dim)[1]

    def last(self, encoder_id: int) -> int:
        """The largest content id with an embedding, 0 where there is none."""
        return self._db.count(f"SELECT coalesce(max(content_id), 0) FROM {schema.embeddings_table(encoder_id)}")

    def count_covered(self, encoder_id: int) -> int:
        """How many embeddings an encoder has; those in vector files are not counted one by one."""
        files = self._vector_files.of(encoder_id)
        newest = max((file.watermark for file in files), default=0)
        return sum(file.count - file.removed for file in files) + self.count(encoder_id, newest)

    def count(self, encoder_id: int, first: int = 0) -> int:
        """How many embeddings there are of contents with ids over `first`. Reads an index entry for each."""
        table = schema.embeddings_table(encoder_id)
        return self._db.count(f"SELECT count(*) FROM {table} WHERE content_id > ?", (first,))

    def lacking(self, encoder_id: int, rows: int) -> Iterator[list[tuple[int, bytes]]]:
        """Ids, ascending, and hashes of the contents without an embedding by an encoder, `rows` at a time."""
        lacking = schema.lacks(encoder_id, "contents.id")
        return self._db.pages(f"SELECT id, hash FROM contents WHERE id > ? AND {lacking} ORDER BY id LIMIT ?", 0, rows)

    def count_lacking(self, encoder_id: int) -> int:
        """How many contents have no embedding by an encoder. Goes through all of its embeddings."""
        return self._db.count(f"SELECT count(*) FROM contents WHERE {schema.lacks(encoder_id, 'contents.id')}")

    def has(self, encoder_id: int, content_hash: bytes) -> bool:
        """Whether a content is known and has an embedding by an encoder."""
        table = schema.embeddings_table(encoder_id)
        return bool(
            self._db.count(
                f"SELECT EXISTS (SELECT 1 FROM contents JOIN {table} ON content_id = contents.id WHERE hash = ?)",
                (content_hash,),
            )
        )


def _matrix(rows: Sequence[tuple[Any, ...]], dim: int) -> Embeddings:
    import numpy as np

    ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    data = b"".join(row[1] for row in rows)
    if len(data) != 2 * dim * len(rows):
        raise _damaged()
    return ids, np.frombuffer(data, "<f2").reshape(len(rows), dim).astype(np.float32)


def _damaged() -> StorageError:
    return StorageError("an embedding in the catalog is damaged", "`mmsearch doctor --repair` repairs it")
