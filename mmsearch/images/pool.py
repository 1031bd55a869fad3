"""Decode and preprocess files in worker processes, so that all cores work and a decoder's crash costs one file.

A worker (`mmsearch.images.worker`) is a plain subprocess that speaks lines of JSON on its standard streams (not
`multiprocessing`, which would run the caller's `__main__` again). It is told the settings and says that it is ready.
For each file: the pool sends a path; the worker hashes the file and answers; the pool says whether it wants the pixels
(it does not where an embedding of the same content exists); the worker answers with the facts and size x size x 3 raw
bytes. A worker that dies, exceeds the time limit or runs out of memory is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from mmsearch.base import config
from mmsearch.base.machine import worker_environment
from mmsearch.base.records import FileRecord, ImageFacts, Preprocess
from mmsearch.base.text import unforeseen
from mmsearch.images import formats as known_formats
from mmsearch.images.memory import default_memory, memory_limit, shares
from mmsearch.images.stalled_disks import MOST_IN_A_ROW, Stalls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seconds for a worker to start, which takes some tenths: the machine or the disk of the program is stuck beyond it.
_START_LIMIT = 60.0

# Seconds for a killed worker to end. One that waits for a disk that does not answer cannot; it is left behind.
_GRACE = 5.0

# What the system says where it has no more of something: processes, memory, open files of this program or of all.
_SHORT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

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
    already known); `reason` is set (it cannot be used, and why). A file with a reason has a `content_hash` only where
    all of it was read: without one, nobody knows whether its content has changed. `ignored` marks files that are no
    images and do not claim to be. `retry` says that another try may end otherwise, `refused_by` that it may under a
    higher limit (such as `max_pixels 1000`), `short` that the machine lacked something, whatever the file. `record` is
    the file as it was when read. `seconds` is the time spent reading, decoding and resizing.
    """

    record: FileRecord
    content_hash: bytes = b""
    pixels: NDArray[np.uint8] | None = None
    facts: ImageFacts | None = None
    reason: str = ""
    ignored: bool = False
    retry: bool = False
    refused_by: str = ""
    short: bool = False
    seconds: float = 0.0


