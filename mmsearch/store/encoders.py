"""The encoders of a collection: the one that answers queries, one that is being filled in, and those kept from before.

`meta` names the current one (`encoder`) and the one that a reindex fills in (`reindex`); any other is kept. Each has a
table of embeddings of its own, in which contents that came while it was not the current one may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch.base.errors import StorageError
from mmsearch.base.records import EncoderInfo
from mmsearch.base.text import one_line
from mmsearch.store import checksums, schema, stored_json
from mmsearch.store.database import Database, now

_CURRENT, _UNFINISHED = "encoder", "reindex"

_COLUMNS = "id, spec, fingerprint, dim, preprocess"


@dataclass(frozen=True, slots=True)
class StoredEncoder:
    """An encoder with embeddings in the collection."""

    id: int
    info: EncoderInfo


class Encoders:
    """Which encoders there are. Methods that write expect to be inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def current(self) -> StoredEncoder | None:
        """The collection's encoder; None for a new collection."""
        return self._named(_CURRENT)

    def unfinished(self) -> StoredEncoder | None:
        """The encoder that a reindex has begun to fill in and that has never answered a query."""
        return self._named(_UNFINISHED)

    def all(self) -> list[StoredEncoder]:
        """All encoders, in the order in which they came."""
        return [_encoder(row) for row in self._db.all(f"SELECT {_COLUMNS} FROM encoders ORDER BY id")]

    def kept(self) -> list[StoredEncoder]:
        """Those that were the collection's before, in the order in which they came."""
        others = {encoder.id for encoder in (self.current(), self.unfinished()) if encoder}
        return [encoder for encoder in self.all() if encoder.id not in others]

    def start_with(self, info: EncoderInfo) -> StoredEncoder:
        """Give a new collection its encoder."""
        added = self._add(info)
        self._db.set_meta(_CURRENT, str(added.id))
        return added

    def begin(self, info: EncoderInfo) -> StoredEncoder:
        """Add an encoder that is to be filled in beside the current one."""
        added = self._add(info)
        self._db.set_meta(_UNFINISHED, str(added.id))
        return added

    def switch_to(self, encoder_id: int) -> None:
        """Make an encoder the collection's; the one before is kept.

        Files of contents that it has no embedding of are to be read again by the next index run that finds them.
        """
        if self._db.meta(_UNFINISHED) == str(encoder_id):
            self._db.run("DELETE FROM meta WHERE key = ?", (_UNFINISHED,))
        self._db.set_meta(_CURRENT, str(encoder_id))
        self._db.run(f"UPDATE images SET mtime_ns = -1 WHERE {schema.lacks(encoder_id, 'images.content_id')}")

    def drop(self, encoder_id: int) -> None:
        """Drop an encoder other than the current one, its embeddings and what is known of its vector files."""
        if self._db.meta(_UNFINISHED) == str(encoder_id):
            self._db.run("DELETE FROM meta WHERE key = ?", (_UNFINISHED,))
        self._db.run("DELETE FROM vector_files WHERE encoder_id = ?", (encoder_id,))
        self._db.run(f"DROP TABLE {schema.embeddings_table(encoder_id)}")
        self._db.run("DELETE FROM encoders WHERE id = ?", (encoder_id,))

    def _named(self, key: str) -> StoredEncoder | None:
        row = self._db.one(
            f"SELECT {_COLUMNS} FROM encoders WHERE id = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?)",
            (key,),
        )
        return _encoder(row) if row else None

    def _add(self, info: EncoderInfo) -> StoredEncoder:
        row = (info.spec, info.fingerprint, info.dim, json.dumps(info.preprocess.to_json()))
        number = self._db.insert(
            "INSERT INTO encoders (spec, fingerprint, dim, preprocess, created_at, checksum) VALUES (?, ?, ?, ?, ?, ?)",
            (*row, now(), checksums.of_row(*row)),
        )
        self._db.create_embeddings_table(number)
        return StoredEncoder(number, info)


def _encoder(row: Sequence[Any]) -> StoredEncoder:
    number, spec, fingerprint, dim, preprocess = row
    is_text = isinstance(spec, str) and isinstance(fingerprint, str)
    if not is_text or not stored_json.is_dim(dim) or not stored_json.reads(stored_json.preprocess, preprocess):
        what = f"what the catalog knows of its model {one_line(str(spec))} is damaged"
        raise StorageError(what, "`mmsearch doctor --repair` repairs it")
    return StoredEncoder(number, EncoderInfo(spec, fingerprint, dim, stored_json.preprocess(preprocess)))
