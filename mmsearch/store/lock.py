"""One writer at a time: a lock file that the operating system releases when its holder ends, however it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mmsearch.errors import CollectionBusyError
from mmsearch.store.connection import translated

LOCK_NAME = "writer.lock"
HOLDER_NAME = "writer.json"


@contextmanager
def writer(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Be the collection's only writer. Raises `CollectionBusyError`, naming the holder, after `wait_seconds`."""
    with translated(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME, timeout=wait_seconds, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            raise CollectionBusyError(
                f"another mmsearch{_holder(folder)} is writing to the collection at {folder}", "wait until it has ended"
            ) from None
    holder = folder / HOLDER_NAME
    try:
        with translated(folder):
            holder.write_text(json.dumps({"pid": os.getpid()}))
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        return f" (process {json.loads((folder / HOLDER_NAME).read_text())['pid']})"
    return ""
