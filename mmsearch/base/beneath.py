"""Open what lies beneath a folder that the user named, through no symbolic link.

The path to that folder is the user's own and may lead through links; what lies beneath it may be written by others. A
link that one of them puts in the place of a file or folder must not lead to what only the user may read. Each folder is
opened relative to the one before it, so that none can be exchanged between a look and the use. Where the system cannot
do that (Windows), each is looked at before.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from mmsearch.base import long_paths
from mmsearch.base.long_paths import Entry

# What the reason of an error says of a link that was found in place of a file or folder.
A_LINK = "it is a symbolic link now, which is not followed"
_IN_A_LINK = "its folder is a symbolic link now, which is not followed"
_NO_PLACE = "no file can have this path"

# A folder that is only passed through; Linux then asks for no permission to read it.
_PASSED = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_CAN_PASS = os.open in os.supports_dir_fd and bool(_NO_LINK)


def open_descriptor(path: str | bytes, flags: int, folder: str | bytes | None) -> int:
    """`os.open` for an absolute path of any length; with `folder`, which it lies beneath, through no link from there.

    With None all links are followed. Raises `OSError`, also for a path with `..`, a doubled separator or a NUL in it.
    """
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise OSError(errno.EINVAL, _NO_PLACE)
    if folder is None:
        return long_paths.open_descriptor(path, flags)
    above = os.fsencode(folder)
    names = _names(raw, above)
    if not names:
        return long_paths.open_descriptor(path, flags)
    if not _CAN_PASS:
        _look_for_links(above, names)
        return long_paths.open_descriptor(path, flags)
    with _passed(above, names[:-1]) as parent:
        try:
            return os.open(names[-1], flags | _NO_LINK, dir_fd=parent)
        except OSError as error:
            raise _told(error, names[-1], parent, A_LINK) from error


@contextmanager
def listing(path: bytes, folder: bytes | None) -> Iterator[list[tuple[bytes, Entry]]]:
    """The entries of a folder by name as `long_paths.listing` gives them, found as `open_descriptor` finds a file."""
    if folder is None or os.scandir not in os.supports_fd:
        if folder is not None:
            _look_for_links(folder, _names(path, folder))
        with long_paths.listing(path) as entries:
            yield entries
        return
    descriptor = open_descriptor(path, os.O_RDONLY | os.O_DIRECTORY, folder)
    try:
        with os.scandir(descriptor) as found:
            entries = [(entry.name.encode("utf-8", "surrogateescape"), entry) for entry in found]
        yield sorted(entries)
    finally:
        os.close(descriptor)


@contextmanager
def _passed(folder: bytes, names: list[bytes]) -> Iterator[int]:
    """A descriptor of the folder that the names lead to from `folder`, one by one."""
    descriptor = long_paths.open_descriptor(folder, _PASSED)
    try:
        for name in names:
            try:
                below = os.open(name, _PASSED | _NO_LINK, dir_fd=descriptor)
            except OSError as error:
                raise _told(error, name, descriptor, _IN_A_LINK) from error
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _names(path: bytes, folder: bytes) -> list[bytes]:
    """The names that lead from a folder to what lies beneath it. Raises `OSError` for a path that is not as plain."""
    separator = os.fsencode(os.sep)
    start = folder.rstrip(separator) + separator
    if path == folder:
        return []
    names = path[len(start) :].split(separator)
    if not path.startswith(start) or not {b"", b".", b".."}.isdisjoint(names):
        raise OSError(errno.EINVAL, _NO_PLACE)
    return names


def _told(error: OSError, name: bytes, parent: int, words: str) -> OSError:
    """An error in opening a name, in words that say so where the name is a link."""
    if error.errno not in {errno.ELOOP, errno.ENOTDIR, getattr(errno, "EMLINK", None)}:
        return error
    try:
        is_link = stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode)
    except OSError:
        return error
    return OSError(errno.ELOOP, words) if is_link else error


def _look_for_links(folder: bytes, names: list[bytes]) -> None:
    path = folder
    for name in names:
        path = os.path.join(path, name)
        if os.path.islink(path):
            raise OSError(errno.ELOOP, A_LINK if name is names[-1] else _IN_A_LINK)
