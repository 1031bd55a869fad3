"""The roots: folders that the user asked to index."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict

from mmsearch.base.errors import StorageError
from mmsearch.base.records import RootRecord, ScanOptions
from mmsearch.store import checksums, stored_json
from mmsearch.store.database import Database, damage_told, now
from mmsearch.store.files import Files
from mmsearch.store.lists import below


class Roots:
    """The folders that the user asked to index. Methods that write expect to be inside a transaction."""

    def __init__(self, database: Database, files: Files) -> None:
        self._db = database
        self._files = files

    def all(self) -> list[RootRecord]:
        """All roots by path, with the number of images below each."""
        rows = self._db.all("SELECT id, path, options, offline_since FROM roots ORDER BY path")
        with damage_told():
            return [
                RootRecord(
                    number, os.fsdecode(path), _options(path, options), self._files.count(os.fsdecode(path)), since
                )
                for number, path, options, since in rows
            ]

    def stored(self) -> list[tuple[bytes, str]]:
        """Path and options (JSON) of all roots, by path, as they are stored; counts nothing."""
        return [tuple(row) for row in self._db.all("SELECT path, options FROM roots ORDER BY path")]

    def paths(self) -> tuple[str, ...]:
        """Paths of the roots, in byte order; counts nothing."""
        return tuple(os.fsdecode(path) for (path,) in self._db.all("SELECT path FROM roots ORDER BY path"))

    def offline(self) -> tuple[str, ...]:
        """Paths of the roots that are marked offline, in byte order; counts nothing."""
        rows = self._db.all("SELECT path FROM roots WHERE offline_since IS NOT NULL ORDER BY path")
        with damage_told():
            return tuple(os.fsdecode(path) for (path,) in rows)

    def links_followed(self) -> dict[str, bool]:
        """Whether links below each root are followed, by its path (not if its options are damaged); counts nothing."""
        rows = self._db.all("SELECT path, options FROM roots")
        with damage_told():
            return {os.fsdecode(path): _follows(options) for path, options in rows}

    def set_offline(self, offline: Sequence[str], online: Sequence[str]) -> None:
        """Mark roots as offline from now on, unless they have been before, and others as being there."""
        for path in offline:
            self._db.run(
                "UPDATE roots SET offline_since = coalesce(offline_since, ?) WHERE path = ?", (now(), os.fsencode(path))
            )
        for path in online:
            self._db.run("UPDATE roots SET offline_since = NULL WHERE path = ?", (os.fsencode(path),))

    def put(self, path: str, options: ScanOptions) -> None:
        """Add a root or change its options."""
        row = (os.fsencode(path), json.dumps(asdict(options)))
        self._db.run(
            "INSERT INTO roots (path, options, added_at, checksum) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET options = excluded.options, checksum = excluded.checksum",
            (*row, now(), checksums.of_row(*row)),
        )

    def absorb(self, path: str) -> None:
        """Drop a root that has become part of another; its images stay."""
        self._db.run("DELETE FROM roots WHERE path = ?", (os.fsencode(path),))

    def rename(self, old: str, new: str) -> None:
        """Let the root at `old`, the roots in it and all that is known there be at `new`, where nothing is known."""
        for table in ("roots", "folders"):
            covered = checksums.COVERED[table]
            rows = self._db.all(
                f"SELECT id, {', '.join(covered)} FROM {table} WHERE path = ? OR (path > ? AND path < ?)",
                (os.fsencode(old), *below(old)),
            )
            for number, path, *others in rows:
                moved = os.fsencode(new) + path[len(os.fsencode(old)) :]
                checksum = checksums.of_row(moved, *others)
                self._db.run(f"UPDATE {table} SET path = ?, checksum = ? WHERE id = ?", (moved, checksum, number))

    def remove(self, path: str) -> None:
        """Drop the root at `path` and all below it. Their images stay until `Files.remove_below`."""
        self._db.run("DELETE FROM roots WHERE path = ?", (os.fsencode(path),))
        self._db.run("DELETE FROM roots WHERE path > ? AND path < ?", below(path))


def _options(path: bytes, text: str) -> ScanOptions:
    if not stored_json.reads(stored_json.options, text):
        what = f"the catalog's options of the folder {os.fsdecode(path)} are damaged"
        raise StorageError(what, "`mmsearch doctor --repair` repairs them")
    return stored_json.options(text)


def _follows(options: str) -> bool:
    try:
        return json.loads(options)["follow_symlinks"] is True
    except (ValueError, TypeError, KeyError):
        return False
