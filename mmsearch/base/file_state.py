"""What tells whether a file has changed, without reading it."""

from __future__ import annotations

import os

# Size in bytes, mtime and ctime in nanoseconds, inode; None for what is not known.
State = tuple[int, int, int | None, int | None]

_LARGEST = 2**63 - 1


def state_of(status: os.stat_result) -> State:
    """The state of a file, in numbers that a catalog can hold: file systems have times and inodes beyond 63 bits.

    A time beyond is the latest, or the earliest; inodes and ctimes, which are only compared, wrap.
    """
    size, mtime = (max(-_LARGEST, min(_LARGEST, value)) for value in (status.st_size, status.st_mtime_ns))
    return size, mtime, _wrapped(status.st_ctime_ns), _wrapped(status.st_ino) or None  # 0 where there are none


def _wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
