"""What is free is the least of what the machine and every control group have left."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.base.free_memory import free_memory, physical_memory

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "kilobytes"),
    [
        pytest.param({}, 8000, id="no groups"),
        pytest.param({"proc/self/cgroup": "0::/\n"}, 8000, id="the top group of a machine has no limit"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "4096000",
                "sys/fs/cgroup/memory.current": "3072000",
                "sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 512000\n",
            },
            1500,
            id="a container, which the kernel could free some of",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/app\n",
                "sys/fs/cgroup/user/app/memory.max": "max\n",
                "sys/fs/cgroup/user/app/memory.current": "1024\n",
                "sys/fs/cgroup/user/memory.max": "2048000\n",
                "sys/fs/cgroup/user/memory.current": "1024000\n",
            },
            1000,
            id="the limit of a group above",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/docker/1\n2:cpu,cpuacct:/\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "3072000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "2048000",
                "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 1024000\n",
            },
            2000,
            id="version 1, whose path is that of the host",
        ),
        pytest.param({"proc/self/cgroup": "nonsense\n"}, 8000, id="nonsense"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "1024",
                "sys/fs/cgroup/memory.current": "4096",
            },
            0,
            id="a limit that was lowered below what is used",
        ),
    ],
)
def test_linux(files: dict[str, str], kilobytes: int, tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": MEMINFO, **files})
    assert free_memory(tmp_path) == kilobytes * 1024


def test_elsewhere_it_is_all_that_the_machine_has(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == physical_memory()