class DecodePool:
    """Worker processes behind `submit`. Use as a context manager; leaving it ends the workers.

    `known` is called, from any thread, with a file's content hash and says whether its pixels can be spared.
    `time_limit` is in seconds, for each file; `memory` in bytes, for all workers together (None: half of what is free
    now). Where it is little, fewer workers run, and images that need much are decoded one at a time. `formats` lists
    the formats that are opened (see `mmsearch.images.formats`).
    """

    def __init__(
        self,
        how: Preprocess,
        *,
        workers: int,
        max_pixels: int,
        known: Callable[[bytes], bool],
        time_limit: float = config.DEFAULT_TIME_LIMIT,
        memory: int | None = None,
        formats: str = known_formats.DEFAULT,
    ) -> None:
        dealt = shares(default_memory() if memory is None else memory, workers, max_pixels)
        # What fails for want of memory that others have taken may do another time.
        is_short = memory is None and dealt.most < memory_limit(max_pixels)
        limits = {"max_pixels": max_pixels, "time_limit": time_limit}
        told = {"preprocess": how.to_json(), "formats": formats, "retry_memory": is_short, **limits}
        self._limits = {**limits, "decode_memory": memory or math.inf}
        self._settings = json.dumps({**told, "memory": dealt.each})
        self._large = json.dumps({**told, "memory": dealt.large}) if dealt.large else self._settings
        self._one_large = threading.Lock()
        self._size = how.size
        self._known = known
        self._time_limit = time_limit
        self._stalls = Stalls()
        self._threads = ThreadPoolExecutor(dealt.workers, thread_name_prefix="decode")
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
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def warm_up(self) -> None:
        """Start a worker before there is anything for it to do."""
        self._threads.submit(self._worker)

    def submit(self, record: FileRecord) -> Future[Decoded]:
        """Decode one file in a worker. The future never raises for a bad file."""
        return self._threads.submit(self._decode, record)

    def _decode(self, record: FileRecord) -> Decoded:
        disk = self._stalls.given_up(record.path)
        if disk:
            reason = f"not tried: {MOST_IN_A_ROW} files on the disk at {disk} took longer than {self._time_limit:g} s"
            return Decoded(record, reason=f"{reason} to read", retry=True)
        try:
            worker = self._worker()
            was_used, worker.is_used = worker.is_used, True
            decoded = self._attempt(worker, record)
            if worker.is_spent and not self._closed:
                if self._large != self._settings:
                    return self._attempt_with_more(record)
                if was_used:  # a file before this one may have left it with a damaged or a full memory
                    return self._attempt(self._worker(), record)
            return decoded
        except OSError as error:  # only starting a process raises it
            reason = f"no worker process could be started ({error.strerror})"
            return Decoded(record, reason=reason, retry=True, short=True)
        except MemoryError:
            return Decoded(record, reason="no worker process could be started (no memory)", retry=True, short=True)
        except Exception as error:  # a fault of ours must cost this file, not the run
            return Decoded(record, reason=unforeseen(error), retry=True)

    def _attempt_with_more(self, record: FileRecord) -> Decoded:
        """Decode a file for which a worker's memory did not do, in a process that has more; one at a time."""
        with self._one_large:
            worker = self._started(self._large)
            try:
                return self._attempt(worker, record)
            finally:
                self._drop(worker)

    def _attempt(self, worker: _Worker, record: FileRecord) -> Decoded:
        worker.content_hash = b""
        try:
            return self._converse(worker, record)
        except TimeoutError:
            self._drop(worker)
            limit = f"took longer than {self._time_limit:g} s"
            if worker.content_hash and not worker.is_stuck:
                refused_by = self._told("time_limit")
                return Decoded(record, worker.content_hash, reason=f"{limit} to decode", refused_by=refused_by)
            self._stalls.add(record.path)
            return Decoded(record, reason=f"{limit} to read", retry=True)
        except (OSError, ValueError, EOFError):
            worker.is_spent = True
            self._drop(worker)
            blamed = worker.died_of_the_file
            return Decoded(record, worker.content_hash, reason=worker.last_words, retry=not blamed, short=not blamed)

    def _converse(self, worker: _Worker, record: FileRecord) -> Decoded:
        worker.wait_until_ready()
        started = time.monotonic()
        answer, _ = worker.ask({"path": record.path, "beneath": record.beneath}, self._time_limit)
        left = self._time_limit - (time.monotonic() - started)
        self._stalls.clear(record.path)
        if "reason" in answer:
            return self._refused(record, b"", answer)
        seen = FileRecord(record.path, *answer["state"])
        content_hash = bytes.fromhex(answer["hash"])
        if self._known(content_hash):
            worker.tell({"pixels": False})
            return Decoded(seen, content_hash, seconds=answer["seconds"])
        worker.content_hash = content_hash
        answer, pixels = worker.ask({"pixels": True}, left)
        if "reason" in answer:
            return self._refused(seen, b"" if answer["torn"] else content_hash, answer)
        return Decoded(seen, content_hash, pixels, ImageFacts(**answer["facts"]), seconds=answer["seconds"])

    def _refused(self, record: FileRecord, content_hash: bytes, answer: dict[str, Any]) -> Decoded:
        return Decoded(
            record,
            content_hash,
            reason=answer["reason"],
            ignored=answer["ignored"],
            retry=answer["retry"],
            refused_by=self._told(answer["limit"]),
            short=answer["errno"] in _SHORT,
        )

    def _told(self, limit: str) -> str:
        """A limit with its value, '' for none."""
        return f"{limit} {self._limits[limit]!r}" if limit else ""

    def _worker(self) -> _Worker:
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is not None and not worker.is_usable:  # ended between two files: neither is to blame
            self._drop(worker)
            worker = None
        if worker is None:
            worker = self._local.worker = self._started(self._settings)
        return worker

    def _started(self, settings: str) -> _Worker:
        worker = _Worker(settings, self._size)
        with self._lock:
            self._workers.add(worker)
            if self._closed:
                worker.kill()
        return worker

    def _drop(self, worker: _Worker) -> None:
        worker.end()
        if getattr(self._local, "worker", None) is worker:
            self._local.worker = None
        with self._lock:
            self._workers.discard(worker)


