"""Read and write the catalog: roots, images, failures, embeddings, runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmsearch.store import schema
from mmsearch.store.database import chunks, marks, now
from mmsearch.store.embeddings import EmbeddingStore as EmbeddingStore
from mmsearch.store.embeddings import StoredEncoder as StoredEncoder
from mmsearch.store.embeddings import VectorFile as VectorFile
from mmsearch.store.selection import DATE, Selection
from mmsearch.store.selection import below as _below
from mmsearch.types import FileRecord, ImageFacts, ImageRecord, RootRecord, ScanOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # Content ids (n,) and their embeddings (n, dim).
    Embeddings = tuple[NDArray[np.int64], NDArray[np.float32]]

# Values bound in one statement; SQLite takes 32,766.
_CHUNK = 500

_IMAGE_COLUMNS = """
    images.id, folders.path, images.name, images.size, images.mtime_ns, contents.id, contents.hash, contents.width,
    contents.height, contents.format, contents.taken_at, contents.camera, contents.latitude, contents.longitude
    FROM images JOIN folders ON folders.id = images.folder_id JOIN contents ON contents.id = images.content_id
"""

_ALL = Selection()


class Catalog(EmbeddingStore):
    """An open catalog. Methods that write expect to be inside `transaction()`."""

    # --- roots and what is known of folders ---

    def roots(self) -> list[RootRecord]:
        """All roots by path, with the number of images below each."""
        rows = self._all("SELECT id, path, options, offline_since FROM roots ORDER BY path")
        return [
            RootRecord(number, os.fsdecode(path), _options(options), self.count_images(os.fsdecode(path)), since)
            for number, path, options, since in rows
        ]

    def offline_roots(self) -> tuple[str, ...]:
        """Paths of the roots that are marked offline, in byte order; counts nothing."""
        rows = self._all("SELECT path FROM roots WHERE offline_since IS NOT NULL ORDER BY path")
        return tuple(os.fsdecode(path) for (path,) in rows)

    def set_offline(self, offline: Sequence[str], online: Sequence[str]) -> None:
        """Mark roots as offline from now on, unless they have been before, and others as being there."""
        for path in offline:
            self._run(
                "UPDATE roots SET offline_since = coalesce(offline_since, ?) WHERE path = ?", (now(), os.fsencode(path))
            )
        for path in online:
            self._run("UPDATE roots SET offline_since = NULL WHERE path = ?", (os.fsencode(path),))

    def put_root(self, path: str, options: ScanOptions) -> None:
        """Add a root or change its options; roots below it become part of it, those that are offline when they are
        back."""
        self._run("DELETE FROM roots WHERE path > ? AND path < ? AND offline_since IS NULL", _below(path))
        self._run(
            "INSERT INTO roots (path, options, added_at) VALUES (?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET options = excluded.options",
            (os.fsencode(path), json.dumps(asdict(options)), now()),
        )

    def remove_roots(self, path: str) -> None:
        """Drop the root at `path` and all below it. Their images stay until `remove_below`."""
        self._run("DELETE FROM roots WHERE path = ?", (os.fsencode(path),))
        self._run("DELETE FROM roots WHERE path > ? AND path < ?", _below(path))

    def folders_at(self, path: str) -> Iterator[tuple[int, str]]:
        """Ids and paths of the known folders at and below `path`, in byte order."""
        rows = self._all(
            "SELECT id, path FROM folders WHERE path = ? OR (path > ? AND path < ?) ORDER BY path",
            (os.fsencode(path), *_below(path)),
        )
        for number, folder in rows:
            yield number, os.fsdecode(folder)

    def folder_id(self, path: str) -> int | None:
        row = self._one("SELECT id FROM folders WHERE path = ?", (os.fsencode(path),))
        return row[0] if row else None

    def known_files(self, folder_id: int) -> dict[bytes, tuple[int, int]]:
        """(size, mtime_ns) of each known file directly in a folder by name, indexed or not."""
        rows = self._all(
            "SELECT name, size, mtime_ns FROM images WHERE folder_id = ?1"
            " UNION ALL SELECT name, size, mtime_ns FROM failures WHERE folder_id = ?1",
            (folder_id,),
        )
        return {name: (size, mtime_ns) for name, size, mtime_ns in rows}

    def failed_files(self, folder_id: int) -> dict[bytes, bool]:
        """The files directly in a folder that could not be indexed, by name: whether each is no image at all."""
        rows = self._all("SELECT name, ignored FROM failures WHERE folder_id = ?", (folder_id,))
        return {name: bool(ignored) for name, ignored in rows}

    # --- images ---

    def put_image(self, record: FileRecord, content_id: int) -> int | None:
        """Store a file's state and content. Returns the id of the content that it had before, None for a new file."""
        folder, name = self._place(record.path)
        before = self._one("SELECT content_id FROM images WHERE folder_id = ? AND name = ?", (folder, name))
        self._run(
            "INSERT INTO images (folder_id, name, size, mtime_ns, content_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT"
            " (folder_id, name)"
            " DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, content_id = excluded.content_id",
            (folder, name, record.size, record.mtime_ns, content_id),
        )
        self._run("DELETE FROM failures WHERE folder_id = ? AND name = ?", (folder, name))
        if before and before[0] != content_id:
            self._release(before[0])
        return before[0] if before else None

    def put_failure(self, record: FileRecord, reason: str, *, ignored: bool, retry: bool) -> None:
        """Record that a file cannot be indexed; with `retry` the next run tries it again, changed or not."""
        folder, name = self._place(record.path)
        self._remove_image(folder, name)
        state = (record.size, -1 if retry else record.mtime_ns)
        self._run("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)", (folder, name, *state, reason, ignored))

    def remove_file(self, path: str) -> int | None:
        """Forget a file. Returns the id of the content that it had, None where it was not indexed."""
        folder, name = self._place(path)
        self._run("DELETE FROM failures WHERE folder_id = ? AND name = ?", (folder, name))
        return self._remove_image(folder, name)

    def remove_below(self, path: str) -> int:
        """Forget all files at and below a folder, and the folders. Returns how many images went."""
        removed = 0
        for folder, _ in list(self.folders_at(path)):
            self._run("INSERT OR IGNORE INTO released SELECT content_id FROM images WHERE folder_id = ?", (folder,))
            removed += self._run("DELETE FROM images WHERE folder_id = ?", (folder,))
            self._run("DELETE FROM failures WHERE folder_id = ?", (folder,))
            self._run("DELETE FROM folders WHERE id = ?", (folder,))
        return removed

    def drop_empty_folders(self) -> None:
        """Forget folders that have no known file left, so that no later run looks for any."""
        self._run(
            "DELETE FROM folders WHERE NOT EXISTS (SELECT 1 FROM images WHERE folder_id = folders.id)"
            " AND NOT EXISTS (SELECT 1 FROM failures WHERE folder_id = folders.id)"
        )

    def drop_released(self) -> int:
        """Drop contents (and their embeddings) that lost their last file. Returns how many."""
        unused = self._all(
            "SELECT content_id FROM released WHERE NOT EXISTS"
            " (SELECT 1 FROM images WHERE images.content_id = released.content_id)"
        )
        encoders = self.encoders() if unused else []
        for (content_id,) in unused:
            for encoder in encoders:  # one that lacks the content has not covered it either
                self._run(
                    "UPDATE vector_files SET removed = removed + 1 WHERE encoder_id = ? AND ? BETWEEN first + 1 AND"
                    f" watermark AND EXISTS (SELECT 1 FROM {schema.embeddings_table(encoder.id)} WHERE content_id = ?)",
                    (encoder.id, content_id, content_id),
                )
            self._run("DELETE FROM contents WHERE id = ?", (content_id,))
        self._run("DELETE FROM released")
        return len(unused)

    def images_of_contents(
        self, content_ids: Sequence[int], selection: Selection = _ALL
    ) -> dict[int, list[ImageRecord]]:
        """The selected files of each content, in byte order of their paths. Contents without any are missing."""
        found: dict[int, list[ImageRecord]] = {}
        where, values = selection.sql()
        for part in chunks(content_ids):
            sql = f"SELECT {_IMAGE_COLUMNS} WHERE contents.id IN ({marks(part)}) AND {where}"
            for row in self._all(sql, [*part, *values]):
                record = _image(row)
                found.setdefault(record.content_id, []).append(record)
        for records in found.values():
            records.sort(key=lambda record: os.fsencode(record.path))
        return found

    def image_at(self, path: str) -> ImageRecord | None:
        """The indexed file with this absolute path."""
        folder, name = os.path.split(path)
        row = self._one(
            f"SELECT {_IMAGE_COLUMNS} WHERE folders.path = ? AND images.name = ?",
            (os.fsencode(folder), os.fsencode(name)),
        )
        return _image(row) if row else None

    def image_by_id(self, number: int) -> ImageRecord | None:
        """The indexed file with this id."""
        row = self._one(f"SELECT {_IMAGE_COLUMNS} WHERE images.id = ?", (number,))
        return _image(row) if row else None

    def count_contents(self) -> int:
        """How many different contents the indexed files have."""
        return self._count("SELECT count(*) FROM contents")

    def count_images(self, below: str | None = None) -> int:
        """How many files are indexed, in all or at and below a folder."""
        if below is None:
            return self._count("SELECT count(*) FROM images")
        return self._count(
            "SELECT count(*) FROM images WHERE folder_id IN"
            " (SELECT id FROM folders WHERE path = ? OR (path > ? AND path < ?))",
            (os.fsencode(below), *_below(below)),
        )

    def failures(self, *, limit: int = -1) -> list[tuple[str, str]]:
        """Path and reason of files that claim to be images and could not be indexed, by path."""
        rows = self._all(
            "SELECT path, name, reason FROM failures JOIN folders ON folders.id = folder_id"
            " WHERE NOT ignored ORDER BY path, name LIMIT ?",
            (limit,),
        )
        return [(os.path.join(os.fsdecode(path), os.fsdecode(name)), reason) for path, name, reason in rows]

    def count_failures(self) -> int:
        return self._count("SELECT count(*) FROM failures WHERE NOT ignored")

    # --- contents ---

    def content_id(self, content_hash: bytes) -> int | None:
        row = self._one("SELECT id FROM contents WHERE hash = ?", (content_hash,))
        return row[0] if row else None

    def add_content(self, content_hash: bytes, facts: ImageFacts) -> int:
        """Store a content that is not known yet; returns its id."""
        fields = asdict(facts)
        cursor = self._connection.execute(
            f"INSERT INTO contents (hash, {', '.join(fields)}) VALUES (?, {marks(fields)})",
            (content_hash, *fields.values()),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def content_ids(self, selection: Selection) -> NDArray[np.int64]:
        """Ids of all contents with a selected file, ascending, int64 (n,)."""
        where, values = selection.sql()
        return self._id_array(
            f"SELECT DISTINCT content_id FROM images {selection.joins()} WHERE {where} ORDER BY content_id", values
        )

    def latest(self, selection: Selection, limit: int) -> list[ImageRecord]:
        """The selected files, newest first (by EXIF date, else file time); those of one second by path."""
        where, values = selection.sql()
        order = f"ORDER BY {DATE} DESC, folders.path, images.name LIMIT ?"
        return [_image(row) for row in self._all(f"SELECT {_IMAGE_COLUMNS} WHERE {where} {order}", [*values, limit])]

    # --- runs ---

    def add_run(self, started_at: str, summary: dict[str, Any]) -> None:
        self._run("INSERT INTO runs (started_at, summary) VALUES (?, ?)", (started_at, json.dumps(summary)))

    def last_run(self) -> tuple[str, dict[str, Any]] | None:
        """When the last finished run began, and its summary."""
        row = self._one("SELECT started_at, summary FROM runs ORDER BY id DESC LIMIT 1")
        return (row[0], json.loads(row[1])) if row else None

    # --- inside ---

    def _place(self, path: str) -> tuple[int, bytes]:
        folder, name = os.path.split(path)
        number = self.folder_id(folder)
        if number is None:
            cursor = self._connection.execute("INSERT INTO folders (path) VALUES (?)", (os.fsencode(folder),))
            assert cursor.lastrowid is not None
            number = cursor.lastrowid
        return number, os.fsencode(name)

    def _remove_image(self, folder: int, name: bytes) -> int | None:
        row = self._one("DELETE FROM images WHERE folder_id = ? AND name = ? RETURNING content_id", (folder, name))
        if not row:
            return None
        self._release(row[0])
        content_id: int = row[0]
        return content_id

    def _release(self, content_id: int) -> None:
        self._run("INSERT OR IGNORE INTO released VALUES (?)", (content_id,))


def _options(text: str) -> ScanOptions:
    fields = json.loads(text)
    fields |= {name: tuple(fields[name]) for name in ("include", "exclude")}
    return ScanOptions(**fields)


def _image(row: Sequence[Any]) -> ImageRecord:
    number, folder, name, size, mtime_ns, content_id, content_hash, *facts = row
    path = os.path.join(os.fsdecode(folder), os.fsdecode(name))
    return ImageRecord(number, path, size, mtime_ns, content_id, content_hash.hex(), ImageFacts(*facts))
