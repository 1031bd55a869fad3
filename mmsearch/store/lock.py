"""One writer at a time: a lock file that the operating system releases when its holder ends, however it ends.

Beside the lock lies a note about its holder, for the message that a second writer gives. Nothing relies on it: a note
that was left by a killed process says no more than that there was one.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from mmsearch.base.durable import write_private
from mmsearch.base.errors import CollectionBusyError
from mmsearch.base.paths import make_private
from mmsearch.store.connection import CATALOG_NAME, refuse_foreign, translated
from mmsearch.store.database import now

LOCK_NAME = "writer.lock"
HOLDER_NAME = "writer.json"

# Seconds between two tries for a lock that somebody else holds.
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes: what it does (`index`), its process id, since when (UTC, ISO 8601) and on which machine."""

    command: str
    pid: int
    since: str
    host: str

    @classmethod
    def of_this_process(cls, command: str) -> Self:
        return cls(command, os.getpid(), now(), platform.node())

    def __str__(self) -> str:
        where = "" if self.host == platform.node() else f" on {self.host}"
        return f"mmsearch {self.command} (process {self.pid}{where}, since {self.since})"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for another writer: `seconds` (0: not at all), until `stop` is set; `notice` is told once."""

    seconds: float = 0.0
    stop: threading.Event | None = None
    notice: Callable[[str], None] | None = None

    @property
    def is_over(self) -> bool:
        return self.stop is not None and self.stop.is_set()


@dataclass
class Taken:
    """A collection's folder while this process is its only writer."""

    folder: Path
    is_discarded: bool = False

    def discard(self) -> None:
        """Take away the catalog that was made in vain, and at the end the folder, if nothing else is in it."""
        for name in (CATALOG_NAME, f"{CATALOG_NAME}-wal", f"{CATALOG_NAME}-shm"):
            (self.folder / name).unlink(missing_ok=True)
        self.is_discarded = True


@contextmanager
def writer(folder: Path, command: str = "index", patience: Patience | None = None) -> Iterator[Taken]:
    """Be the collection's only writer; `command` is what others are told. The folder is made if need be.

    Raises `CollectionBusyError`, naming the holder, where there is another for longer than `patience` lasts, and
    `StorageError` where the folder has the database of another program.
    """
    with translated(folder):
        refuse_foreign(folder, is_new=not (folder / LOCK_NAME).exists())
        lock = FileLock(folder / LOCK_NAME, mode=0o600)
        _acquire(lock, folder, patience or Patience())
    note, taken = folder / HOLDER_NAME, Taken(folder)
    try:
        with suppress(OSError):  # a disk may be full; the note is no more than a courtesy
            write_private(note, json.dumps(asdict(Holder.of_this_process(command))).encode("ascii"))
        yield taken
    finally:
        with suppress(OSError):
            for left in folder.glob(f"{HOLDER_NAME}*"):  # and what a writer that was killed left of its own
                left.unlink(missing_ok=True)
        if taken.is_discarded:
            with suppress(OSError):  # somebody else may have put something there
                (folder / LOCK_NAME).unlink(missing_ok=True)
                folder.rmdir()
        lock.release()


def holder(folder: Path) -> Holder | None:
    """Who holds the lock, or was killed while it did; None where nothing can be told."""
    with suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads((folder / HOLDER_NAME).read_text("utf-8")))
    return None


def _acquire(lock: FileLock, folder: Path, patience: Patience) -> None:
    deadline = time.monotonic() + patience.seconds
    told = False
    while True:
        make_private(folder)  # again: the other one may have taken it away
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            if time.monotonic() >= deadline or patience.is_over:
                raise _busy(folder) from None
        if not told and patience.notice:
            patience.notice(f"waiting for {holder(folder) or 'another mmsearch'}, which is writing to {folder}")
            told = True
        time.sleep(min(_POLL, max(0.0, deadline - time.monotonic())))


def _busy(folder: Path) -> CollectionBusyError:
    return CollectionBusyError(
        f"the collection at {folder} is being written to by {holder(folder) or 'another mmsearch'}",
        "wait until it is done, or give --wait SECONDS",
    )
