"""Disks that do not answer, such as a network mount whose server is gone.

Each file on one costs a run its whole time limit, and sometimes a process that cannot be ended. After a few in a row,
the others on the same disk are not tried any more.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter

# Files in a row that could not be read in time after which a disk is given up: fewer may be chance.
MOST_IN_A_ROW = 4

_MOUNTS = "/proc/self/mountinfo"


class Stalls:
    """Counts, for each disk, how many files in a row could not be read in time. Used by several threads."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, path: str) -> None:
        """A file could not be read in time."""
        disk = disk_of(path)
        with self._lock:
            self._in_a_row[disk] += 1

    def clear(self, path: str) -> None:
        """A file could be read."""
        if self._in_a_row:
            disk = disk_of(path)
            with self._lock:
                self._in_a_row.pop(disk, None)

    def given_up(self, path: str) -> str | None:
        """The disk of a file, if it does not answer."""
        if not self._in_a_row:
            return None
        disk = disk_of(path)
        return disk if self._in_a_row[disk] >= MOST_IN_A_ROW else None


def disk_of(path: str) -> str:
    """The mount point that an absolute path lies below, told from its text alone: asking the disk might not return.

    Only Linux lists its mounts in a file; elsewhere all paths of one drive count as one disk.
    """
    whole = os.path.splitdrive(path)[0] + os.sep
    try:
        with open(_MOUNTS, "rb") as file:  # noqa: PTH123
            points = [_unescaped(line.split(b" ")[4]) for line in file]
    except (OSError, IndexError):
        return whole
    return max((point for point in points if path.startswith(os.path.join(point, ""))), key=len, default=whole)


def _unescaped(point: bytes) -> str:
    """Blanks and the like are written as a backslash and three octal digits."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), point))
