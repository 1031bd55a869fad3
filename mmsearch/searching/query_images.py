"""Decode query images as an index run decodes files: in a worker process, within its limits."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.base import config, long_paths
from mmsearch.base.errors import DecodeError, SourceError
from mmsearch.base.records import FileRecord, Preprocess
from mmsearch.images.pool import Decoded, DecodePool
from mmsearch.query.terms import is_url

if TYPE_CHECKING:
    from concurrent.futures import Future

# Bytes that are read from a pipe, whose size nobody knows before.
MOST_BYTES = 1 << 30

# Seconds for all that comes from a pipe: what makes a picture is given as long as what decodes one.
_PIPE_LIMIT = config.DEFAULT_TIME_LIMIT

_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)

# Bytes that a pipe is asked for at a time: as many as one of Linux holds.
_PART = 1 << 16

# A worker reads what is named as an image even where its first bytes do not tell that it is one.
_SUFFIX = ".jpg"


class QueryImages:
    """One worker process, which is started with the first image and kept until `close`."""

    def __init__(self, how: Preprocess, *, max_pixels: int, formats: str) -> None:
        """`formats` are those that the collection opens."""
        self.how = how
        self._formats = formats
        self._max_pixels = max_pixels
        self._pool: DecodePool | None = None

    def start(self) -> None:
        """Start the worker, if it is not running; something else may be done until it is ready."""
        if self._pool is None:
            self._pool = DecodePool(
                self.how, workers=1, max_pixels=self._max_pixels, known=lambda _: False, formats=self._formats
            )
            self._pool.warm_up()

    def decode(self, source: str | bytes, allow_private_urls: bool = False) -> Decoded:
        """The pixels and the content hash of an image by its path, its URL or its bytes.

        Raises `SourceError` where it cannot be read, `DecodeError` where it is no image or passes a limit.
        """
        self.start()
        assert self._pool is not None
        name = "these bytes" if isinstance(source, bytes) else source
        with _file(source, allow_private_urls) as path:
            waiting: Future[Decoded] = self._pool.submit(FileRecord(path, 0, 0))
            decoded = waiting.result()
        if decoded.pixels is None:
            raise DecodeError(f"cannot use {name} as a query: {decoded.reason}", "give a picture that can be opened")
        return decoded

    def close(self) -> None:
        """End the worker."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None


@contextlib.contextmanager
def _file(source: str | bytes, allow_private_urls: bool) -> Iterator[str]:
    """The path of a file with the image's bytes; one of our own is removed afterwards."""
    if not isinstance(source, bytes):
        if is_url(source):
            from mmsearch.images.fetch import fetch

            source = fetch(source, allow_private=allow_private_urls)
        else:
            data = _read_stream(source)
            if data is None:
                yield source
                return
            source = data
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mmsearch-") as folder:  # which only this user may enter
        path = os.path.join(folder, f"query{_SUFFIX}")
        Path(path).write_bytes(source)
        yield path


def _read_stream(path: str) -> bytes | None:
    """All bytes of a pipe, as a shell's `<(...)` makes one; None for a regular file, which the worker reads."""
    try:
        # Without waiting for somebody to open the other end of a pipe, or for a device to be ready.
        descriptor = long_paths.open_descriptor(path, os.O_RDONLY | _NO_WAITING)
        try:
            kind = os.fstat(descriptor).st_mode
            if stat.S_ISREG(kind):
                return None
            if stat.S_ISFIFO(kind) and sys.platform != "win32":
                return _read_pipe(descriptor, path)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    raise _unreadable(path, "it is a folder" if stat.S_ISDIR(kind) else "it is neither a file nor a pipe")


def _read_pipe(descriptor: int, path: str) -> bytes:
    """What comes until the end, within bounds of size and time. Raises `SourceError`."""
    import select

    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    data, ends = bytearray(), time.monotonic() + _PIPE_LIMIT
    while (left := ends - time.monotonic()) > 0 and waiting.poll(left * 1000):
        part = os.read(descriptor, _PART)
        if not part:
            return bytes(data)
        data += part
        if len(data) > MOST_BYTES:
            raise _unreadable(path, f"it gives more than {MOST_BYTES:,} bytes")
    raise _unreadable(path, f"its end did not come within {_PIPE_LIMIT:g} s")


def _unreadable(path: str, why: str) -> SourceError:
    return SourceError(f"cannot read the query image {path}: {why}", "check the path")
