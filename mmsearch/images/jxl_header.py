"""The size of a JPEG XL image, from its header alone.

The JPEG XL plug-in decodes all pixels when it opens a file; this lets the pixel limit be checked before. The layout is
that of ISO/IEC 18181-1 (SizeHeader) and 18181-2 (boxes).
"""

from __future__ import annotations

from typing import IO

from mmsearch.images.boxes import boxes, file_size

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"

_HEADER_BYTES = 16
# Width as a share of the height, by the three-bit ratio field; 0 means that the width is written out.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_LENGTH_BITS = (9, 13, 18, 30)


def is_jxl(prefix: bytes) -> bool:
    """Whether a file's first 12 bytes are those of a JPEG XL file."""
    return prefix.startswith((CODESTREAM, CONTAINER))


def read_size(file: IO[bytes]) -> tuple[int, int] | None:
    """Width and height in pixels as stored, or None where no codestream is found. Leaves `file` at its start."""
    file.seek(0)
    try:
        head = _codestream_head(file)
    finally:
        file.seek(0)
    if not head.startswith(CODESTREAM) or len(head) == len(CODESTREAM):
        return None
    bits = _Bits(head[len(CODESTREAM) :])
    small = bool(bits.take(1))
    height = _length(bits, small)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return _length(bits, small), height


def _length(bits: _Bits, small: bool) -> int:
    if small:
        return (bits.take(5) + 1) * 8
    return bits.take(_LENGTH_BITS[bits.take(2)]) + 1


def _codestream_head(file: IO[bytes]) -> bytes:
    start = file.read(len(CONTAINER))
    if start != CONTAINER:
        return start + file.read(_HEADER_BYTES)
    head = b""
    for box in boxes(file, 0, file_size(file)):
        if len(head) < _HEADER_BYTES and box.kind in {b"jxlc", b"jxlp"}:
            file.seek(box.start + (4 if box.kind == b"jxlp" else 0))  # one of several parts begins with its number
            head += file.read(max(0, min(box.end - file.tell(), _HEADER_BYTES - len(head))))
    return head


class _Bits:
    """Bit fields, least significant first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken
