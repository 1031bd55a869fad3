"""Run a whole command as a user would, and measure it: seconds, and the memory of all its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO

# Seconds between two samples of memory and progress.
_TICK = 0.05


@dataclass(slots=True)
class Outcome:
    """A command that has ended.

    `peak_rss_mb` is the largest sum, at one moment, of the resident sets (in 10^6 bytes) of the process and all its
    descendants, sampled 20 times a second from /proc; pages that they share count in each. None where there is no
    /proc. `stderr` has pieces of text with the second when they came.
    """

    seconds: float = 0.0
    peak_rss_mb: float | None = None
    stdout: str = ""
    stderr: list[tuple[float, str]] = field(default_factory=list)


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    watch: Callable[[float], None] | None = None,
    allowed: Sequence[int] = (0,),
) -> Outcome:
    """Run `command` with `env` added to the environment. `watch` is called at each sample with the seconds so far.

    Raises RuntimeError with the command's last words where its exit code is not among `allowed`.
    """
    outcome = Outcome()
    with tempfile.TemporaryFile() as stdout:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=stdout, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        reader = threading.Thread(target=_collect, args=(process.stderr, outcome.stderr, started), daemon=True)
        reader.start()
        while not _has_ended(process):
            outcome.peak_rss_mb = _larger(outcome.peak_rss_mb, tree_rss_mb(process.pid))
            if watch is not None:
                watch(time.perf_counter() - started)
        outcome.seconds = time.perf_counter() - started
        reader.join()
        process.stderr.close()
        if watch is not None:
            watch(outcome.seconds)
        stdout.seek(0)
        outcome.stdout = stdout.read().decode()
    if process.returncode not in allowed:
        words = "".join(text for _, text in outcome.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{words}")
    return outcome


def tree_rss_mb(pid: int) -> float | None:
    """The resident sets of a process and its descendants now, in 10^6 bytes; None where /proc does not tell."""
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    pids, total, found = [pid], 0, False
    while pids:
        process = Path("/proc", str(pids.pop()))
        try:
            total += int((process / "statm").read_text().split()[1]) * page
            found = True
            for task in (process / "task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return total / 1e6 if found else None


def rate(samples: Sequence[tuple[float, int]], first: int = 1) -> float | None:
    """Images a second, from `samples` (second, images so far) in order of time.

    It counts from the first sample with at least `first` images to the one at which the number last grew; None where
    these are the same.
    """
    begin = next((sample for sample in samples if sample[1] >= first), None)
    if begin is None:
        return None
    most = max(images for _, images in samples)
    end = next(sample for sample in samples if sample[1] == most)
    return (end[1] - begin[1]) / (end[0] - begin[0]) if end[0] > begin[0] else None


def middle(values: Sequence[float | None]) -> float | None:
    """The median of what was measured; None where nothing was."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(value: float | None, other: float | None) -> float | None:
    """`value` / `other`, None where one is missing."""
    return value / other if value is not None and other else None


def rounded(value: float | None, digits: int = 3) -> float | None:
    """For the JSON line: `digits` after the point, null for what was not measured."""
    return None if value is None else round(value, digits)


def note(text: str) -> None:
    """A progress note, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_TICK)
    except subprocess.TimeoutExpired:
        return False
    return True


def _collect(stream: IO[bytes], pieces: list[tuple[float, str]], started: float) -> None:
    while piece := os.read(stream.fileno(), 65536):
        pieces.append((time.perf_counter() - started, piece.decode("utf-8", "replace")))


def _larger(value: float | None, other: float | None) -> float | None:
    return max((number for number in (value, other) if number is not None), default=None)
