"""Damaged image files, thousands of them, through the real worker processes.

`python tests/harness/mutate.py --count 20000` prints one JSON object; exit code 1 says that a rule was broken. Every
file must end as pixels or as a reason of one line, within its time, and no worker may outgrow its memory limit. What is
done to which file follows from `--seed` and its number alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from formats import sources

from mmsearch.base.records import FileRecord, Preprocess
from mmsearch.images.memory import memory_limit
from mmsearch.images.pool import Decoded, DecodePool

# Pixels over which a file is refused. Low, so that a header that lies is soon found out or costs little.
MAX_PIXELS = 1 << 20

# Seconds for one file. Decoding 1 megapixel takes up to 7 s for formats that Pillow reads in Python.
TIME_LIMIT = 20.0

# Files that are on the disk at a time.
_WINDOW = 64

_HOW = Preprocess(size=32, resize=36)


@dataclass
class Report:
    """What became of the files. `failures` are breaches of the rules, in words."""

    files: int = 0
    decoded: int = 0
    refused: int = 0
    crashed_workers: int = 0
    timeouts: int = 0
    seconds: float = 0.0
    slowest_file_seconds: float = 0.0
    peak_worker_mb: float = 0.0
    memory_limit_mb: float = memory_limit(MAX_PIXELS) / 1e6
    mutations: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class TimedPool(DecodePool):
    """A pool that notes how long each file takes and how large its workers get."""

    def __init__(self, *, workers: int, time_limit: float = TIME_LIMIT, max_pixels: int = MAX_PIXELS) -> None:
        super().__init__(_HOW, workers=workers, max_pixels=max_pixels, known=lambda _: False, time_limit=time_limit)
        self.seconds: dict[str, float] = {}
        self.peak_kb = 0

    def _decode(self, record: FileRecord) -> Decoded:
        started = time.perf_counter()
        decoded = super()._decode(record)
        self.seconds[record.path] = time.perf_counter() - started
        with self._lock:
            pids = [worker._process.pid for worker in self._workers]
        self.peak_kb = max([self.peak_kb, *map(peak_kb, pids)])
        return decoded


def peak_kb(pid: int) -> int:
    """The most memory that a process has held, in KiB; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return max((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), default=0)


# --- mutations ---

Mutation = Callable[[bytearray, random.Random], None]


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def edit_header(data: bytearray, rng: random.Random) -> None:
    """Numbers that decoders trust lie among the first bytes: sizes, counts and offsets."""
    width = rng.choice((1, 2, 4, 8))
    at = rng.randrange(min(len(data), rng.choice((64, 512))))
    value = rng.choice((0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 1), rng.getrandbits(8 * width)))
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))


def splice(data: bytearray, rng: random.Random) -> None:
    """Bytes from one place of the file take the place of others."""
    start, length = rng.randrange(len(data)), rng.randrange(1, 65)
    at = rng.randrange(len(data))
    data[at : at + rng.choice((0, length))] = data[start : start + length]


def insert_noise(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.randrange(1, 33))


def zero_run(data: bytearray, rng: random.Random) -> None:
    at, length = rng.randrange(len(data)), rng.randrange(1, 257)
    data[at : at + length] = bytes(len(data[at : at + length]))


def remove_run(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 65)]


def repeat_chunk(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    chunk = data[at : at + rng.randrange(4, 1025)]
    data[at:at] = chunk * rng.choice((1, 2, 16))


def empty(data: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.05:
        data.clear()
    else:
        flip_bits(data, rng)


MUTATIONS: tuple[Mutation, ...] = (
    truncate,
    flip_bits,
    edit_header,
    edit_header,
    splice,
    insert_noise,
    zero_run,
    remove_run,
    repeat_chunk,
    empty,
)


def mutated(data: bytes, rng: random.Random) -> tuple[bytes, list[str]]:
    """The file with one to three things done to it, and their names."""
    changed, names = bytearray(data), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if changed:
            mutation = rng.choice(MUTATIONS)
            mutation(changed, rng)
            names.append(mutation.__name__)
    return bytes(changed), names


# --- the run ---


def run(count: int, *, seed: int = 0, workers: int = 2, keep: Path | None = None) -> Report:
    """Decode `count` damaged files. Those that break a rule are kept in the folder `keep`."""
    report, mutations, samples = Report(), Counter[str](), sources()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, TimedPool(workers=workers) as pool:
        waiting: deque[tuple[Path, Future[Decoded]]] = deque()
        for number in range(count):
            name, data = samples[number % len(samples)]
            damaged, names = mutated(data, random.Random(f"{seed}/{name}/{number}"))
            mutations.update(names)
            path = Path(folder, f"{number}-{name}")
            path.write_bytes(damaged)
            waiting.append((path, pool.submit(FileRecord(str(path), 0, 0))))
            if len(waiting) >= _WINDOW:
                _take(*waiting.popleft(), pool, report, keep)
        while waiting:
            _take(*waiting.popleft(), pool, report, keep)
        report.peak_worker_mb = round(pool.peak_kb / 1000, 1)
    report.seconds = round(time.perf_counter() - started, 1)
    report.mutations = dict(mutations)
    if report.peak_worker_mb > report.memory_limit_mb:
        report.failures.append(f"a worker took {report.peak_worker_mb} MB")
    return report


def _take(path: Path, future: Future[Decoded], pool: TimedPool, report: Report, keep: Path | None) -> None:
    decoded = future.result()
    seconds = pool.seconds.pop(str(path))
    report.files += 1
    report.decoded += decoded.pixels is not None
    report.refused += bool(decoded.reason)
    report.crashed_workers += decoded.reason.startswith("its decoder ")
    report.timeouts += decoded.reason.startswith("took longer")
    report.slowest_file_seconds = max(report.slowest_file_seconds, round(seconds, 2))
    breach = breach_of(decoded, seconds)
    suspicious = breach or decoded.reason.startswith(("its decoder ", "took longer"))
    if suspicious and keep is not None:
        (keep / path.name).write_bytes(path.read_bytes())
        print(f"{path.name}: {breach or decoded.reason}", file=sys.stderr, flush=True)
    if breach:
        report.failures.append(f"{path.name}: {breach}")
    path.unlink()


def breach_of(decoded: Decoded, seconds: float) -> str:
    """Which rule an outcome breaks, or nothing."""
    if seconds > 2 * TIME_LIMIT:
        return f"took {seconds:.0f} s: {decoded.reason or 'decoded'}"
    if (decoded.pixels is None) != bool(decoded.reason):
        return "is neither pixels nor a reason"
    if decoded.ignored:
        return "claims to be an image and was passed over in silence"
    if decoded.reason:
        return "" if decoded.reason.isprintable() and len(decoded.reason) <= 200 else f"reason {decoded.reason!r}"
    facts, pixels = decoded.facts, decoded.pixels
    if facts is None or pixels is None or pixels.shape != (32, 32, 3):
        return "has no facts or pixels of a wrong shape"
    if not 0 < facts.width * facts.height <= MAX_PIXELS:
        return f"has {facts.width} x {facts.height} pixels"
    texts = (facts.format, facts.camera or "", facts.taken_at or "")
    return "" if all(text.isprintable() and len(text) <= 200 for text in texts) else f"facts {facts}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for files that break a rule, crash or hang a worker")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    report = run(options.count, seed=options.seed, workers=options.workers, keep=options.keep)
    print(json.dumps(asdict(report)))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
