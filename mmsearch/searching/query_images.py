"""Decode query images as an index run decodes files: in a worker process, within its limits."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.base.errors import DecodeError, SourceError
from mmsearch.base.records import FileRecord, Preprocess
from mmsearch.images.pool import Decoded, DecodePool
from mmsearch.query.terms import is_url

if TYPE_CHECKING:
    from concurrent.futures import Future

# Bytes that are read from a pipe or another file of no known size.
_MOST_BYTES = 1 << 30

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
        with open(path, "rb") as file:  # noqa: PTH123
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"cannot read the query image {path}: {why}", "check the path") from error
    if len(data) > _MOST_BYTES:
        raise SourceError(f"cannot read the query image {path}: over {_MOST_BYTES:,} bytes", "check the path")
    return data
