"""What is mounted where, as Linux lists it in a file: told from text alone, since asking a disk might not return."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from mmsearch.base.paths import is_within

_MOUNTS = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """A file system's device, the folder in it that is mounted, and where that is to be seen."""

    device: str
    folder: str
    point: str


def mounts() -> list[Mount]:
    """All mounts, later ones over earlier ones; none where the system lists them elsewhere."""
    try:
        with open(_MOUNTS, "rb") as file:  # noqa: PTH123
            fields = [line.split(b" ") for line in file]
        return [Mount(line[2].decode(), _unescaped(line[3]), _unescaped(line[4])) for line in fields]
    except (OSError, IndexError):
        return []


def mount_of(path: str, among: list[Mount]) -> Mount | None:
    """The mount that an absolute path lies in."""
    inside = [mount for mount in reversed(among) if is_within(path, mount.point)]
    return max(inside, key=lambda mount: len(mount.point), default=None)


def _unescaped(point: bytes) -> str:
    """Blanks and the like are written as a backslash and three octal digits."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), point))
