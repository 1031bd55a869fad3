"""What runs in a worker process: read, hash, decode and preprocess one file after the other, within bounds.

`mmsearch.images.pool` starts it, and tells what they say to each other.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from mmsearch.base import beneath
from mmsearch.base.file_state import state_of
from mmsearch.base.records import Preprocess
from mmsearch.base.text import unforeseen
from mmsearch.images import formats
from mmsearch.images.content_hash import content_hash

# Seconds that a pool may take to notice that a file's time is over.
_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class _Settings:
    """What all files of a run have in common. `memory_limit` is in bytes; None where the system enforces none.
    `retry_memory` says that it is low because little is free just now. `formats` lists those that are opened."""

    how: Preprocess
    max_pixels: int
    memory_limit: int | None
    retry_memory: bool
    formats: str


def work() -> None:
    """The worker process: answer requests until standard input ends."""
    _leave_signals_to_the_pool()
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a codec prints must not land among the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    told = json.loads(requests.readline())
    limit = _limit_resources(told["memory"])
    how = Preprocess.from_json(told["preprocess"])
    opened = told.get("formats", formats.DEFAULT)
    settings = _Settings(how, told["max_pixels"], limit, told.get("retry_memory", False), opened)
    from mmsearch.images import decode, preprocess  # noqa: F401  (before the clock of the first file runs)

    _answer(answers, {"ready": True})
    for line in requests:
        with _last_resort(told["time_limit"] + _GRACE):
            _serve(json.loads(line), settings, requests, answers)
        answers.flush()


def _leave_signals_to_the_pool() -> None:
    """Whoever ends the run and all that belongs to it, as systemd does, must not take its files from under its hands:
    the pool ends its workers itself, and they end with their input."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@contextlib.contextmanager
def _last_resort(seconds: float) -> Iterator[None]:
    """Have the system end this process after so many seconds, even within a decoder, in which Python sees no signal.

    The pool is quicker, as long as it lives: a worker whose pool was killed must not work on for good.
    """
    if sys.platform == "win32":
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_resources(memory: int) -> int | None:
    """Bound the memory of this process to `memory` bytes, or to less where the system wants it. Returns the limit.

    RLIMIT_DATA counts what is allocated and the stacks of threads; RLIMIT_AS would also count libraries and what
    allocators reserve without using it, far more with each thread. Only Linux enforces it.
    """
    if sys.platform == "win32":
        return None
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is told to the pool; it need not leave gigabytes behind
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
        score.write("1000")  # where memory runs out all the same, a worker goes, not the run
    limit, hard = memory, resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return limit


def _serve(asked: dict[str, Any], settings: _Settings, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer for one file, in one or two steps."""
    from mmsearch.base.errors import DecodeError

    path = asked["path"]
    try:
        with _opened(path, asked.get("beneath")) as (file, descriptor):
            before, started = os.fstat(descriptor), time.perf_counter()
            refusal = _check_prefix(path, file) or _check_file_size(file, before.st_size, settings.max_pixels)
            if refusal:
                _answer(answers, refusal)
                return
            digest = content_hash(file).hex()
            file.seek(0)
            spent = time.perf_counter() - started
            seen = {"hash": digest, "state": state_of(before), "seconds": spent}
            _answer(answers, seen)
            if json.loads(requests.readline())["pixels"]:
                fields, pixels = _decode(file, settings, os.path.splitext(path)[1])
                after = os.fstat(descriptor)
                if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                    refusal = _refusal("it changed while it was being read", retry=True)
                    fields, pixels = refusal | {"torn": True}, b""
                else:
                    fields["seconds"] += spent
                answers.write(json.dumps(fields).encode() + b"\n" + pixels)
                answers.flush()
    except (DecodeError, MemoryError) as error:
        _answer(answers, _failure(error, settings))
    except OSError as error:
        _answer(answers, _refusal(error.strerror or str(error), retry=True) | {"errno": error.errno})
    except Exception as error:  # a fault of ours must cost this file, not the worker's time with it
        _answer(answers, _refusal(unforeseen(error), retry=True))


def _decode(file: IO[bytes], settings: _Settings, ending: str) -> tuple[dict[str, Any], bytes]:
    """The facts with the seconds it took, and the pixels."""
    from mmsearch.images import decode, preprocess

    started = time.perf_counter()
    image, facts = decode.decode(
        file,
        max_pixels=settings.max_pixels,
        target=settings.how.resize,
        formats=settings.formats,
        ending=ending,
    )
    pixels = preprocess.prepare_image(image, settings.how).tobytes()
    return {"facts": asdict(facts), "seconds": time.perf_counter() - started}, pixels


@contextlib.contextmanager
def _opened(path: str, folder: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """A regular file, and its descriptor, which stays open where a decoder closes the file.

    From `folder` on, it is opened through no link.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = beneath.open_descriptor(path, flags, folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file, descriptor
    finally:
        os.close(descriptor)


def _check_prefix(path: str, file: IO[bytes]) -> dict[str, Any] | None:
    from mmsearch.images import decode

    if decode.has_image_extension(path):
        return None
    prefix = file.read(decode.PREFIX_BYTES)
    file.seek(0)
    return None if decode.has_image_signature(prefix) else _refusal("not an image", ignored=True)


def _check_file_size(file: IO[bytes], size: int, max_pixels: int) -> dict[str, Any] | None:
    from mmsearch.images import file_size

    reason = file_size.refusal(file, size, max_pixels)
    return _refusal(reason) | {"limit": "max_pixels"} if reason else None


def _failure(error: Exception, settings: _Settings) -> dict[str, Any]:
    """Why an image cannot be decoded, and the `limit` that it passes. `spent` says that memory ran out, which may be
    the fault of files before it."""
    from mmsearch.base.errors import ImageTooLargeError

    if not isinstance(error, MemoryError) and not isinstance(error.__cause__, MemoryError):
        passed = "max_pixels" if isinstance(error, ImageTooLargeError) else ""
        return _refusal(getattr(error, "message", "")) | {"limit": passed}
    limit = settings.memory_limit
    most = "there is" if limit is None else f"the limit of {limit >> 20:,} MB"
    short = errno.ENOMEM if settings.retry_memory else None
    return _refusal(f"needs more memory than {most}", retry=short is not None) | {
        "spent": True,
        "errno": short,
        "limit": "decode_memory",
    }


def _refusal(reason: str, *, ignored: bool = False, retry: bool = False) -> dict[str, Any]:
    """Why there are no pixels. `errno` is the system's number of what failed, `torn` says that the hash that was told
    is of a file in the middle of a change."""
    return {"reason": reason, "ignored": ignored, "retry": retry, "errno": None, "torn": False, "limit": ""}


def _answer(answers: IO[bytes], fields: dict[str, Any]) -> None:
    answers.write(json.dumps(fields).encode() + b"\n")
    answers.flush()
