"""What can be wrong with a catalog, and how to mend it without losing what could not be made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmsearch.base.records import FileRecord
from mmsearch.store import schema
from mmsearch.store.catalog import Catalog, StoredEncoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# float16 rounds each dimension by at most one part in 2,048; lengths of whole embeddings stay well within this of 1.
NORM_TOLERANCE = 2e-3

# Complaints of SQLite that are asked for; one is enough to know.
_COMPLAINTS = 5

_ROWS = 8192

_WHY = "its embedding was lost or damaged; the next index run makes it again"


class Checks:
    """What looks a catalog over. `mend_*` expect to be inside its `transaction()`, with the writer lock held."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._db = catalog.database

    def complaints(self) -> list[str]:
        """What SQLite finds wrong with the file, its tables and indexes; nothing where all is well."""
        lines = [line for (line,) in self._db.all(f"PRAGMA integrity_check({_COMPLAINTS})")]
        return [] if lines == ["ok"] else lines

    def rebuild_indexes(self) -> None:
        """Make all indexes anew from their tables."""
        self._db.run("REINDEX")

    def broken_references(self) -> dict[str, int]:
        """How many rows of each table refer to something that is not there."""
        return dict(Counter(table for table, *_ in self._db.all("PRAGMA foreign_key_check")))

    def mend_references(self) -> None:
        """Drop rows that refer to nothing. Files whose content is unknown are to be indexed again."""
        lost = self._db.all(
            "SELECT folders.path, name, size FROM images JOIN folders ON folders.id = folder_id"
            " WHERE content_id NOT IN (SELECT id FROM contents)"
        )
        self._db.run("DELETE FROM images WHERE content_id NOT IN (SELECT id FROM contents)")
        for path, name, size in lost:
            self._fail_again(path, name, size)
        for table in ("images", "failures"):
            self._db.run(f"DELETE FROM {table} WHERE folder_id NOT IN (SELECT id FROM folders)")
        self._db.run("DELETE FROM vector_files WHERE encoder_id NOT IN (SELECT id FROM encoders)")
        for encoder in self._catalog.encoders.all():
            table = schema.embeddings_table(encoder.id)
            self._db.run(f"DELETE FROM {table} WHERE content_id NOT IN (SELECT id FROM contents)")

    def count_released(self) -> int:
        """How many contents a run that did not end has left to be looked at."""
        return self._db.count("SELECT count(*) FROM released")

    def contents_without_files(self) -> list[int]:
        """Ids of contents that no file has any more, and that no run was about to drop."""
        sql = "SELECT id FROM contents WHERE id NOT IN (SELECT content_id FROM images UNION SELECT * FROM released)"
        return [number for (number,) in self._db.all(sql)]

    def mend_contents(self, content_ids: Sequence[int]) -> None:
        """Drop those of the contents, and of what dead runs left, that have no file."""
        for number in content_ids:
            self._catalog.contents.release(number)
        self._catalog.contents.drop_released()

    def contents_without_embedding(self, encoder: StoredEncoder) -> list[int]:
        """Ids of contents that no query can find, but for those that an index run is to read again anyway."""
        table = schema.embeddings_table(encoder.id)
        missing = f"SELECT id FROM contents EXCEPT SELECT content_id FROM {table}"
        return [
            number for (number,) in self._db.all(f"{missing} EXCEPT SELECT content_id FROM images WHERE mtime_ns = -1")
        ]

    def damaged_embeddings(self, encoder: StoredEncoder) -> Iterator[int]:
        """Ids of contents whose embedding has not its size, is not finite, or not of length 1. Reads all of them."""
        import numpy as np

        table, wanted, last = schema.embeddings_table(encoder.id), 2 * encoder.info.dim, 0
        sql = f"SELECT content_id, vector FROM {table} WHERE content_id > ? ORDER BY content_id LIMIT {_ROWS}"
        while rows := self._db.all(sql, (last,)):
            last = rows[-1][0]
            yield from (number for number, vector in rows if len(vector) != wanted)
            whole = [(number, vector) for number, vector in rows if len(vector) == wanted]
            vectors = np.frombuffer(b"".join(vector for _, vector in whole), "<f2").reshape(len(whole), -1)
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
            is_good = np.abs(lengths - 1) <= NORM_TOLERANCE  # false for what is not finite
            yield from (whole[row][0] for row in np.flatnonzero(~is_good))

    def mend_embeddings(self, content_ids: Sequence[int]) -> int:
        """Have the next run index the files of these contents again; returns how many files that are."""
        files = 0
        for records in self._catalog.files.of_contents(content_ids).values():
            for record in records:
                state = FileRecord(record.path, record.size, record.mtime_ns)
                self._catalog.files.remove(record.path)  # nothing finds it without an embedding
                self._catalog.files.put_failure(state, _WHY, ignored=False, retry=True)
                files += 1
        self.mend_contents(content_ids)
        return files

    def drop_embeddings(self, encoder: StoredEncoder, content_ids: Sequence[int]) -> None:
        """Drop embeddings of an encoder that is not the current one; a reindex makes them again."""
        for number in content_ids:
            self._db.run(f"DELETE FROM {schema.embeddings_table(encoder.id)} WHERE content_id = ?", (number,))
        self._catalog.vector_files.drop(encoder.id)

    def embedded_ids(self, encoder: StoredEncoder, first: int, last: int) -> NDArray[np.int64]:
        """Ids of contents over `first` and up to `last` that have an embedding, ascending."""
        table = schema.embeddings_table(encoder.id)
        sql = f"SELECT content_id FROM {table} WHERE content_id > ? AND content_id <= ? ORDER BY content_id"
        return self._db.ids(sql, (first, last))

    def last_content(self) -> int:
        """The largest id that a content has ever had."""
        row = self._db.one("SELECT seq FROM sqlite_sequence WHERE name = 'contents'")
        return row[0] if row else 0

    def _fail_again(self, folder: bytes, name: bytes, size: int) -> None:
        number = self._db.one("SELECT id FROM folders WHERE path = ?", (folder,))[0]
        self._db.run(
            "INSERT OR REPLACE INTO failures (folder_id, name, size, mtime_ns, reason, ignored)"
            " VALUES (?, ?, ?, -1, ?, 0)",
            (number, name, size, _WHY),
        )
