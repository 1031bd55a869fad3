"""Files that are known: images that are indexed, and files that could not be, by folder and name."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mmsearch.base import names
from mmsearch.base.file_state import State
from mmsearch.base.records import FileRecord, ImageFacts, ImageRecord
from mmsearch.store import checksums
from mmsearch.store.contents import Contents
from mmsearch.store.database import Database, chunks, damage_told, marks
from mmsearch.store.lists import IN_FOLDERS, Lists, below
from mmsearch.store.selection import DATE, Selection

_IMAGE_COLUMNS = """
    images.id, folders.path, images.name, images.size, images.mtime_ns, contents.id, contents.hash, contents.width,
    contents.height, contents.format, contents.taken_at, contents.camera, contents.latitude, contents.longitude,
    contents.remark
    FROM images JOIN folders ON folders.id = images.folder_id JOIN contents ON contents.id = images.content_id
"""

_ALL = Selection()

# What is wrong in a name: a separator, a NUL, or that there is nothing but up to two dots; and what stands for it.
_NO_NAME = re.compile(rb"[/\0]|^\.{0,2}$" if os.sep == "/" else rb"[/\\\0]|^\.{0,2}$")
_STAND_IN = "\ufffd".encode()

# Files that are listed at a time.
_PAGE = 1_000


class Files:
    """The known files. Methods that write expect to be inside a transaction."""

    def __init__(self, database: Database, contents: Contents, lists: Lists) -> None:
        self._db = database
        self._contents = contents
        self._lists = lists

    # --- by folder ---

    def folders_at(self, path: str) -> Iterator[tuple[int, str]]:
        """Ids and paths of the known folders at and below `path`, in byte order."""
        rows = self._db.all(
            "SELECT id, path FROM folders WHERE path = ? OR (path > ? AND path < ?) ORDER BY path",
            (os.fsencode(path), *below(path)),
        )
        with damage_told():
            found = [(number, os.fsdecode(folder)) for number, folder in rows]
        yield from found

    def folder_id(self, path: str) -> int | None:
        """The id of a folder with known files."""
        row = self._db.one("SELECT id FROM folders WHERE path = ?", (os.fsencode(path),))
        return row[0] if row else None

    def known_in(self, folder_id: int) -> dict[bytes, State]:
        """The state of each known file directly in a folder by name, indexed or not.

        One that is indexed, and could not be read since, has the state of its failure, which comes last.
        """
        rows = self._db.all(
            "SELECT name, size, mtime_ns, ctime_ns, inode FROM images WHERE folder_id = ?1"
            " UNION ALL SELECT name, size, mtime_ns, ctime_ns, inode FROM failures WHERE folder_id = ?1",
            (folder_id,),
        )
        return {name: (size, mtime, ctime, inode) for name, size, mtime, ctime, inode in rows}

    def knows_below(self, path: str) -> bool:
        """Whether the folder `path`, or one below it, has known files."""
        sql = "SELECT 1 FROM folders WHERE path = ? OR (path > ? AND path < ?) LIMIT 1"
        return self._db.one(sql, (os.fsencode(path), *below(path))) is not None

    def folders_alike(self, paths: Collection[str]) -> dict[str, list[str]]:
        """Those of `paths` (absolute) that people would take for known folders, or for folders with known ones below
        them, each with the names that these have, in byte order.

        Where some differ in no more than their normal form, those alone: another case then is another folder.
        """
        wanted: dict[str, list[str]] = {}
        for path in paths:
            wanted.setdefault(names.folded(path), []).append(path)
        alike: dict[str, set[str]] = {}
        seen: set[str] = set()
        for (raw,) in self._db.all("SELECT path FROM folders"):
            folder = os.fsdecode(raw)
            while folder not in seen:
                seen.add(folder)
                for path in wanted.get(names.folded(folder), ()):
                    alike.setdefault(path, set()).add(folder)
                folder = os.path.dirname(folder)
        return {path: _closest(path, found) for path, found in alike.items()}

    def state_at(self, path: str) -> State | None:
        """The state of an indexed file, None for one that is not indexed."""
        folder, name = os.path.split(path)
        state: State | None = self._db.one(
            "SELECT size, mtime_ns, ctime_ns, inode FROM images WHERE name = ?"
            " AND folder_id = (SELECT id FROM folders WHERE path = ?)",
            (os.fsencode(name), os.fsencode(folder)),
        )
        return state

    def failed_in(self, folder_id: int) -> dict[bytes, bool]:
        """The files directly in a folder that could not be indexed, by name: whether each is no image at all."""
        rows = self._db.all("SELECT name, ignored FROM failures WHERE folder_id = ?", (folder_id,))
        return {name: bool(ignored) for name, ignored in rows}

    def drop_empty_folders(self) -> None:
        """Forget folders that have no known file left, so that no later run looks for any."""
        self._db.run(
            "DELETE FROM folders WHERE NOT EXISTS (SELECT 1 FROM images WHERE folder_id = folders.id)"
            " AND NOT EXISTS (SELECT 1 FROM failures WHERE folder_id = folders.id)"
        )

    # --- as runs find them ---

    def put_image(self, record: FileRecord, content_id: int) -> int | None:
        """Store a file's state and content. Returns the id of the content that it had before, None for a new file."""
        folder, name = self._folder_and_name(record.path)
        before = self._db.one("SELECT content_id FROM images WHERE folder_id = ? AND name = ?", (folder, name))
        self._db.run(
            "INSERT INTO images (folder_id, name, size, mtime_ns, ctime_ns, inode, content_id, checksum)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (folder_id, name)"
            " DO UPDATE SET size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,"
            " inode = excluded.inode, content_id = excluded.content_id, checksum = excluded.checksum",
            (
                *(folder, name, record.size, record.mtime_ns, record.ctime_ns, record.inode, content_id),
                checksums.of_row(folder, name, content_id),
            ),
        )
        self._db.run("DELETE FROM failures WHERE folder_id = ? AND name = ?", (folder, name))
        if before and before[0] != content_id:
            self._contents.release(before[0])
        return before[0] if before else None

    def put_failure(
        self, record: FileRecord, reason: str, *, ignored: bool, retry: bool, content_hash: bytes = b""
    ) -> bool:
        """Record that a file cannot be indexed; with `retry` the next run tries it again, changed or not.

        What was known of it goes only where it holds something else now: it is no image (`ignored`), or all of it was
        read and `content_hash` differs. Returns whether it is still indexed, as it was before.
        """
        folder, name = self._folder_and_name(record.path)
        known = self._db.one("SELECT ignored FROM failures WHERE folder_id = ? AND name = ?", (folder, name))
        if retry and not content_hash and known == (True,):  # it was no image, and nobody knows of another content
            return False
        state = (record.size, -1 if retry else record.mtime_ns, record.ctime_ns, record.inode)
        row = (folder, name, *state, reason, ignored, checksums.of_row(folder, name, reason, ignored))
        columns = "folder_id, name, size, mtime_ns, ctime_ns, inode, reason, ignored, checksum"
        self._db.run(f"INSERT OR REPLACE INTO failures ({columns}) VALUES ({marks(row)})", row)
        before = self._hash_of(folder, name)
        if before is not None and not ignored and content_hash in (b"", before):
            return True
        self._remove_image(folder, name)
        return False

    def note(self, record: FileRecord) -> None:
        """Store the ctime and inode of a known file that is otherwise as it was."""
        folder, name = self._folder_and_name(record.path)
        for table in ("images", "failures"):
            self._db.run(
                f"UPDATE {table} SET ctime_ns = ?, inode = ? WHERE folder_id = ? AND name = ?",
                (record.ctime_ns, record.inode, folder, name),
            )

    def note_refusal(self, record: FileRecord, reader: str, refused_by: str) -> None:
        """Store which versions refused a file that `put_failure` has recorded, and by which limit, '' for none."""
        folder, name = self._folder_and_name(record.path)
        self._db.run(
            "UPDATE failures SET reader = ?, refused_by = ? WHERE folder_id = ? AND name = ?",
            (reader, refused_by, folder, name),
        )

    def retry_refused(self, reader: str, limits: Mapping[str, float]) -> None:
        """Have the next run try those again that other versions refused, or a limit that is higher now."""
        for before, refused_by in self._db.all("SELECT DISTINCT reader, refused_by FROM failures WHERE NOT ignored"):
            if before != reader or _is_raised(refused_by, limits):
                self._db.run(
                    "UPDATE failures SET mtime_ns = -1 WHERE NOT ignored AND reader IS ? AND refused_by IS ?",
                    (before, refused_by),
                )

    def retry_failures(self) -> None:
        """Have the next run try all files again that claim to be images and could not be indexed."""
        self._db.run("UPDATE failures SET mtime_ns = -1 WHERE NOT ignored")

    def remove(self, path: str) -> int | None:
        """Forget a file. Returns the id of the content that it had, None where it was not indexed."""
        folder, name = self._folder_and_name(path)
        self._db.run("DELETE FROM failures WHERE folder_id = ? AND name = ?", (folder, name))
        return self._remove_image(folder, name)

    def remove_below(self, path: str) -> int:
        """Forget all files at and below a folder, and the folders. Returns how many images went."""
        removed = 0
        for folder, _ in list(self.folders_at(path)):
            self._db.run("INSERT OR IGNORE INTO released SELECT content_id FROM images WHERE folder_id = ?", (folder,))
            removed += self._db.run("DELETE FROM images WHERE folder_id = ?", (folder,))
            self._db.run("DELETE FROM failures WHERE folder_id = ?", (folder,))
            self._db.run("DELETE FROM folders WHERE id = ?", (folder,))
        return removed

    def drop_moved(self, folder: str, away: Sequence[str]) -> list[int]:
        """Forget the files at and below a folder that is missing which are known at another place too, by content and
        inode: they have been moved. Places in the folders `away` do not count. Returns the ids of their contents.
        """
        inside = IN_FOLDERS.format("{}.folder_id")
        here, others = self._lists.of_folders([folder]), self._lists.of_folders([folder, *away])
        rows = self._db.all(
            f"SELECT images.id, images.content_id FROM images WHERE {inside.format('images')} AND EXISTS ("
            "SELECT 1 FROM images AS other WHERE other.content_id = images.content_id AND other.inode = images.inode"
            f" AND other.mtime_ns = images.mtime_ns AND NOT {inside.format('other')})",
            (here, here, others, others),
        )
        for number, content in rows:
            self._db.run("DELETE FROM images WHERE id = ?", (number,))
            self._contents.release(content)
        return [content for _, content in rows]

    # --- as questions find them ---

    def of_contents(self, content_ids: Sequence[int], selection: Selection = _ALL) -> dict[int, list[ImageRecord]]:
        """The selected files of each content, in byte order of their paths. Contents without any are missing."""
        found: dict[int, list[ImageRecord]] = {}
        where, values = selection.sql(self._lists)
        for part in chunks(content_ids):
            sql = f"SELECT {_IMAGE_COLUMNS} WHERE contents.id IN ({marks(part)}) AND {where}"
            for row in self._db.all(sql, [*part, *values]):
                record = _image(row)
                found.setdefault(record.content_id, []).append(record)
        for records in found.values():
            records.sort(key=lambda record: os.fsencode(record.path))
        return found

    def at(self, path: str) -> ImageRecord | None:
        """The indexed file with this absolute path."""
        folder, name = os.path.split(path)
        row = self._db.one(
            f"SELECT {_IMAGE_COLUMNS} WHERE folders.path = ? AND images.name = ?",
            (os.fsencode(folder), os.fsencode(name)),
        )
        return _image(row) if row else None

    def named(self, name: str) -> Iterator[str]:
        """The paths of all indexed files of this name, capital letters or not."""
        rows = self._db.all(
            "SELECT folders.path, images.name FROM images JOIN folders ON folders.id = images.folder_id"
            " WHERE CAST(images.name AS TEXT) = CAST(? AS TEXT) COLLATE NOCASE",
            (os.fsencode(name),),
        )
        with damage_told():
            paths = [_path(folder, found) for folder, found in rows]
        yield from paths

    def alike(self, path: str) -> ImageRecord | None:
        """The indexed file that people would take for the one with this absolute path; the closest, where several."""
        folder, name = os.path.split(path)
        found = {}
        for known in self.folders_alike([folder]).get(folder, []):
            rows = self._db.all(
                f"SELECT {_IMAGE_COLUMNS} WHERE folders.path = ? AND folded(images.name) = ?",
                (os.fsencode(known), names.key(os.fsencode(name))),
            )
            found.update({record.path: record for record in map(_image, rows)})
        return found[_closest(path, found)[0]] if found else None

    def sample(self, folder: str, most: int) -> list[tuple[str, State, bytes]]:
        """Path, state and content hash of up to `most` indexed files at and below a folder, spread over all of it."""
        folders = [number for number, _ in self.folders_at(folder)]
        chosen = folders[:: -(-len(folders) // most) or 1]
        each = most // max(1, len(chosen))
        found = []
        for number in chosen:
            count = self._db.count("SELECT count(*) FROM images WHERE folder_id = ?", (number,))
            for offset in range(0, count, -(-count // each) or 1):
                found += self._db.all(
                    "SELECT path, name, size, mtime_ns, ctime_ns, inode, hash FROM images"
                    " JOIN folders ON folders.id = folder_id JOIN contents ON contents.id = content_id"
                    " WHERE folder_id = ? ORDER BY name LIMIT 1 OFFSET ?",
                    (number, offset),
                )
        return [
            (os.path.join(os.fsdecode(path), os.fsdecode(name)), (size, mtime, ctime, inode), digest)
            for path, name, size, mtime, ctime, inode, digest in found
        ]

    def by_id(self, number: int) -> ImageRecord | None:
        """The indexed file with this id."""
        row = self._db.one(f"SELECT {_IMAGE_COLUMNS} WHERE images.id = ?", (number,))
        return _image(row) if row else None

    def latest(self, selection: Selection, limit: int) -> list[ImageRecord]:
        """The selected files, newest first (by EXIF date, else file time); those of one second by path."""
        where, values = selection.sql(self._lists)
        order = f"ORDER BY {DATE} DESC, folders.path, images.name LIMIT ?"
        return [_image(row) for row in self._db.all(f"SELECT {_IMAGE_COLUMNS} WHERE {where} {order}", [*values, limit])]

    def hashes(self) -> Iterator[tuple[int, FileRecord, str]]:
        """The id, the state and the content's hash (hex) of each indexed file, but for those to be read again anyway.

        They come some at a time, so that nothing is locked while the caller works.
        """
        sql = (
            "SELECT images.id, path, name, size, mtime_ns, hash FROM images"
            " JOIN folders ON folders.id = folder_id JOIN contents ON contents.id = content_id"
            " WHERE images.id > ? AND mtime_ns != -1 ORDER BY images.id LIMIT ?"
        )
        for rows in self._db.pages(sql, 0, _PAGE):
            with damage_told():
                found = [
                    (number, FileRecord(_path(folder, name), size, time), key.hex())
                    for number, folder, name, size, time, key in rows
                ]
            yield from found

    def read_again(self, numbers: Sequence[int]) -> None:
        """Have the next run read files again, whatever their size and time."""
        for part in chunks(numbers):
            self._db.run(f"UPDATE images SET mtime_ns = -1 WHERE id IN ({marks(part)})", part)

    def count(self, folder: str | None = None) -> int:
        """How many files are indexed, in all or at and below a folder."""
        if folder is None:
            return self._db.count("SELECT count(*) FROM images")
        return self._db.count(
            "SELECT count(*) FROM images WHERE folder_id IN"
            " (SELECT id FROM folders WHERE path = ? OR (path > ? AND path < ?))",
            (os.fsencode(folder), *below(folder)),
        )

    def failures(self, *, limit: int = -1) -> list[tuple[str, str]]:
        """Path and reason of files that claim to be images and could not be indexed, by path."""
        rows = self._db.all(
            "SELECT path, name, reason FROM failures JOIN folders ON folders.id = folder_id"
            " WHERE NOT ignored ORDER BY path, name LIMIT ?",
            (limit,),
        )
        with damage_told():
            return [(_path(path, name), str(reason)) for path, name, reason in rows]

    def count_failures(self) -> int:
        """How many files claim to be images and could not be indexed."""
        return self._db.count("SELECT count(*) FROM failures WHERE NOT ignored")

    def _folder_and_name(self, path: str) -> tuple[int, bytes]:
        folder, name = os.path.split(path)
        number = self.folder_id(folder)
        if number is None:
            row = (os.fsencode(folder), checksums.of_row(os.fsencode(folder)))
            number = self._db.insert("INSERT INTO folders (path, checksum) VALUES (?, ?)", row)
        return number, os.fsencode(name)

    def _hash_of(self, folder: int, name: bytes) -> bytes | None:
        """The content hash of an indexed file."""
        row = self._db.one(
            "SELECT hash FROM images JOIN contents ON contents.id = content_id WHERE folder_id = ? AND name = ?",
            (folder, name),
        )
        return row[0] if row else None

    def _remove_image(self, folder: int, name: bytes) -> int | None:
        row = self._db.one("DELETE FROM images WHERE folder_id = ? AND name = ? RETURNING content_id", (folder, name))
        if not row:
            return None
        self._contents.release(row[0])
        content_id: int = row[0]
        return content_id


def _closest(path: str, found: Collection[str]) -> list[str]:
    """Those that differ from `path` in nothing but their normal form, else all; in byte order."""
    same = [one for one in found if names.composed(one) == names.composed(path)]
    return sorted(same or found, key=os.fsencode)


def _image(row: Sequence[Any]) -> ImageRecord:
    number, folder, name, size, mtime_ns, content_id, content_hash, *facts = row
    with damage_told():
        state = (int(size), int(mtime_ns), int(content_id))
        return ImageRecord(number, _path(folder, name), *state, content_hash.hex(), ImageFacts(*facts))


def _path(folder: bytes, name: bytes) -> str:
    """A file's path. A name that no file can have, from a catalog that was tampered with, leads nowhere: not out of its
    folder, and to no file below it."""
    return os.path.join(os.fsdecode(folder), os.fsdecode(_NO_NAME.sub(_STAND_IN, name)))


def _is_raised(refused_by: str | None, limits: Mapping[str, float]) -> bool:
    """Whether the limit that refused a file, such as `max_pixels 1000`, is higher now."""
    name, _, value = (refused_by or "").partition(" ")
    try:
        return name in limits and limits[name] > float(value)
    except ValueError:  # only a damaged catalog has another value
        return True
