"""Known roots that have been moved or renamed since the last run, recognised by what lies in them.

A folder is an old root under a new name where the old one is missing and files that were known there lie in the same
places of the new one. Files that have kept their inodes settle it: a copy has others. So does the content of files (a
move to another disk gives them new inodes), unless the old root may just be away with its disk: then it is a copy.
Files of a missing root that turn up one by one, in folders that are scanned anyway, are found by `pipeline` at the end.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mmsearch.base import beneath
from mmsearch.base.file_state import state_of
from mmsearch.base.paths import is_within, nearest
from mmsearch.base.records import RootRecord
from mmsearch.images.content_hash import content_hash
from mmsearch.indexing import scan
from mmsearch.store.catalog import Catalog

# Files of a root that are looked for at the new place, spread over all of it. More than half must be there.
_SAMPLE = 32

# Of these, how many are read where their inodes do not tell: seconds at most, from the slowest disk.
_READ = 8

# Folders in which disks come and go.
_MOUNT_PLACES = re.compile(r"/(mnt|media|Volumes|net|misc|run/media)(/[^/]+)?|/media/[^/]+|/run/user/\d+/gvfs|/")


@dataclass(frozen=True, slots=True)
class _Known:
    """A known file: its path from its root, its state and content hash in the catalog."""

    relative: str
    state: tuple[int, int, int | None, int | None]
    content_hash: bytes


def find(
    catalog: Catalog, sources: Sequence[str], known: Mapping[str, RootRecord], notice: Callable[[str], None]
) -> dict[str, str]:
    """Which known roots lie at or in one of the folders `sources` now: new paths by old ones."""
    moved: dict[str, str] = {}
    new_sources = [path for path in sources if path not in known and not any(is_within(one, path) for one in known)]
    missing = [root for root in known.values() if root.images and new_sources and not os.path.lexists(root.path)]
    for root in missing:
        if nearest(root.path, moved.keys()) is not None:
            continue  # it lies in one that has moved, and with it
        sample = _sample(catalog, root.path)
        for place in _places(root.path, new_sources):
            if not catalog.files.knows_below(place) and place not in moved.values() and _is(sample, root.path, place):
                moved[root.path] = place
                notice(f"{root.path} is {place} now: its {root.images:,} images have moved there")
                break
    return moved


def _places(old: str, new_sources: Sequence[str]) -> Iterator[str]:
    """Where an old root may be: at a new folder, or in it, if one around it was moved, or it into another."""
    names = old.strip(os.sep).split(os.sep)
    for new in new_sources:
        for count in range(len(names) + 1):
            yield os.path.join(new, *names[len(names) - count :])


def applied(known: Mapping[str, RootRecord], moved: Mapping[str, str]) -> dict[str, RootRecord]:
    """The known roots by the paths that they have after moves."""
    renamed = {}
    for path, record in known.items():
        old = nearest(path, moved.keys())
        new = path if old is None else moved[old] + path[len(old) :]
        renamed[new] = replace(record, path=new)
    return renamed


def _is(sample: Sequence[_Known], old: str, new: str) -> bool:
    there = [one for one in sample if _size_at(one, new) == one.state[0]]
    if 2 * len(there) <= len(sample):
        return False
    same = [one for one in there if _is_same_file(one, new)]
    if 2 * len(same) > len(sample):
        return True
    if not _disk_is_there(old):
        return False
    read = there[:: -(-len(there) // _READ)]
    return 2 * sum(_has_content(one, new) for one in read) > len(read)


def _sample(catalog: Catalog, root: str) -> list[_Known]:
    found = catalog.files.sample(root, _SAMPLE)
    return [_Known(path[len(root.rstrip(os.sep)) + 1 :], state, digest) for path, state, digest in found]


def _size_at(known: _Known, new: str) -> int | None:
    status = _status_at(known, new)
    return status.st_size if status else None


def _is_same_file(known: _Known, new: str) -> bool:
    status = _status_at(known, new)
    if status is None or known.state[3] is None:
        return False
    size, mtime, _, inode = state_of(status)
    return (size, mtime, inode) == (known.state[0], known.state[1], known.state[3])


def _status_at(known: _Known, new: str) -> os.stat_result | None:
    """The status of what is there now: a regular file that no link leads to."""
    try:
        descriptor = _open(known, new)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        return status if stat.S_ISREG(status.st_mode) else None
    finally:
        os.close(descriptor)


def _has_content(known: _Known, new: str) -> bool:
    try:
        with open(_open(known, new), "rb") as file:
            return content_hash(file) == known.content_hash
    except (OSError, ValueError):
        return False


def _open(known: _Known, new: str) -> int:
    """A catalog may say anything of where its files are: not out of the folder, and no pipe is waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return beneath.open_descriptor(os.path.join(new, known.relative), flags, new)


def _disk_is_there(missing: str) -> bool:
    """Whether the disk of a missing folder is there, as far as what is left of its path tells.

    The nearest folder above that is there must have other entries (a mount point without its disk is empty), and be
    none in which the folders of whole disks appear and vanish.
    """
    above = os.path.dirname(missing)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    try:
        return not _MOUNT_PLACES.fullmatch(above) and scan.absence(above, may_be_empty=False) is None
    except OSError:
        return False
