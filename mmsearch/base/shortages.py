"""What the system has run out of, in words: room or names on a disk, open files, processes, memory."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

# Errors of a disk, or of a user's share of it, that takes no more.
FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})

# What else can run out, and what helps.
_OTHERS = {
    errno.EMFILE: ("too many open files", "raise the limit (`ulimit -n 1024`) and run the command again"),
    errno.ENFILE: ("the system has too many open files", "end other programs and run the command again"),
    errno.EAGAIN: (
        "the system allows no more processes or threads",
        "end other programs, or raise its limits (`ulimit -u`, `ulimit -v`)",
    ),
    errno.ENOMEM: ("not enough memory", "end other programs, or raise its limit (`ulimit -v`)"),
}

# How an exception of a library says so that has no number.
_PHRASES = {
    "can't start new thread": errno.EAGAIN,
    "failed to map segment": errno.ENOMEM,
    "bad allocation": errno.ENOMEM,
    "bad_alloc": errno.ENOMEM,
    **{os.strerror(number): number for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)},
}


def told(error: BaseException, place: str | os.PathLike[str] | None = None) -> tuple[str, str] | None:
    """What has run out, and what to do about it; None where the error is of another kind.

    `place` is the file or folder that was to be written, for the disk that is meant.
    """
    number = _number(error)
    if number in FULL:
        return full(place)
    return _OTHERS.get(number) if number is not None else None


def _number(error: BaseException) -> int | None:
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return next((number for phrase, number in _PHRASES.items() if phrase in str(error)), None)


def full(place: str | os.PathLike[str] | None) -> tuple[str, str]:
    """The same for a disk that takes no more.

    It may have room, but no name for another file: each takes an inode, of which many file systems have a fixed number.
    """
    disk = "the disk" if place is None else f"the disk of {os.fspath(place)}"
    if place is not None and hasattr(os, "statvfs"):
        with suppress(OSError):
            status = os.statvfs(next(folder for folder in (Path(place), *Path(place).parents) if folder.exists()))
            if status.f_files and not status.f_favail and status.f_bavail:
                few = "remove files that you do not need, however small, and run the command again"
                return f"{disk} takes no more files (all {status.f_files:,} inodes are in use)", few
    return f"{disk} is full", "free some space and run the command again"
