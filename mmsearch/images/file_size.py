"""Files that are too large for what their headers say: gigabytes are not read to find out that they are no photo."""

from __future__ import annotations

import io
from typing import IO

from mmsearch.base.errors import MMSearchError
from mmsearch.images import decode

# Size of a file, in bytes for each pixel, over which it is not even read. The largest sample is 8 bytes, the most
# channels that are read are 4; twice as much is left for further pages and previews.
_BYTES_A_PIXEL = 64

# Bytes of a file that are always read, whatever the limit of pixels: that is meant for what is shown, not for pages and
# previews.
_LEAST = 1 << 30

# Bytes that are always read of a file, whatever its header says: photos have videos behind them, and copies of other
# exposures.
_LEAST_FOR_ITS_HEADER = 256 << 20

# Bytes in which a header is looked for. Profiles and previews of megabytes may come before the size.
_HEADER_BYTES = 16 << 20

# Formats of many pictures, which may have any size, or whose header may lie anywhere.
_OF_MANY_PICTURES = frozenset({"TIFF", "PSD", "GIF", "WEBP", "FLI", "DCX", "FITS"})

_TIFF_MARKS = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def refusal(file: IO[bytes], size: int, max_pixels: int) -> str | None:
    """Why a file of `size` bytes is not read. `file` is left at its start."""
    if size > max(_LEAST, _BYTES_A_PIXEL * max_pixels):
        return f"{size:,} bytes are too many for an image of at most {max_pixels:,} pixels"
    if size <= _LEAST_FOR_ITS_HEADER:
        return None
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    file.seek(0)
    try:
        kind, width, height = decode.header(io.BytesIO(head))
    except (MMSearchError, OSError):
        return None if head[:4] in _TIFF_MARKS else f"{size:,} bytes, and no header of an image in the first 16 MB"
    if kind in _OF_MANY_PICTURES or size <= _LEAST_FOR_ITS_HEADER + _BYTES_A_PIXEL * width * height:
        return None
    return f"{size:,} bytes are too many for an image of {width} x {height} pixels"
