"""Decode and preprocess files in worker processes, so that all cores work and a decoder's crash costs one file.

A worker is a plain subprocess that speaks lines of JSON on its standard streams (not `multiprocessing`, which would
run the caller's `__main__` again). For each file: the pool sends a path; the worker hashes the file and answers; the
pool says whether it wants the pixels (it does not where an embedding of the same content exists); the worker answers
with the facts and size x size x 3 raw bytes. A worker that dies or exceeds the time limit is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

from mmsearch.types import FileRecord, ImageFacts, Preprocess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seconds for one file, reading included. A 100-megapixel PNG takes about 5 s on one slow core.
DEFAULT_TIME_LIMIT = 60.0

# Room, in bytes, for the line of JSON before an image: it takes some 200.
_LINE_BYTES = 4096

# Signals that a process gets for what it does itself.
_CRASHES = frozenset(
    getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL") if hasattr(signal, name)
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of one file.

    Exactly one of these holds: `pixels` and `facts` are set (decoded); `content_hash` alone is set (its content is
    already known); `reason` is set (it cannot be used, and why). `ignored` marks files that are no images and do not
    claim to be. `record` is the file as it was when read. `seconds` is the time spent reading, decoding and resizing.
    """

    record: FileRecord
    content_hash: bytes = b""
    pixels: NDArray[np.uint8] | None = None
    facts: ImageFacts | None = None
    reason: str = ""
    ignored: bool = False
    retry: bool = False
    seconds: float = 0.0


class DecodePool:
    """Worker processes behind `submit`. Use as a context manager; leaving it ends the workers.

    `known` is called, from any thread, with a file's content hash and says whether its pixels can be spared.
    """

    def __init__(
        self,
        how: Preprocess,
        *,
        workers: int,
        max_pixels: int,
        known: Callable[[bytes], bool],
        time_limit: float = DEFAULT_TIME_LIMIT,
    ) -> None:
        self._settings = json.dumps({"preprocess": how.to_json(), "max_pixels": max_pixels})
        self._size = how.size
        self._known = known
        self._time_limit = time_limit
        self._watchdog = _Watchdog(time_limit)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._closed = False

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers at once; what was submitted and is not done is cancelled."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._watchdog.close()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def submit(self, record: FileRecord) -> Future[Decoded]:
        """Decode one file in a worker. The future never raises for a bad file."""
        return self._threads.submit(self._decode, record)

    def _decode(self, record: FileRecord) -> Decoded:
        worker = self._worker()
        try:
            with self._watchdog.watching(worker):
                return self._converse(worker, record)
        except (OSError, ValueError, EOFError):
            reason = worker.last_words(self._time_limit)
            self._drop(worker)
            return Decoded(record, reason=reason, retry=not worker.died_of_the_file)

    def _converse(self, worker: _Worker, record: FileRecord) -> Decoded:
        answer = worker.ask({"path": record.path})
        if "reason" in answer:
            return _refused(record, answer)
        seen = FileRecord(record.path, answer["size"], answer["mtime_ns"])
        content_hash = bytes.fromhex(answer["hash"])
        if self._known(content_hash):
            worker.tell({"pixels": False})
            return Decoded(seen, content_hash, seconds=answer["seconds"])
        answer = worker.ask({"pixels": True})
        if "reason" in answer:
            return _refused(seen, answer)
        pixels = worker.read_pixels(self._size)
        return Decoded(seen, content_hash, pixels, ImageFacts(**answer["facts"]), seconds=answer["seconds"])

    def _worker(self) -> _Worker:
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is not None and not worker.is_usable:  # ended between two files: neither is to blame
            self._drop(worker)
            worker = None
        if worker is None:
            worker = self._local.worker = _Worker(self._settings, answer_bytes=self._size * self._size * 3)
            with self._lock:
                self._workers.add(worker)
                if self._closed:
                    worker.kill()
        return worker

    def _drop(self, worker: _Worker) -> None:
        worker.end()
        self._local.worker = None
        with self._lock:
            self._workers.discard(worker)


