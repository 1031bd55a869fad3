"""The catalog of a collection: its parts, which share one open database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from mmsearch.base.errors import CollectionEmptyError
from mmsearch.images import formats
from mmsearch.store import checksums, stored_json
from mmsearch.store.contents import Contents
from mmsearch.store.database import Database
from mmsearch.store.embeddings import EmbeddingTables
from mmsearch.store.encoders import Encoders
from mmsearch.store.encoders import StoredEncoder as StoredEncoder
from mmsearch.store.files import Files
from mmsearch.store.lists import Lists
from mmsearch.store.roots import Roots
from mmsearch.store.vector_files import VectorFile as VectorFile
from mmsearch.store.vector_files import VectorFiles


class Catalog:
    """An open catalog. What writes expects to be inside `transaction()`.

    `roots` are the folders to index, `files` what is known in them, `contents` what these hold, `encoders` the models,
    `embeddings` what the models made of contents, and `vector_files` what was built from that.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        """Open the catalog in `folder`; with `write` it is created or migrated. See `connection.connect` for errors."""
        self.database = Database(folder, write=write)
        self.folder = folder
        self.transaction, self.snapshot = self.database.transaction, self.database.snapshot
        self.encoders = Encoders(self.database)
        self.vector_files = VectorFiles(self.database)
        self.embeddings = EmbeddingTables(self.database, self.vector_files)
        self.lists = Lists(self.database)
        self.contents = Contents(self.database, self.encoders, self.lists)
        self.files = Files(self.database, self.contents, self.lists)
        self.roots = Roots(self.database, self.files)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def require_encoder(self) -> StoredEncoder:
        """The collection's encoder. Raises `CollectionEmptyError` where there is none, or no embedding by it."""
        encoder = self.encoders.current()
        if encoder is None or not self.embeddings.last(encoder.id):
            raise CollectionEmptyError.of(self.folder)
        return encoder

    def formats(self) -> str:
        """The formats that are opened, as the user has listed them (see `mmsearch.images.formats`)."""
        return self.database.meta("formats") or formats.DEFAULT

    def set_formats(self, listed: str) -> None:
        """Change them; files that could not be indexed are tried again by the next run, as it may open them."""
        if listed != self.formats():
            self.database.set_meta("formats", listed)
            self.files.retry_failures()

    def add_run(self, started_at: str, summary: dict[str, Any]) -> None:
        """Remember what an index run did."""
        row = (started_at, json.dumps(summary))
        self.database.run(
            "INSERT INTO runs (started_at, summary, checksum) VALUES (?, ?, ?)", (*row, checksums.of_row(*row))
        )

    def last_run(self) -> tuple[str, dict[str, Any]] | None:
        """When the last finished run began, and its summary; None where there was none, or its record is damaged."""
        row = self.database.one("SELECT started_at, summary FROM runs ORDER BY id DESC LIMIT 1")
        is_whole = row is not None and isinstance(row[0], str) and stored_json.reads(stored_json.summary, row[1])
        return (row[0], stored_json.summary(row[1])) if is_whole else None
