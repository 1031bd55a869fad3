"""How much memory is free, for this process: what the machine has left, and what its control groups (containers) allow.

Linux tells both in files: /proc/meminfo (proc(5)), and memory.max or memory.limit_in_bytes of the group and of those
above it (kernel documentation, cgroup-v2 and cgroup-v1/memory).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Names of a group's limit, of what it uses, and in `memory.stat` of the share of that which the kernel gives back:
# files that were read once and lie in memory in case they are read again.
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def physical_memory() -> int | None:
    """Bytes of memory that the machine has; None where it does not tell."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can still be taken, by the machine's count and by every control group's.

    Where the system does not tell (macOS), all that the machine has; None where it tells neither (Windows). `root` is
    where `proc` and `sys` are.
    """
    left = [found for found in (_available(root), *_left_to_groups(root)) if found is not None]
    return max(0, min(left)) if left else physical_memory()


def _available(root: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None


def _left_to_groups(root: Path) -> Iterator[int | None]:
    for group, names in _groups(root):
        limit, used = (_number(group / name) for name in names[:2])
        if limit is not None and used is not None:
            yield limit - used + _given_back(group / "memory.stat", names[2])


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The groups of this process and all above, each with the names of its files."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
            own = top / path.lstrip("/")
            for group in (own, *own.parents):
                yield group, _VERSION_1 if controllers else _VERSION_2
                if group == top:
                    break


def _number(file: Path) -> int | None:
    """The number in a file; None where there is none, as for "max"."""
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return None


def _given_back(file: Path, name: str) -> int:
    with suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in file.read_text().splitlines())[name])
    return 0