def _widen(pipe: IO[bytes], size: int) -> None:
    """Let a pipe hold an answer whole, so that the worker need not take turns with its reader; only Linux can."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size + _LINE_BYTES)


def _refused(record: FileRecord, answer: dict[str, Any]) -> Decoded:
    return Decoded(record, reason=answer["reason"], ignored=answer["ignored"], retry=answer["retry"])


class _Watchdog:
    """Ends workers that are busy with one file for too long: one thread for all of them, a timer each would cost more
    than reading a small file."""

    def __init__(self, time_limit: float) -> None:
        self._time_limit = time_limit
        self._deadlines: dict[_Worker, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watching(self, worker: _Worker) -> Iterator[None]:
        """The worker has the time limit for what is done inside, give or take a twentieth."""
        with self._lock:
            self._deadlines[worker] = time.monotonic() + self._time_limit
        try:
            yield
        finally:
            with self._lock:
                del self._deadlines[worker]

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._time_limit / 20):
            with self._lock:
                for worker, deadline in self._deadlines.items():
                    if time.monotonic() > deadline:
                        worker.kill_as_too_slow()


class _Worker:
    """The pool's end of one worker process."""

    def __init__(self, settings: str, *, answer_bytes: int) -> None:
        """`answer_bytes` is the size of an image in its answers."""
        code = f"import sys; sys.path[:] = {sys.path!r}; from mmsearch.decode_pool import work; work()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=-1,
            start_new_session=True,  # Ctrl-C is for the main process, which finishes its batch first
        )
        _widen(self._stdout, answer_bytes)
        self._too_slow = False
        with contextlib.suppress(OSError):  # it has ended already, as the first question will show
            self._write(settings)

    @property
    def is_usable(self) -> bool:
        return not self._too_slow and self._process.poll() is None

    @property
    def died_of_the_file(self) -> bool:
        """Whether the same would happen again: not where the machine (out of memory) or a user killed the process."""
        return self._too_slow or self._process.wait() in {-crash for crash in _CRASHES}

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.tell(message)
        line = self._stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, message: dict[str, Any]) -> None:
        self._write(json.dumps(message))

    def read_pixels(self, size: int) -> NDArray[np.uint8]:
        import numpy as np

        pixels = np.empty((size, size, 3), np.uint8)
        if self._stdout.readinto(pixels.data.cast("B")) != pixels.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        return pixels

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Kill the process if it still runs, and free what it held."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # bytes that it never took are of no use now
                if stream is not None:
                    stream.close()

    def kill_as_too_slow(self) -> None:
        self._too_slow = True
        self.kill()

    def last_words(self, time_limit: float) -> str:
        """Why the process is gone, in words."""
        status = self._process.wait()
        if self._too_slow:
            return f"took longer than {time_limit:g} s"
        if status < 0:
            return f"its decoder crashed ({signal.Signals(-status).name})"
        return f"its decoder ended early (status {status})"

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


# --- the worker's side -------------------------------------------------------------------------------------------


def work() -> None:
    """The worker process: answer requests until standard input ends."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a codec prints must not land among the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    settings = json.loads(requests.readline())
    how = Preprocess.from_json(settings["preprocess"])
    for line in requests:
        _serve(json.loads(line)["path"], how, settings["max_pixels"], requests, answers)
        answers.flush()


def _serve(path: str, how: Preprocess, max_pixels: int, requests: IO[bytes], answers: IO[bytes]) -> None:
    from mmsearch import decode, preprocess
    from mmsearch.errors import DecodeError

    try:
        with _open_regular(path) as file:
            before = os.fstat(file.fileno())
            started = time.perf_counter()
            refusal = _check_prefix(path, file)
            if refusal:
                _answer(answers, refusal)
                return
            digest = content_hash(file)
            file.seek(0)
            spent = time.perf_counter() - started
            seen = {"hash": digest.hex(), "size": before.st_size, "mtime_ns": before.st_mtime_ns, "seconds": spent}
            _answer(answers, seen)
            if not json.loads(requests.readline())["pixels"]:
                return
            started = time.perf_counter()
            image, facts = decode.decode(file, max_pixels=max_pixels, target=how.resize)
            pixels = preprocess.prepare_image(image, how).tobytes()
            after = os.fstat(file.fileno())
            spent += time.perf_counter() - started
    except DecodeError as error:
        _answer(answers, _refusal(error.message))
        return
    except OSError as error:
        _answer(answers, _refusal(error.strerror or str(error), retry=True))
        return
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        _answer(answers, _refusal("it changed while it was read", retry=True))
        return
    line = json.dumps({"facts": asdict(facts), "seconds": spent}).encode()
    answers.write(line + b"\n" + pixels)
    answers.flush()


def content_hash(file: IO[bytes]) -> bytes:
    """BLAKE2b-128 of all of a binary file, which is read in pieces from where it stands."""
    import hashlib

    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()  # type: ignore[arg-type]


def _open_regular(path: str) -> IO[bytes]:
    import stat

    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError("not a regular file")
    return file


def _check_prefix(path: str, file: IO[bytes]) -> dict[str, Any] | None:
    from mmsearch import decode

    if decode.has_image_extension(path):
        return None
    prefix = file.read(decode.PREFIX_BYTES)
    file.seek(0)
    return None if decode.has_image_signature(prefix) else _refusal("not an image", ignored=True)


def _refusal(reason: str, *, ignored: bool = False, retry: bool = False) -> dict[str, Any]:
    return {"reason": reason, "ignored": ignored, "retry": retry}


def _answer(answers: IO[bytes], fields: dict[str, Any]) -> None:
    answers.write(json.dumps(fields).encode() + b"\n")
    answers.flush()
