"""Disks that do not answer, such as a network mount whose server is gone.

Each file on one costs a run its whole time limit, and sometimes a process that cannot be ended. After a few in a row,
the others on the same disk are not tried any more.
"""

from __future__ import annotations

import os
import threading
from collections import Counter

from mmsearch.base.mounts import mount_of, mounts

# Files in a row that could not be read in time after which a disk is given up: fewer may be chance.
MOST_IN_A_ROW = 4


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
    mount = mount_of(path, mounts())
    return mount.point if mount else os.path.splitdrive(path)[0] + os.sep
