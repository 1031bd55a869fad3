"""One folder by several names: symbolic links and bind mounts. What has the same device and inode is the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from mmsearch.base.paths import nearest

# Device and inode.
Identity = tuple[int, int]


def identity_of(status: os.stat_result) -> Identity | None:
    """What tells a folder from all others, whatever its name; None where the file system numbers nothing."""
    return (status.st_dev, status.st_ino) if status.st_ino else None


def known_name(path: str, folders: Iterable[str]) -> str | None:
    """The name that `path` (absolute) has in terms of `folders`; None where it has none but its own, or lies elsewhere.

    That is one at or below one of the folders, or of a folder above them. All that are there are looked at.
    """
    roots = frozenset(folders)
    real = os.path.realpath(path)
    if real != path and nearest(real, roots) is not None:
        return real
    by_identity = _identities(roots)
    for above, rest in _upwards(real):
        root = by_identity.get(_look_at(above))
        if root is not None:
            return _other(os.path.join(root, rest) if rest else root, path)
    around = _identities({above for root in roots for above, _ in _upwards(os.path.dirname(root))})
    return _other(around.get(_look_at(real)), path)


def _other(found: str | None, path: str) -> str | None:
    return None if found == path else found


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
