"""Scan the places of an index run in a thread of its own, and list what is to do."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch import scan
from mmsearch.events import Skipped
from mmsearch.store.catalog import Catalog
from mmsearch.types import FileRecord, ScanOptions
from mmsearch.work_list import Work, WorkList


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to scan: `path` is `root` or lies below it; patterns of `options` are relative to `root`. Absolute."""

    path: str
    root: str
    options: ScanOptions


class Scanner:
    """Runs ahead of the rest of an index run as far as it can: `work` lies on disk, so memory stays flat.

    `to_do` and `unchanged` count files so far, `skipped` has what could not be read, `seconds` is the time spent.
    """

    def __init__(self, folder: Path, places: Sequence[Place], stop: threading.Event) -> None:
        """`folder` is the collection's; setting `stop` ends the scan between two directories."""
        self.work = WorkList()
        self.to_do = 0
        self.unchanged = 0
        self.skipped: deque[Skipped] = deque()
        self.seconds = 0.0
        self._folder = folder
        self._places = places
        self._stop = stop
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="scan", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the scan if it still goes on, and raise what went wrong in it."""
        if not self.work.finished:
            self._stop.set()
        self._thread.join()
        self.work.discard()
        if self._error:
            raise self._error

    def _run(self) -> None:
        started = time.perf_counter()
        try:
            with Catalog(self._folder, write=False) as catalog:
                for place in self._places:
                    self._scan(catalog, place)
        except BaseException as error:  # handed over to the main thread
            self._error = error
        finally:
            self.seconds = time.perf_counter() - started
            self.work.close()

    def _scan(self, catalog: Catalog, place: Place) -> None:
        unreadable: list[str] = []

        def report(path: str, error: OSError) -> None:
            unreadable.append(path)
            self.skipped.append(Skipped(path, error.strerror or str(error)))

        seen: set[int] = set()
        for folder in scan.walk(place.path, place.root, place.options, report):
            if self._stop.is_set():
                return
            number = catalog.folder_id(folder.path)
            if number is None:
                changes = scan.compare(folder.files, {})
            else:
                seen.add(number)
                known, failed = catalog.known_files(number), catalog.failed_files(number)
                changes = scan.compare(folder.files, known, failed=failed, unreadable=folder.unreadable)
            self._list(folder, changes)
        for number, path in catalog.folders_at(place.path):
            if number not in seen and not any(_is_within(path, failed) for failed in unreadable):
                self._list(scan.Folder(path, {}), scan.compare({}, catalog.known_files(number)))

    def _list(self, folder: scan.Folder, changes: scan.FolderChanges) -> None:
        self.unchanged += changes.unchanged
        self.to_do += len(changes.new) + len(changes.changed) + len(changes.gone)
        for name in sorted([*changes.new, *changes.changed]):
            path = os.path.join(folder.path, os.fsdecode(name))
            self.work.put(Work("file", FileRecord(path, *folder.files[name])))
        for name in changes.gone:
            self.work.put(Work("gone", FileRecord(os.path.join(folder.path, os.fsdecode(name)), 0, 0)))


def _is_within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip(os.sep) + os.sep)
