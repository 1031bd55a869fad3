"""The encoders of a collection: the one that answers queries, one that is being filled in, and those kept from before.

`meta` names the current one (`encoder`) and the one that a reindex fills in (`reindex`); any other is kept. Each has a
table of embeddings of its own, in which contents that came while it was not the current one may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch.store import schema
from mmsearch.store.database import Database, now
from mmsearch.types import EncoderInfo, Preprocess

_CURRENT, _UNFINISHED = "encoder", "reindex"

_COLUMNS = "id, spec, fingerprint, dim, preprocess"


@dataclass(frozen=True, slots=True)
class StoredEncoder:
    """An encoder with embeddings in the collection."""

    id: int
    info: EncoderInfo


class EncoderStore(Database):
    """The part of the catalog that says which encoders there are, and which contents lack an embedding by one."""

    def encoder(self) -> StoredEncoder | None:
        """The collection's encoder; None for a new collection."""
        return self._named(_CURRENT)

    def unfinished_encoder(self) -> StoredEncoder | None:
        """The encoder that a reindex has begun to fill in and that has never answered a query."""
        return self._named(_UNFINISHED)

    def encoders(self) -> list[StoredEncoder]:
        """All encoders, in the order in which they came."""
        return [_encoder(row) for row in self._all(f"SELECT {_COLUMNS} FROM encoders ORDER BY id")]

    def kept_encoders(self) -> list[StoredEncoder]:
        """Those that were the collection's before, in the order in which they came."""
        others = {encoder.id for encoder in (self.encoder(), self.unfinished_encoder()) if encoder}
        return [encoder for encoder in self.encoders() if encoder.id not in others]

    def set_encoder(self, info: EncoderInfo) -> StoredEncoder:
        """Give a new collection its encoder."""
        added = self._add_encoder(info)
        self.set_meta(_CURRENT, str(added.id))
        return added

    def begin_encoder(self, info: EncoderInfo) -> StoredEncoder:
        """Add an encoder that is to be filled in beside the current one."""
        added = self._add_encoder(info)
        self.set_meta(_UNFINISHED, str(added.id))
        return added

    def switch_encoder(self, encoder_id: int) -> None:
        """Make an encoder the collection's; the one before is kept.

        Files of contents that it has no embedding of are to be read again by the next index run that finds them.
        """
        if self.meta(_UNFINISHED) == str(encoder_id):
            self._run("DELETE FROM meta WHERE key = ?", (_UNFINISHED,))
        self.set_meta(_CURRENT, str(encoder_id))
        self._run(f"UPDATE images SET mtime_ns = -1 WHERE {_lacks(encoder_id, 'images.content_id')}")

    def drop_encoder(self, encoder_id: int) -> None:
        """Drop an encoder other than the current one, its embeddings and what is known of its vector files."""
        if self.meta(_UNFINISHED) == str(encoder_id):
            self._run("DELETE FROM meta WHERE key = ?", (_UNFINISHED,))
        self._run("DELETE FROM vector_files WHERE encoder_id = ?", (encoder_id,))
        self._run(f"DROP TABLE {schema.embeddings_table(encoder_id)}")
        self._run("DELETE FROM encoders WHERE id = ?", (encoder_id,))

    def shrink(self) -> None:
        """Give the room of what was dropped back to the disk: writes everything that is left. Not in a transaction."""
        self._all("VACUUM")
        self._all("PRAGMA wal_checkpoint(TRUNCATE)")

    def contents_lacking(self, encoder_id: int, after: int, rows: int) -> list[tuple[int, bytes]]:
        """Ids over `after`, ascending, and hashes of up to `rows` contents without an embedding by an encoder."""
        return self._all(
            f"SELECT id, hash FROM contents WHERE id > ? AND {_lacks(encoder_id, 'contents.id')} ORDER BY id LIMIT ?",
            (after, rows),
        )

    def count_lacking(self, encoder_id: int) -> int:
        """How many contents have no embedding by an encoder. Goes through all of its embeddings."""
        return self._count(f"SELECT count(*) FROM contents WHERE {_lacks(encoder_id, 'contents.id')}")

    def has_embedding(self, encoder_id: int, content_hash: bytes) -> bool:
        """Whether a content is known and has an embedding by an encoder."""
        table = schema.embeddings_table(encoder_id)
        return bool(
            self._count(
                f"SELECT EXISTS (SELECT 1 FROM contents JOIN {table} ON content_id = contents.id WHERE hash = ?)",
                (content_hash,),
            )
        )

    def _named(self, key: str) -> StoredEncoder | None:
        row = self._one(
            f"SELECT {_COLUMNS} FROM encoders WHERE id = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?)",
            (key,),
        )
        return _encoder(row) if row else None

    def _add_encoder(self, info: EncoderInfo) -> StoredEncoder:
        cursor = self._connection.execute(
            "INSERT INTO encoders (spec, fingerprint, dim, preprocess, created_at) VALUES (?, ?, ?, ?, ?)",
            (info.spec, info.fingerprint, info.dim, json.dumps(info.preprocess.to_json()), now()),
        )
        assert cursor.lastrowid is not None
        schema.create_embeddings_table(self._connection, cursor.lastrowid)
        return StoredEncoder(cursor.lastrowid, info)


def _encoder(row: Sequence[Any]) -> StoredEncoder:
    number, spec, fingerprint, dim, preprocess = row
    return StoredEncoder(number, EncoderInfo(spec, fingerprint, dim, Preprocess.from_json(json.loads(preprocess))))


def _lacks(encoder_id: int, content: str) -> str:
    """The SQL condition that a content has no embedding by an encoder."""
    return f"NOT EXISTS (SELECT 1 FROM {schema.embeddings_table(encoder_id)} WHERE content_id = {content})"
