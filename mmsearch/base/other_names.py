"""One folder by several names: symbolic links and bind mounts. What has the same device and inode is the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property

from mmsearch.base.mounts import Mount, mount_of, mounts
from mmsearch.base.paths import nearest

# Device and inode.
Identity = tuple[int, int]


def identity_of(status: os.stat_result) -> Identity | None:
    """What tells a folder from all others, whatever its name; None where the file system numbers nothing."""
    return (status.st_dev, status.st_ino) if status.st_ino else None


class KnownNames:
    """The names that paths have in terms of some folders, which are looked at once, when the first is asked for."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders = frozenset(folders)

    def of(self, path: str) -> str | None:
        """The name of an absolute path by which it lies at or below one of the folders, or is one above them.

        None where that is its own name, or it lies elsewhere.
        """
        real = os.path.realpath(path)
        if real != path and nearest(real, self._folders) is not None:
            return real
        for above, rest in _upwards(real):
            folder = self._at.get(_look_at(above))
            if folder is not None:
                found: str | None = os.path.join(folder, rest) if rest else folder
                break
        else:
            found = self._around.get(_look_at(real)) or self._through_mounts(real)
        return None if found == path else found

    def _through_mounts(self, path: str) -> str | None:
        """The name of what is mounted at or above a path, where that is a part of one of the folders."""
        place = _in_file_system(path, self._mounts)
        if place is None:
            return None
        device, inside = place
        for above, rest in (*_upwards(inside), (os.sep, inside.strip(os.sep))):
            folder = self._in_file_systems.get((device, above))
            if folder is not None:
                found = os.path.join(folder, rest) if rest else folder
                return found if _look_at(found) == _look_at(path) is not None else None
        return None

    @cached_property
    def _mounts(self) -> list[Mount]:
        return mounts()

    @cached_property
    def _in_file_systems(self) -> dict[tuple[str, str], str]:
        places = ((_in_file_system(os.path.realpath(folder), self._mounts), folder) for folder in self._folders)
        return {place: folder for place, folder in places if place}

    @cached_property
    def _at(self) -> dict[Identity | None, str]:
        return _identities(self._folders)

    @cached_property
    def _around(self) -> dict[Identity | None, str]:
        return _identities({above for folder in self._folders for above, _ in _upwards(os.path.dirname(folder))})


def _in_file_system(path: str, among: list[Mount]) -> tuple[str, str] | None:
    """The device that a path is on, and its path there, whatever it is mounted at."""
    mount = mount_of(path, among)
    if mount is None:
        return None
    return mount.device, os.path.normpath(os.path.join(mount.folder, os.path.relpath(path, mount.point)))


def _upwards(path: str) -> Iterator[tuple[str, str]]:
    """A path and all above it, each with what leads back to the path; the file system's own root is left out."""
    rest = ""
    while os.path.dirname(path) != path:
        yield path, rest
        path, name = os.path.split(path)
        rest = os.path.join(name, rest) if rest else name


def _identities(paths: Iterable[str]) -> dict[Identity | None, str]:
    """Paths by their identity; of several names of one folder, the first in byte order."""
    found: dict[Identity | None, str] = {}
    for path in sorted(paths, key=os.fsencode):
        found.setdefault(_look_at(path), path)
    found.pop(None, None)
    return found


def _look_at(path: str) -> Identity | None:
    try:
        return identity_of(os.stat(path))
    except (OSError, ValueError):
        return None
