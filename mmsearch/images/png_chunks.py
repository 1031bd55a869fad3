"""A PNG without texts and profiles that are too large: they are not the picture (ISO/IEC 15948, clause 11)."""

from __future__ import annotations

import io
import zlib
from typing import IO

# Bytes, unpacked, that a text or a profile may have, and all together. XMP of editing programs has kilobytes; histories
# and workflows that programs leave have megabytes.
_MOST_BYTES = 1 << 20
_MOST_BYTES_IN_ALL = 16 << 20

_SIGNATURE_BYTES = 8


def is_too_large(error: Exception) -> bool:
    """Whether Pillow has refused a PNG for the size of its texts or of its profile."""
    return isinstance(error, ValueError) and ("MAX_TEXT_CHUNK" in str(error) or "MAX_TEXT_MEMORY" in str(error))


def without_large(file: IO[bytes]) -> IO[bytes]:
    """The same file in memory, without what is too large."""
    file.seek(0)
    kept, left = io.BytesIO(), _MOST_BYTES_IN_ALL
    kept.write(file.read(_SIGNATURE_BYTES))
    while len(header := file.read(8)) == 8:
        rest = file.read(int.from_bytes(header[:4], "big") + 4)  # with the checksum
        size = _size(header[4:], rest[:-4])
        if size <= min(_MOST_BYTES, left):
            left -= size
            kept.write(header + rest)
    kept.seek(0)
    return kept


def _size(kind: bytes, data: bytes) -> int:
    """The size of a text or profile, unpacked; what is no such chunk takes no room."""
    _, _, rest = data.partition(b"\0")
    if kind == b"tEXt":
        return len(data)
    if kind in {b"zTXt", b"iCCP"}:
        return _unpacked(rest[1:])
    if kind == b"iTXt":
        text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        return _unpacked(text) if rest[:1] == b"\1" else len(text)
    return 0


def _unpacked(data: bytes) -> int:
    try:
        return len(zlib.decompressobj().decompress(data, _MOST_BYTES + 1))
    except zlib.error:
        return 0  # Pillow sees to it
