"""Read all indexed files again, and compare their hashes with what was indexed: what a scan, which looks at sizes and
times, cannot see.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from mmsearch.base.paths import is_within
from mmsearch.base.records import FileRecord, Preprocess, RootRecord
from mmsearch.collection.findings import Result, few
from mmsearch.collection.originals import Originals
from mmsearch.images.pool import Decoded
from mmsearch.indexing import scan
from mmsearch.indexing.settings import IndexSettings
from mmsearch.store.catalog import Catalog

# Files that are handed to the workers ahead, for each of them.
_AHEAD = 8

# Seconds between two lines that say how far it has come.
_TOLD_EVERY = 30.0

_NOT_THERE = {os.strerror(code) for code in (errno.ENOENT, errno.ENOTDIR)}

# No pixels are asked for.
_ANY = Preprocess(size=1, resize=1)


@dataclass(slots=True)
class _Seen:
    """What became of the files: `differ` have other bytes in spite of the same size and time."""

    same: int = 0
    later: int = 0
    gone: int = 0
    away: int = 0
    unreadable: list[str] = field(default_factory=list)
    differ: list[tuple[int, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.same + self.later + self.gone + len(self.unreadable) + len(self.differ)


def verify(catalog: Catalog, notice: Callable[[str], None]) -> Iterator[Result]:
    """Compare every indexed file that is there with its hash; `notice` is told how far that has come.

    Workers read them, as in an index run, so that a disk that does not answer ends nothing.
    """
    seen = _look(catalog, notice)

    def mend() -> str:
        with catalog.transaction():
            catalog.files.read_again([number for number, _ in seen.differ])
        return "the next `mmsearch index` reads them again, as they are now"

    if seen.differ:
        paths = few([path for _, path in seen.differ])
        what = "images differ from what was indexed, in spite of the same size and time"
        yield Result(f"{len(seen.differ):,} {what}: {paths}; restore them from a backup if nobody changed them", mend)
    if seen.unreadable:
        yield Result(f"{len(seen.unreadable):,} images cannot be read: {few(seen.unreadable)}")
    later = {"have changed": seen.later, "are gone": seen.gone, "are in folders that are offline": seen.away}
    told = [f"{count:,} {state}" for state, count in later.items() if count]
    if seen.same or not told:
        yield Result(f"{seen.same:,} images have the bytes that were indexed", ok=True)
    if told:
        yield Result(f"{', '.join(told)}: `mmsearch index` looks after them", ok=True)


def _look(catalog: Catalog, notice: Callable[[str], None]) -> _Seen:
    seen, settings, told = _Seen(), IndexSettings(), time.monotonic()
    away = [root.path for root in catalog.roots.all() if _is_away(root)]
    total = catalog.files.count()
    waiting: deque[tuple[int, FileRecord, str, Future[Decoded]]] = deque()
    originals = Originals(catalog)
    with settings.open_pool(_ANY, lambda content_hash: True, originals.formats) as pool:
        for number, record, content_hash in catalog.files.hashes():
            if any(is_within(record.path, folder) for folder in away):
                seen.away += 1
                continue
            file = replace(record, beneath=originals.beneath(record.path))
            waiting.append((number, record, content_hash, pool.submit(file)))
            if len(waiting) > _AHEAD * settings.processes:
                _compare(seen, *waiting.popleft())
            if time.monotonic() - told > _TOLD_EVERY:
                told = time.monotonic()
                notice(f"compared {seen.total:,} of {total:,} images")
        while waiting:
            _compare(seen, *waiting.popleft())
    return seen


def _is_away(root: RootRecord) -> bool:
    try:
        return scan.absence(root.path, may_be_empty=not root.images) is not None
    except OSError:  # it is there; its files tell what is wrong
        return False


def _compare(seen: _Seen, number: int, record: FileRecord, content_hash: str, future: Future[Decoded]) -> None:
    found = future.result()
    if found.reason in _NOT_THERE:
        seen.gone += 1
    elif found.reason:
        seen.unreadable.append(f"{record.path} ({found.reason})")
    elif found.content_hash.hex() == content_hash:
        seen.same += 1
    elif (found.record.size, found.record.mtime_ns) == (record.size, record.mtime_ns):
        seen.differ.append((number, record.path))
    else:
        seen.later += 1
