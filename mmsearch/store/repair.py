"""What can be wrong with a catalog, and how to mend it without losing what could not be made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmsearch.images import formats
from mmsearch.store import bits, checksums, schema
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.database import marks, now

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# float16 rounds each dimension by at most one part in 2,048; lengths of whole embeddings stay well within this of 1.
NORM_TOLERANCE = 2e-3

# Tables that refer to others, beside those of embeddings.
_REFERRING = ("images", "failures", "vector_files")

# Complaints of SQLite that are asked for; one is enough to know.
_COMPLAINTS = 5

_ROWS = 8192

_LARGEST_ID = 2**63 - 1

# Damaged embeddings in which a flipped bit is looked for, 10 ms each: where more are damaged, it was not a bit.
_MOST_RESTORED = 1_000

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
        ours = {*_REFERRING, *self._db.embeddings_tables()}
        return dict(Counter(table for table, *_ in self._db.all("PRAGMA foreign_key_check") if table in ours))

    def mend_references(self) -> None:
        """Drop rows that refer to nothing. Files whose content is unknown are to be indexed again."""
        lost = self._db.all(
            "SELECT folder_id, name, size FROM images JOIN folders ON folders.id = folder_id"
            " WHERE content_id NOT IN (SELECT id FROM contents)"
        )
        self._db.run("DELETE FROM images WHERE content_id NOT IN (SELECT id FROM contents)")
        for row in lost:
            self._fail_again(*row)
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
        """Ids of contents whose embedding is not what was written, has not its size, is not finite, or not of length 1.

        Reads all of them.
        """
        may_lack = self.lacks_checksums()
        table = schema.embeddings_table(encoder.id)
        sql = f"SELECT content_id, vector, checksum FROM {table} WHERE content_id > ? ORDER BY content_id LIMIT {_ROWS}"
        for rows in self._db.pages(sql, -_LARGEST_ID):
            damaged = {
                number
                for number, vector, checksum in rows
                if len(vector) != 2 * encoder.info.dim
                or (checksum != checksums.of_vector(number, vector) and not (checksum is None and may_lack))
            }
            yield from sorted(damaged)
            yield from _of_wrong_length([row for row in rows if row[0] not in damaged], encoder.info.dim)

    def lacks_checksums(self) -> bool:
        """Whether some rows are older than checksums and have none yet."""
        return self._db.meta(checksums.PARTIAL) is not None

    def restore_embeddings(self, encoder: StoredEncoder, content_ids: Sequence[int]) -> list[int]:
        """Put embeddings right in which one bit has flipped; returns the contents of those that stay damaged."""
        table, left = schema.embeddings_table(encoder.id), list(content_ids[_MOST_RESTORED:])
        for number in content_ids[:_MOST_RESTORED]:
            row = self._db.one(f"SELECT vector, checksum FROM {table} WHERE content_id = ?", (number,))
            written = bits.written_vector(number, *row) if row and len(row[0]) == 2 * encoder.info.dim else None
            if written is None:
                left.append(number)
            else:
                seal = checksums.of_vector(number, written)
                self._db.run(
                    f"UPDATE {table} SET vector = ?, checksum = ? WHERE content_id = ?", (written, seal, number)
                )
        return left

    # --- models ---

    def lost_models(self) -> list[str]:
        """What is wrong with which models there are, in words."""
        ids, tables = self._encoder_ids(), set(self._db.embeddings_tables())
        known = {str(number) for number in ids}
        current, unfinished = self._db.meta("encoder"), self._db.meta("reindex")
        problems = []
        if ids and current not in known:
            problems.append("the catalog does not say which model is the collection's")
        if not ids and self._db.count("SELECT EXISTS (SELECT 1 FROM images WHERE mtime_ns != -1)"):
            problems.append("the catalog holds images, but knows no model")
        if unfinished is not None and (unfinished not in known or unfinished == current):
            problems.append("the model of an unfinished reindex is not there")
        problems += [f"model {number} has no table of embeddings" for number in ids if _table(number) not in tables]
        return problems + [f"{table} belongs to no model" for table in sorted(tables - set(map(_table, ids)))]

    def mend_models(self) -> str:
        """Give models their tables, drop tables without a model, and make the model with the most embeddings the
        collection's where none is; returns what was done. Without any model all images are to be read again.
        """
        ids, tables = self._encoder_ids(), set(self._db.embeddings_tables())
        for number in ids:
            if _table(number) not in tables:
                self._db.create_embeddings_table(number)
        for table in tables - set(map(_table, ids)):
            self._db.run(f"DROP TABLE {table}")
        known = {str(number) for number in ids}
        current, unfinished = self._db.meta("encoder"), self._db.meta("reindex")
        if unfinished is not None and (unfinished not in known or unfinished == current):
            self._db.run("DELETE FROM meta WHERE key = 'reindex'")
        if not ids:
            self._db.run("DELETE FROM meta WHERE key = 'encoder'")
            self._db.run("UPDATE images SET mtime_ns = -1")
            return "the next `mmsearch index` chooses a model and reads all images again"
        if current not in known:
            finished = [number for number in ids if str(number) != unfinished] or ids
            fullest = max(finished, key=lambda number: (self._catalog.embeddings.count(number), number))
            self._catalog.encoders.switch_to(fullest)
        chosen = self._catalog.encoders.current()
        assert chosen is not None
        return f"{chosen.info.spec} is the collection's model"

    def _encoder_ids(self) -> list[int]:
        return [number for (number,) in self._db.all("SELECT id FROM encoders ORDER BY id")]

    # --- what migrations and SQLite note for themselves ---

    def wrong_notes(self) -> list[str]:
        """What is wrong with the ledger of migrations and the number of the next content, in words."""
        told = self._db.all("SELECT version, name FROM migrations ORDER BY version")
        problems = [] if told == _ledger() else ["the ledger tells other migrations than have been applied"]
        if not self._highest() <= self.last_content() < _LARGEST_ID // 2:
            problems.append("a new content could get no id, or one that another has had")
        if not formats.parse(self._catalog.formats(), strict=False):
            problems.append("no format of images is open")
        return problems

    def mend_notes(self) -> None:
        """Tell the migrations that have been applied, number contents on from the highest id, and open formats."""
        if not formats.parse(self._catalog.formats(), strict=False):
            self._db.run("DELETE FROM meta WHERE key = 'formats'")
        self._db.run(f"DELETE FROM migrations WHERE version NOT BETWEEN 1 AND {schema.VERSION}")
        for number, name in _ledger():
            self._db.run(
                "INSERT INTO migrations VALUES (?, ?, ?) ON CONFLICT (version) DO UPDATE SET name = excluded.name",
                (number, name, now()),
            )
        self._db.run("DELETE FROM sqlite_sequence WHERE name = 'contents'")
        self._db.run("INSERT INTO sqlite_sequence (name, seq) VALUES ('contents', ?)", (self._highest(),))

    def _highest(self) -> int:
        return self._db.count("SELECT coalesce(max(id), 0) FROM contents")

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

    def read_again(self, content_ids: Sequence[int]) -> int:
        """Drop contents, and have the next run index their files again; returns how many files that are."""
        files = 0
        for number in content_ids:
            rows = self._db.all(
                "SELECT folder_id, name, size FROM images JOIN folders ON folders.id = folder_id WHERE content_id = ?",
                (number,),
            )
            for row in rows:
                self._fail_again(*row)
            self._db.run("DELETE FROM images WHERE content_id = ?", (number,))
            files += len(rows)
        self.mend_contents(content_ids)
        return files

    def _fail_again(self, folder_id: int, name: bytes, size: int) -> None:
        row = (folder_id, name, size, -1, _WHY, 0, checksums.of_row(folder_id, name, _WHY, 0))
        columns = "folder_id, name, size, mtime_ns, reason, ignored, checksum"
        self._db.run(f"INSERT OR REPLACE INTO failures ({columns}) VALUES ({marks(row)})", row)


def _of_wrong_length(rows: Sequence[tuple[int, bytes, int | None]], dim: int) -> Iterator[int]:
    """Ids of those embeddings that are not finite or not of length 1; each has `dim` numbers."""
    import numpy as np

    vectors = np.frombuffer(b"".join(vector for _, vector, _ in rows), "<f2").reshape(len(rows), dim)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    is_good = np.abs(lengths - 1) <= NORM_TOLERANCE  # false for what is not finite
    yield from (rows[int(row)][0] for row in np.flatnonzero(~is_good))


def _table(encoder_id: int) -> str:
    return schema.embeddings_table(encoder_id)


def _ledger() -> list[tuple[int, str]]:
    """What the ledger should tell."""
    return [(number, name) for number, (name, _) in enumerate(schema.MIGRATIONS, 1)]
