"""The machine that this runs on: its processors, and the environment of processes that work for it."""

from __future__ import annotations

import os


def worker_environment() -> dict[str, str]:
    """The environment of processes that decode: each has one core, so NumPy need not start a thread for every core."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def available_cpus() -> int:
    """CPUs that this process may run on, which a container or `taskset` can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
