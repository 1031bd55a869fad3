"""A first-in, first-out list on disk, so that a scan may run far ahead of the encoder in constant memory."""

from __future__ import annotations

import json
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from mmsearch.base import shortages
from mmsearch.base.errors import StorageError
from mmsearch.base.records import FileRecord

# Bytes read back at a time: some 500 entries.
_READ_BYTES = 64 * 1024


class Work(NamedTuple):
    """One thing to do: index a file that is new or may have changed, note the ctime and inode of one that is the same,
    or forget one that is gone (size and mtime are 0 then)."""

    kind: Literal["file", "same", "gone"]
    record: FileRecord


class WorkList:
    """Written by one thread, read by another. `close` says that nothing more will come."""

    def __init__(self) -> None:
        with _translated():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `discard`)
        self._changed = threading.Condition()
        self._written = self._read = 0
        self._ready: deque[bytes] = deque()
        self._partial = b""
        self._closed = False

    def put(self, work: Work) -> None:
        file = work.record
        fields = (work.kind, file.path, file.size, file.mtime_ns, file.ctime_ns, file.inode, file.beneath)
        line = json.dumps(fields).encode() + b"\n"
        with self._changed, _translated():
            self._file.seek(self._written)
            self._file.write(line)
            self._written += len(line)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def get(self, timeout: float) -> Work | None:
        """The next entry, or None where none comes within `timeout` seconds."""
        with self._changed:
            if not self._ready and self._read == self._written and not self._closed:
                self._changed.wait(timeout)
            if not self._ready:
                with _translated():
                    self._refill()
            if not self._ready:
                return None
            kind, *fields = json.loads(self._ready.popleft())
            return Work(kind, FileRecord(*fields))

    @property
    def finished(self) -> bool:
        """Whether all has been taken and nothing more will come."""
        with self._changed:
            return self._closed and not self._ready and self._read == self._written

    def discard(self) -> None:
        """Free the file on disk."""
        self._file.close()

    def _refill(self) -> None:
        self._file.seek(self._read)
        chunk = self._file.read(min(_READ_BYTES, self._written - self._read))
        self._read += len(chunk)
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        self._ready.extend(lines)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f", {tempfile.tempdir}," if tempfile.tempdir else ""
        short = shortages.told(error, tempfile.tempdir)
        why, hint = short or (error.strerror or str(error), "free some space")
        hint = hint if short and error.errno not in shortages.FULL else f"{hint}, or set TMPDIR to another folder"
        raise StorageError(f"the folder for temporary files{where} cannot be used: {why}", hint) from error
