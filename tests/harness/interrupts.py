"""Interrupt commands at random moments of their start, their work and their end, and check how they end.

`python tests/harness/interrupts.py --moments 200` prints one JSON line; its exit code says whether nothing was found.
Half of the signals, SIGINT and SIGTERM, come from outside after a random time; they may meet Python itself, before it
has come to any code of ours. The others come from within, at a random call of a function or method after `main` was
called, which does not depend on how busy the machine is, and finds each step of an import. A command must end

- as if nothing had happened, where it was done already, or
- with 130 or 143, no traceback and one line at most (a run that is told to stop also says what it has done).

A SIGINT that comes before `main` is called ends in Python's own way, with a traceback; these are counted for
themselves: `python`, where Python had no module of ours yet, and `loading`, where it was reading the first ones.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import mmsearch

# The command line, which sends itself a signal at the given call, or tells in a file how many there are.
VICTIM = """
import os, sys
from mmsearch.cli.main import main
at, number, calls, leave = int(sys.argv.pop(1)), int(sys.argv.pop(1)), 0, os._exit

def count(frame, event, argument):
    global calls
    if event in ("call", "c_call"):
        calls += 1
        if calls == at:
            os.kill(os.getpid(), number)

def tell_and_leave(code):
    sys.setprofile(None)
    with open(os.environ["CALLS"], "w") as file:
        file.write(str(calls))
    leave(code)

if not at:
    os._exit = tell_and_leave
