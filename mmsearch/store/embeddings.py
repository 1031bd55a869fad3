"""The embeddings of each encoder, and the vector files made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Literal

from mmsearch.errors import StorageError
from mmsearch.store import schema
from mmsearch.store.database import chunks, marks, now
from mmsearch.store.encoders import EncoderStore
from mmsearch.store.encoders import StoredEncoder as StoredEncoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # Content ids (n,) and their embeddings (n, dim).
    Embeddings = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class VectorFile:
    """A vector file in the collection's folder: what it covers, of which kind it is, and how to tell that it is whole.

    It holds `count` embeddings of the contents with ids over `first` and up to `watermark`, of which `removed` are gone
    from the catalog since. `lists` and `probes` are of inverted lists: how many there are, and how many a search looks
    into. `head_bytes` is the size of the part that says where everything else is, which is checked when it is opened.
    """

    part: Literal["main", "recent"]
    name: str
    first: int
    watermark: int
    count: int
    removed: int
    kind: str
    lists: int
    probes: int
    bytes: int
    head_bytes: int
    head_digest: str
    digest: str


# SQLite's largest row id.
_LARGEST_ID = 2**63 - 1


class EmbeddingStore(EncoderStore):
    """The part of the catalog that holds what encoders made."""

    def vector_files(self, encoder_id: int) -> list[VectorFile]:
        """The current vector files, `main` first; none before the first was made."""
        columns = ", ".join(field.name for field in fields(VectorFile))
        return [
            VectorFile(*row)
            for row in self._all(
                f"SELECT {columns} FROM vector_files WHERE encoder_id = ? ORDER BY part", (encoder_id,)
            )
        ]

    def all_vector_files(self) -> list[str]:
        """Names of the vector files of all encoders."""
        return [name for (name,) in self._all("SELECT name FROM vector_files ORDER BY name")]

    def set_vector_file(self, encoder_id: int, file: VectorFile) -> None:
        """Make a complete file the current one; a new `main` file replaces a `recent` one too."""
        if file.part == "main":
            self._run("DELETE FROM vector_files WHERE encoder_id = ?", (encoder_id,))
        row = (encoder_id, *astuple(file), now())
        self._run(f"INSERT OR REPLACE INTO vector_files VALUES ({marks(row)})", row)

    def drop_vector_files(self, encoder_id: int) -> None:
        """Forget the files, so that searches go through the catalog until they are made again."""
        self._run("DELETE FROM vector_files WHERE encoder_id = ?", (encoder_id,))

    def put_embedding(self, encoder_id: int, content_id: int, vector: NDArray[np.float32]) -> None:
        """Store a content's embedding, (dim,) and L2-normalised, as little-endian float16.

        Vector files that were to cover the content, which they do not hold, are forgotten.
        """
        table = schema.embeddings_table(encoder_id)
        if self._one("SELECT 1 FROM vector_files WHERE encoder_id = ? AND watermark >= ?", (encoder_id, content_id)):
            self.drop_vector_files(encoder_id)
        self._run(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (content_id, vector.astype("<f2").tobytes()))

    def embeddings(self, encoder: StoredEncoder, content_ids: Sequence[int]) -> Embeddings:
        """Ids (n,) ascending and embeddings (n, dim) float32 of those contents that have one."""
        table = schema.embeddings_table(encoder.id)
        rows: list[tuple[int, bytes]] = []
        for part in chunks(sorted(content_ids)):
            sql = f"SELECT content_id, vector FROM {table} WHERE content_id IN ({marks(part)}) ORDER BY content_id"
            rows += self._all(sql, part)
        return _matrix(rows, encoder.info.dim)

    def embeddings_after(
        self, encoder: StoredEncoder, first: int, last: int | None = None, rows: int = 8192
    ) -> Iterator[Embeddings]:
        """Embeddings of contents with ids over `first` (and up to `last`), as `embeddings` gives them, `rows` at a
        time.
        """
        table = schema.embeddings_table(encoder.id)
        where = "WHERE content_id > ? AND content_id <= ? ORDER BY content_id LIMIT ?"
        sql = f"SELECT content_id, vector FROM {table} {where}"
        while part := self._all(sql, (first, last if last is not None else _LARGEST_ID, rows)):
            yield _matrix(part, encoder.info.dim)
            first = part[-1][0]

    def sample_embeddings(self, encoder: StoredEncoder, first: int, last: int, count: int) -> NDArray[np.float32]:
        """About `count` embeddings of contents with ids over `first` and up to `last`, evenly spread over their ids."""
        table = schema.embeddings_table(encoder.id)
        step = max(1, (last - first) // max(1, count))
        rows = self._all(
            f"SELECT content_id, vector FROM {table} WHERE content_id > ? AND content_id <= ? AND content_id % ? = 0",
            (first, last, step),
        )
        return _matrix(rows, encoder.info.dim)[1]

    def last_embedded(self, encoder_id: int) -> int:
        """The largest content id with an embedding, 0 where there is none."""
        return self._count(f"SELECT coalesce(max(content_id), 0) FROM {schema.embeddings_table(encoder_id)}")

    def count_covered(self, encoder_id: int) -> int:
        """How many embeddings an encoder has; those in vector files are not counted one by one."""
        files = self.vector_files(encoder_id)
        newest = max((file.watermark for file in files), default=0)
        return sum(file.count - file.removed for file in files) + self.count_embeddings(encoder_id, newest)

    def count_embeddings(self, encoder_id: int, first: int = 0) -> int:
        """How many embeddings there are of contents with ids over `first`. Reads an index entry for each."""
        table = schema.embeddings_table(encoder_id)
        return self._count(f"SELECT count(*) FROM {table} WHERE content_id > ?", (first,))


def _matrix(rows: Sequence[tuple[int, bytes]], dim: int) -> Embeddings:
    import numpy as np

    ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    data = b"".join(row[1] for row in rows)
    if len(data) != 2 * dim * len(rows):
        raise StorageError("an embedding in the catalog is damaged", "`mmsearch doctor --repair` sees to it")
    return ids, np.frombuffer(data, "<f2").reshape(len(rows), dim).astype(np.float32)