class _Worker:
    """The pool's end of one worker process. A thread listens to it, so that nothing ever waits for it for good.

    `is_used` and `content_hash`, of the file that it decodes, are the pool's notes. `is_spent` says that it has died or
    run out of memory, `is_stuck` that it could not be ended.
    """

    def __init__(self, settings: str, size: int) -> None:
        """Images in its answers have `size` x `size` pixels. Raises OSError where no process can be started."""
        code = f"import sys; sys.path[:] = {sys.path!r}; from mmsearch.images.worker import work; work()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=-1,
            env=worker_environment(),
            start_new_session=True,  # Ctrl-C is for the main process, which finishes its batch first
        )
        self.is_used = self.is_spent = self.is_stuck = False
        self.content_hash = b""
        self._is_ready = self._is_late = self._is_silent = self._has_ended = False
        self._size = size
        self._answers: SimpleQueue[tuple[dict[str, Any], NDArray[np.uint8] | None] | None] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen, name="decode-answers", daemon=True)
        try:
            self._listener.start()
        except RuntimeError as error:  # all that Python says where the system has no thread to give
            self._process.kill()
            self._process.wait()
            raise OSError(errno.EAGAIN, "no more threads") from error
        with contextlib.suppress(OSError):  # it has ended already, as the first question will show
            self._write(settings)

    @property
    def is_usable(self) -> bool:
        return not self.is_spent and self._process.poll() is None

    @property
    def died_of_the_file(self) -> bool:
        """Whether the same would happen again: not where it had not even begun, nor where the machine (out of memory)
        or a user killed the process."""
        return self._is_ready and self._process.returncode in {-crash for crash in _CRASHES}

    @property
    def last_words(self) -> str:
        """Why the process is gone, in words."""
        status = self._process.returncode
        if self._is_late:
            return f"its decoder was not ready within {_START_LIMIT:g} s"
        if status is None:
            return "its decoder does not answer"
        if status == -9:  # SIGKILL, a name that Windows has not
            return "its decoder was killed (SIGKILL), perhaps because memory ran out"
        if status < 0:
            return f"its decoder crashed ({_signal_name(-status)})"
        return f"its decoder ended early (status {status})"

    def wait_until_ready(self) -> None:
        """Raises `EOFError` where it does not get so far."""
        if self._is_ready:
            return
        try:
            self._receive(_START_LIMIT)
        except TimeoutError as error:
            self._is_late = True
            raise EOFError from error
        self._is_ready = True

    def ask(self, message: dict[str, Any], timeout: float) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        """Its answer, and the pixels if there are any. Raises `TimeoutError` after so many seconds, `EOFError` where
        it has died."""
        self.tell(message)
        return self._receive(timeout)

    def tell(self, message: dict[str, Any]) -> None:
        self._write(json.dumps(message))

    def kill(self) -> None:
        """Let it end; whoever waits for an answer is told so."""
        self._process.kill()
        self._answers.put(None)

    def end(self) -> None:
        """Kill the process if it still runs, and free what it held."""
        if self._has_ended:
            return
        self._has_ended = True
        if not self._is_silent:
            self.kill()
        try:
            self._process.wait(_GRACE)  # one that has closed its output is about to tell why by its status
            self._listener.join(_GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            self.is_stuck = True
            threading.Thread(target=self._process.wait, name="decode-left-behind", daemon=True).start()
        with contextlib.suppress(OSError):  # bytes that it never took are of no use now
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _receive(self, timeout: float) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        try:
            answer = self._answers.get(timeout=max(0.0, timeout))
        except Empty:
            raise TimeoutError from None
        if answer is None:
            raise EOFError
        self.is_spent = bool(answer[0].get("spent"))
        return answer

    def _listen(self) -> None:
        """Pass answers on until the process ends, however it does, or this one cannot take them in."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            with stdout:
                self._pass_on(stdout)
            self._is_silent = True
        except ValueError:  # half a line
            self._is_silent = True
        except (MemoryError, ImportError, OSError):  # no memory for its answer, or for NumPy
            pass
        finally:
            self._answers.put(None)

    def _pass_on(self, stdout: IO[bytes]) -> None:
        import numpy as np

        _widen(stdout, self._size * self._size * 3)
        while (line := stdout.readline()).endswith(b"\n"):
            answer, pixels = json.loads(line), None
            if "facts" in answer:
                pixels = np.empty((self._size, self._size, 3), np.uint8)
                if stdout.readinto(pixels.data.cast("B")) != pixels.nbytes:  # type: ignore[attr-defined]
                    break
            self._answers.put((answer, pixels))

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


def _widen(pipe: IO[bytes], size: int) -> None:
    """Let a pipe hold an answer whole, so that the worker need not take turns with its reader; only Linux can."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size + _LINE_BYTES)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
