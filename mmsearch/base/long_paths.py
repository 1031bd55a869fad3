"""Open files and folders whose path is longer than the system takes in one call (4,096 bytes on Linux).

Such a path is opened in pieces, each relative to the folder before it. Where the system can't do that (Windows), and
for a single name that is too long, the error is the system's own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Bytes of a piece. A name takes up to 255, and no system takes less than 1,024 in one call.
_PIECE_BYTES = 700

Entry = os.DirEntry[bytes] | os.DirEntry[str]


def open_descriptor(path: str | bytes, flags: int) -> int:
    """`os.open` for an absolute path of any length."""
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG or os.open not in os.supports_dir_fd:
            raise
    *folders, last = _pieces(os.fsencode(path))
    with _opened(folders) as folder:
        return os.open(last, flags, dir_fd=folder)


def status(path: bytes) -> os.stat_result:
    """`os.stat` for an absolute path of any length."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG or os.stat not in os.supports_dir_fd:
            raise
    *folders, last = _pieces(path)
    with _opened(folders) as folder:
        return os.stat(last, dir_fd=folder)


@contextmanager
def listing(path: bytes) -> Iterator[list[tuple[bytes, Entry]]]:
    """The entries of a folder by name, in byte order. Of a long path, they can be asked for their status inside only.

    An entry's own `name` and `path` are not to be used: those of a long path are texts, and only the name.
    """
    try:
        with os.scandir(path) as entries:
            names: list[tuple[bytes, Entry]] = sorted((entry.name, entry) for entry in entries)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG or os.scandir not in os.supports_fd:
            raise
    else:
        yield names
        return
    with _opened(_pieces(path)) as folder, os.scandir(folder) as found:
        yield sorted((os.fsencode(entry.name), entry) for entry in found)


@contextmanager
def _opened(pieces: list[bytes]) -> Iterator[int | None]:
    """A descriptor of the folder that the pieces lead to, one by one; None where there are none."""
    flags = os.O_DIRECTORY | getattr(os, "O_CLOEXEC", 0)
    descriptor = None
    try:
        for piece in pieces:
            below = os.open(piece, os.O_RDONLY | flags, dir_fd=descriptor)
            if descriptor is not None:
                os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _pieces(path: bytes) -> list[bytes]:
    """An absolute path, cut at separators; all but the first piece are relative."""
    pieces = [b""]
    for name in filter(None, path.split(b"/")):
        if len(pieces[-1]) + 1 + len(name) > _PIECE_BYTES:
            pieces.append(name)
        else:
            pieces[-1] += b"/" + name
    return pieces
