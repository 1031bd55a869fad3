"""Boxes of the ISO base media file format (ISO/IEC 14496-12): what HEIF, JPEG 2000 and JPEG XL are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

# Boxes of one level that are looked at. No picture has as many; a hostile file may have millions.
_MOST = 1000

# Bytes of one box that are read: facts about a photo take kilobytes.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Box:
    """A box of this kind (4 bytes); its content lies from `start` to `end` in the file, which may be cut short."""

    kind: bytes
    start: int
    end: int

    def read(self, file: IO[bytes]) -> bytes:
        """The content, up to a megabyte of it."""
        file.seek(self.start)
        return file.read(min(self.end - self.start, _MOST_BYTES))


def boxes(file: IO[bytes], start: int, end: int) -> Iterator[Box]:
    """The boxes of one level between two offsets, in order, as far as they can be told."""
    for _ in range(_MOST):
        file.seek(start)
        header = file.read(8)
        if start >= end or len(header) < 8:
            return
        size, kind, begins = int.from_bytes(header[:4], "big"), header[4:], start + 8
        if size == 1:  # it is written behind, in 8 bytes
            size, begins = int.from_bytes(file.read(8), "big"), start + 16
        ends = start + size if size else end  # 0: to the end of the file
        if ends < begins:
            return
        yield Box(kind, begins, min(ends, end))
        start = ends


def file_size(file: IO[bytes]) -> int:
    """The size of a seekable file, in bytes."""
    return file.seek(0, os.SEEK_END)
