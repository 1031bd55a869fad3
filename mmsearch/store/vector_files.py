"""What the catalog knows of the vector files, which are made from its embeddings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Literal

from mmsearch.store import checksums
from mmsearch.store.database import Database, marks, now


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


# The types of its fields, in order: what a row holds unless it is damaged.
_TYPES = (str, str, int, int, int, int, str, int, int, int, int, str, str)


class VectorFiles:
    """The current vector files of each encoder. Methods that write expect to be inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, encoder_id: int) -> list[VectorFile]:
        """The current vector files, `main` first; none before the first was made. A damaged row counts as none."""
        columns = ", ".join(field.name for field in fields(VectorFile))
        rows = self._db.all(f"SELECT {columns} FROM vector_files WHERE encoder_id = ? ORDER BY part", (encoder_id,))
        return [VectorFile(*row) for row in rows if tuple(map(type, row)) == _TYPES]

    def names(self) -> list[str]:
        """Names of the vector files of all encoders."""
        rows = self._db.all("SELECT name FROM vector_files ORDER BY name")
        return [name for (name,) in rows if isinstance(name, str)]

    def put(self, encoder_id: int, file: VectorFile) -> None:
        """Make a complete file the current one; a new `main` file replaces a `recent` one too."""
        if file.part == "main":
            self._db.run("DELETE FROM vector_files WHERE encoder_id = ?", (encoder_id,))
        row = {"encoder_id": encoder_id, **asdict(file), "created_at": now()}
        row["checksum"] = checksums.of_row(*(row[name] for name in checksums.COVERED["vector_files"]))
        self._db.run(f"INSERT OR REPLACE INTO vector_files ({', '.join(row)}) VALUES ({marks(row)})", row.values())

    def drop(self, encoder_id: int) -> None:
        """Forget the files, so that searches go through the catalog until they are made again."""
        self._db.run("DELETE FROM vector_files WHERE encoder_id = ?", (encoder_id,))