sys.setprofile(count)
main()
"""

# Seconds within which a command that was interrupted must have ended, on a machine that is busy.
PATIENCE = 60.0

# Bytes that a pipe which nobody reads takes: less than the answer to a query.
PIPE_BYTES = 4096

IMAGES = 24

COMMANDS = {
    "index": ["index", "{photos}", "--model", "starter", "--batch-size", "4", "--workers", "1", "-C", "{new}"],
    "query": ["query", "a dog", "-C", "{place}"],
    "pipe": ["query", "a dog", "--jsonl", "-k", "24", "-C", "{place}"],
    "batch": ["query", "--batch", "-", "--jsonl", "-C", "{place}"],
    "reindex": ["reindex", "--model", "starter", "-C", "{place}"],
    "eval": ["eval", "{captions}"],
    "doctor": ["doctor", "-C", "{place}"],
    "pull": ["models", "pull", "starter"],
    "help": ["--help"],
}

# The modules that Python reads before `main` can be called.
READ_FIRST = (("__init__.py",), ("__main__.py",), ("cli", "__init__.py"), ("cli", "main.py"))

# Those that are told to stop, and say how far they have come.
RUNS = ("index", "reindex", "eval")


@dataclass
class Report:
    """How the commands ended: command and outcome -> how often."""

    seed: int
    moments: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def total(self, outcome: str) -> int:
        return sum(counts[outcome] for counts in self.outcomes.values())

    def to_json(self) -> str:
        return json.dumps({**vars(self), "problems": self.problems[:20], "problem_count": len(self.problems)})


@dataclass(frozen=True)
class Span:
    """A command that is left alone: how long it takes, how many calls it makes and how it ends."""

    seconds: float
    calls: int
    code: int


class Harness:
    """A collection, and commands on it that are interrupted. `commands` are names of `COMMANDS`."""

    def __init__(self, folder: Path, seed: int, commands: list[str]) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.report = Report(seed, outcomes={name: Counter() for name in commands})
        self.environment = {**os.environ, "MMSEARCH_CACHE": str(folder / "cache"), "CALLS": str(folder / "calls")}
        self._make_photos()
        self._run("index", [sys.executable, "-m", "mmsearch"], new="place")
        self.spans = {name: self._span(name) for name in commands}

    def run(self, moments: int) -> Report:
        started = time.monotonic()
        for moment in range(moments):
            self._interrupt(list(self.spans)[moment % len(self.spans)], is_outside=self.rng.random() < 0.5)
        self.report.seconds = round(time.monotonic() - started, 1)
        return self.report

    def _make_photos(self) -> None:
        photos = self.folder / "photos"
        photos.mkdir()
        noise = np.random.default_rng(self.report.seed)
        for number in range(IMAGES):
            Image.fromarray(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(photos / f"{number}.png")
        lines = [json.dumps({"image": f"photos/{number}.png", "caption": f"{number}"}) for number in range(IMAGES)]
        (self.folder / "captions.jsonl").write_text("\n".join(lines))

    def _span(self, name: str) -> Span:
        started = time.monotonic()
        done = self._run(name, [sys.executable, "-m", "mmsearch"], is_read=True)  # the first makes what the cache keeps
        seconds = time.monotonic() - started
        assert done.returncode in (0, 3), f"{name}: {done.stderr}"
        self._run(name, [sys.executable, "-c", VICTIM, "0", "0"], is_read=True)
        return Span(seconds, int((self.folder / "calls").read_text()), done.returncode)

    def _interrupt(self, name: str, *, is_outside: bool) -> None:
        span, number = self.spans[name], self.rng.choice([signal.SIGINT, signal.SIGTERM])
        if is_outside:
            delay = self.rng.uniform(0, 1.05) * span.seconds
            ended = self._run(name, self._started_as(), after=delay, number=number)
            what = f"{name}, {number.name} after {delay:.3f} of {span.seconds:.3f} s"
        else:
            call = self.rng.randint(1, span.calls)
            ended = self._run(name, [sys.executable, "-c", VICTIM, str(call), str(int(number))])
            what = f"{name}, {number.name} at call {call:,} of {span.calls:,}"
        outcome = outcome_of(ended, number, span.code, is_run=name in RUNS, is_outside=is_outside)
        self.report.moments += 1
        self.report.outcomes[name][outcome or "wrong"] += 1
        if outcome is None:
            self.report.problems.append(f"{what}: exit code {ended.returncode}, {ended.stderr.strip()[-1000:]}")

    def _started_as(self) -> list[str]:
        """`mmsearch` where it is installed beside this Python, or `python -m mmsearch`."""
        installed = Path(sys.executable).with_name("mmsearch")
        return (
            [str(installed)] if installed.exists() and self.rng.random() < 0.5 else [sys.executable, "-m", "mmsearch"]
        )

    def _run(
        self,
        name: str,
        program: list[str],
        *,
        new: str = "new",
        is_read: bool = False,
        after: float | None = None,
        number: int = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Start a command, and send its process group a signal `after` so many seconds. `pipe` writes into one that
        is full, unless `is_read`."""
        shutil.rmtree(self.folder / "new", ignore_errors=True)
        places = {"new": new, "place": "place", "photos": "photos", "captions": "captions.jsonl"}
        words = [word.format(**{key: self.folder / value for key, value in places.items()}) for word in COMMANDS[name]]
        blocked = name == "pipe" and not is_read
        reader, writer = _narrow_pipe() if blocked else (None, subprocess.PIPE)
        with subprocess.Popen(
            [*program, *words],
            stdin=subprocess.PIPE,
            stdout=writer,
            stderr=subprocess.PIPE,
            env=self.environment,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                if after is not None:
                    self._send(process, name, after, number)
                text = "a dog\na cat\n" * 20 if name == "batch" and after is None else None
                out, err = process.communicate(text, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err = f"{err}\nit had not ended within {PATIENCE:g} s"
            finally:
                for end in (reader, writer) if blocked else ():
                    os.close(end)  # type: ignore[arg-type]
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    @staticmethod
    def _send(process: subprocess.Popen[str], name: str, after: float, number: int) -> None:
        if name == "batch":  # which then waits for more
            assert process.stdin is not None
            process.stdin.write("a dog\na cat\n" * 20)
            process.stdin.flush()
        time.sleep(after)
        if process.poll() is None:
            os.killpg(process.pid, number)


def _narrow_pipe() -> tuple[int, int]:
    import fcntl

    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[attr-defined]
    return reader, writer


def outcome_of(
    ended: subprocess.CompletedProcess[str], number: int, usual: int, *, is_run: bool, is_outside: bool
) -> str | None:
    """How a command has ended that was sent the signal `number`; None where that is wrong."""
    code, err = ended.returncode, ended.stderr
    trace = "Traceback" in err or "Exception ignored" in err
    if is_outside and number == signal.SIGINT and code in (-number, 1) and (trace or not err):
        return _before_ours(err)
    if trace or "unexpected " in err:
        return None
    if code == usual:
        return "done"
    # Nothing of ours may have been there yet to handle SIGTERM; shells call that 143 too.
    if code != 128 + number and not (number == signal.SIGTERM and code == -number):
        return None
    return "interrupted" if is_run or err.count("\n") <= 1 else None


def _before_ours(err: str) -> str | None:
    """Whose code a traceback of Python's own shows; None for code of ours after the start."""
    folder = str(Path(mmsearch.__file__).parent)
    ours = [line for line in err.splitlines() if f'"{folder}{os.sep}' in line]
    if not ours and "from mmsearch" not in err:
        return "python"
    first = [f'"{os.path.join(folder, *parts)}", line' for parts in READ_FIRST]
    return "loading" if all(any(start in line for start in first) and "in <module>" in line for line in ours) else None


def interrupt(folder: Path, *, moments: int, seed: int, commands: list[str]) -> Report:
    """Run the harness in an empty folder."""
    return Harness(folder, seed, commands).run(moments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=["index", "query"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmsearch-interrupts-") as folder:
        report = interrupt(Path(folder), moments=options.moments, seed=options.seed, commands=options.commands)
    print(report.to_json())
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
