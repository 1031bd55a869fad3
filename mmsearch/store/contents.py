"""Contents: what different files hold, by hash. One that has lost its last file is released, then dropped."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmsearch.base.records import ImageFacts
from mmsearch.store import checksums, schema
from mmsearch.store.database import Database, marks
from mmsearch.store.encoders import Encoders
from mmsearch.store.lists import Lists
from mmsearch.store.selection import Selection, joins

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Contents:
    """The different contents of the indexed files. Methods that write expect to be inside a transaction."""

    def __init__(self, database: Database, encoders: Encoders, lists: Lists) -> None:
        self._db = database
        self._encoders = encoders
        self._lists = lists

    def id_of(self, content_hash: bytes) -> int | None:
        """The id of the content with this hash, None for one that is not known."""
        row = self._db.one("SELECT id FROM contents WHERE hash = ?", (content_hash,))
        return row[0] if row else None

    def add(self, content_hash: bytes, facts: ImageFacts) -> int:
        """Store a content that is not known yet; returns its id."""
        fields = _with_checksum({"hash": content_hash, **asdict(facts)})
        sql = f"INSERT INTO contents ({', '.join(fields)}) VALUES ({marks(fields)})"
        return self._db.insert(sql, fields.values())

    def renew(self, content_id: int, facts: ImageFacts) -> None:
        """Store the facts of a known content anew."""
        (content_hash,) = self._db.one("SELECT hash FROM contents WHERE id = ?", (content_id,)) or (b"",)
        fields = _with_checksum({"hash": content_hash, **asdict(facts)})
        self._db.run(
            f"UPDATE contents SET {', '.join(f'{name} = ?' for name in fields)} WHERE id = ?",
            (*fields.values(), content_id),
        )

    def ids(self, selection: Selection) -> NDArray[np.int64]:
        """Ids of all contents with a selected file, ascending, int64 (n,)."""
        where, values = selection.sql(self._lists)
        return self._db.ids(
            f"SELECT DISTINCT content_id FROM images {joins(where)} WHERE {where} ORDER BY content_id", values
        )

    def count(self) -> int:
        """How many different contents the indexed files have."""
        return self._db.count("SELECT count(*) FROM contents")

    def drop_released(self) -> int:
        """Drop contents (and their embeddings) that lost their last file. Returns how many."""
        unused = self._db.all(
            "SELECT content_id FROM released WHERE NOT EXISTS"
            " (SELECT 1 FROM images WHERE images.content_id = released.content_id)"
        )
        encoders = self._encoders.all() if unused else []
        for (content_id,) in unused:
            for encoder in encoders:  # one that lacks the content has not covered it either
                self._db.run(
                    "UPDATE vector_files SET removed = removed + 1 WHERE encoder_id = ? AND ? BETWEEN first + 1 AND"
                    f" watermark AND EXISTS (SELECT 1 FROM {schema.embeddings_table(encoder.id)} WHERE content_id = ?)",
                    (encoder.id, content_id, content_id),
                )
            self._db.run("DELETE FROM contents WHERE id = ?", (content_id,))
        self._db.run("DELETE FROM released")
        return len(unused)

    def release(self, content_id: int) -> None:
        """Note that a content has lost a file, so that `drop_released` looks whether it was the last."""
        self._db.run("INSERT OR IGNORE INTO released VALUES (?)", (content_id,))


def _with_checksum(fields: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row, and its checksum."""
    return {**fields, "checksum": checksums.of_row(*(fields[name] for name in checksums.COVERED["contents"]))}
