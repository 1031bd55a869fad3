"""Scan the folders of an index run in a thread of its own, and list what is to do."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmsearch.base.events import Skipped
from mmsearch.base.paths import nearest
from mmsearch.base.records import FileRecord, ScanOptions
from mmsearch.indexing import scan
from mmsearch.indexing.passed_over import Kind, kind_of_file
from mmsearch.indexing.work_list import Work, WorkList
from mmsearch.store.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Subtree:
    """A folder to scan: `path` is `root` or lies below it; patterns of `options` are relative to `root`. Absolute.

    What is known at and below the folders in `kept` stays as it is, whatever is there now. With `verify` every file is
    read again. The options of the roots `around` (outermost first) hold here as well, and at those in `inner` (by path)
    theirs.
    """

    path: str
    root: str
    options: ScanOptions
    kept: frozenset[str] = frozenset()
    verify: bool = False
    around: tuple[tuple[str, ScanOptions], ...] = ()
    inner: Mapping[str, ScanOptions] = field(default_factory=dict)

    @property
    def beneath(self) -> str | None:
        """The folder beneath which links are not followed; None where they are."""
        return None if self.options.follow_symlinks else self.path


class Scanner:
    """Runs ahead of the rest of an index run as far as it can: `work` lies on disk, so memory stays flat.

    `to_do` and `unchanged` count files so far, `skipped` has what could not be read, `seconds` is the time spent.
    `passed_over` counts what is no image and needs no work: neither files nor folders, and files that are known to be
    none.
    """

    def __init__(self, folder: Path, subtrees: Sequence[Subtree], stop: threading.Event) -> None:
        """`folder` is the collection's; setting `stop` ends the scan between two directories."""
        self.work = WorkList()
        self.to_do = 0
        self.unchanged = 0
        self.skipped: deque[Skipped] = deque()
        self.passed_over: Counter[Kind] = Counter()
        self.seconds = 0.0
        self._folder = folder
        self._subtrees = subtrees
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
                for subtree in self._subtrees:
                    self._scan(catalog, subtree)
        except BaseException as error:  # handed over to the main thread
            self._error = error
        finally:
            self.seconds = time.perf_counter() - started
            self.work.close()

    def _scan(self, catalog: Catalog, subtree: Subtree) -> None:
        unreadable: list[str] = []

        def report(path: str, error: OSError) -> None:
            unreadable.append(path)
            self.skipped.append(Skipped(path, error.strerror or str(error)))

        seen: set[int] = set()
        where = (subtree.path, subtree.root, subtree.options)
        for folder in scan.walk(*where, report, around=subtree.around, inner=subtree.inner):
            if self._stop.is_set():
                return
            number = catalog.files.folder_id(folder.path)
            if nearest(folder.path, subtree.kept) is not None:
                continue
            self.passed_over.update(folder.passed_over.values())
            if number is not None and not (folder.files or folder.unreadable):
                continue  # nothing of it is left; that is dealt with below
            if number is None:
                changes = scan.compare(folder.files, {})
            else:
                seen.add(number)
                known, failed = catalog.files.known_in(number), catalog.files.failed_in(number)
                changes = scan.compare(
                    folder.files,
                    known,
                    failed=failed,
                    unreadable=folder.unreadable,
                    verify=subtree.verify,
                    ignore_inode=folder.wanted.ignore_inode,
                )
                self._count_known(folder.files, changes, failed)
            self._list(folder, changes, None if folder.wanted.follow_symlinks else subtree.path)
        self._list_gone(catalog, subtree, seen, unreadable)

    def _list_gone(self, catalog: Catalog, subtree: Subtree, seen: set[int], unreadable: list[str]) -> None:
        """List what is known of folders in which nothing was found, unless their disk has gone during the scan."""
        is_there, untouchable = False, subtree.kept.union(unreadable)
        for number, path in catalog.files.folders_at(subtree.path):
            is_left = number in seen or nearest(path, untouchable) is not None
            known = {} if is_left else catalog.files.known_in(number)
            if not known:
                continue
            why = None if is_there else self._absence(subtree.root)
            if why:
                self.skipped.append(Skipped(subtree.root, f"{why} all of a sudden; its images are kept"))
                return
            is_there = True
            self._list(scan.Folder(path, {}), scan.compare({}, known))

    @staticmethod
    def _absence(root: str) -> str | None:
        try:
            return scan.absence(root, may_be_empty=False)
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"

    def _count_known(self, files: scan.Files, changes: scan.FolderChanges, failed: Mapping[bytes, bool]) -> None:
        """Count the files that an earlier run has found to be no images, as far as they have not changed."""
        changed = set(changes.changed)
        self.passed_over.update(
            kind_of_file(name)
            for name, is_no_image in failed.items()
            if is_no_image and name in files and name not in changed
        )

    def _list(self, folder: scan.Folder, changes: scan.FolderChanges, beneath: str | None = None) -> None:
        self.unchanged += changes.unchanged
        self.to_do += len(changes.new) + len(changes.changed) + len(changes.noted) + len(changes.gone)
        for name in sorted([*changes.new, *changes.changed]):
            path = os.path.join(folder.path, os.fsdecode(name))
            self.work.put(Work("file", FileRecord(path, *folder.files[name], beneath)))
        for name in changes.noted:
            self.work.put(Work("same", FileRecord(os.path.join(folder.path, os.fsdecode(name)), *folder.files[name])))
        for name in changes.gone:
            self.work.put(Work("gone", FileRecord(os.path.join(folder.path, os.fsdecode(name)), 0, 0)))
