"""One writer at a time: a lock file that the operating system releases when its holder ends, however it ends.

Beside the lock lies a note about its holder, for the message that a second writer gives. Nothing relies on it: a note
that was left by a killed process says no more than that there was one.
"""

from __future__ import annotations

import json
import os
import platform
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from mmsearch.base.cleaning import ours, remove_ours
from mmsearch.base.durable import write_private
from mmsearch.base.errors import CollectionBusyError
from mmsearch.base.paths import make_private
from mmsearch.store import trust
from mmsearch.store.connection import CATALOG_NAME, refuse_foreign, translated
from mmsearch.store.database import now
from mmsearch.store.trust import LOCK_NAME as LOCK_NAME

HOLDER_NAME = "writer.json"

_HALF_WRITTEN = re.compile(rf"{re.escape(HOLDER_NAME)}\.[0-9a-f]{{16}}\.tmp")

# Bytes. A note has some 150.
_LARGEST_NOTE = 10_000

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
            remove_ours(self.folder / name, through_links=True)
        self.is_discarded = True


@contextmanager
def writer(folder: Path, command: str = "index", patience: Patience | None = None) -> Iterator[Taken]:
    """Be the collection's only writer; `command` is what others are told. The folder is made if need be.

    Raises `CollectionBusyError`, naming the holder, where there is another for longer than `patience` lasts, and
    `UntrustedError` where others may have written to the folder, `StorageError` where it has the database of another
    program.
    """
    with translated(folder):
        trust.require(folder)  # before SQLite opens anything
        refuse_foreign(folder, is_new=not (folder / LOCK_NAME).exists())
        lock = FileLock(folder / LOCK_NAME, mode=0o600)
        _acquire(lock, folder, patience or Patience())
    taken = Taken(folder)
    try:
        is_noted = _note(folder, command)
        yield taken
    finally:
        with suppress(OSError):
            if is_noted:
                remove_ours(folder / HOLDER_NAME, through_links=True)
        if taken.is_discarded:
            with suppress(OSError):  # somebody else may have put something there
                remove_ours(folder / LOCK_NAME, through_links=True)
                folder.rmdir()
        lock.release()


def holder(folder: Path) -> Holder | None:
    """Who holds the lock, or was killed while it did; None where nothing can be told."""
    note = folder / HOLDER_NAME
    with suppress(OSError, ValueError, TypeError):
        status = note.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_NOTE:
            return Holder(**json.loads(note.read_text("utf-8")))
    return None


def _acquire(lock: FileLock, folder: Path, patience: Patience) -> None:
    deadline = time.monotonic() + patience.seconds
    told = False
    while True:
        make_private(folder)  # again: the other one may have taken it away
        trust.require(folder)
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


def _note(folder: Path, command: str) -> bool:
    """Leave the note; whether that was done. A disk may be full, and a file that is no such note is the user's."""
    note = folder / HOLDER_NAME
    try:
        for left in ours(folder, _HALF_WRITTEN, through_links=True):  # by a process that was killed
            remove_ours(left, through_links=True)
        if os.path.lexists(note) and note.lstat().st_size and holder(folder) is None:
            return False
        write_private(note, json.dumps(asdict(Holder.of_this_process(command))).encode("ascii"))
    except OSError:
        return False
    return True
