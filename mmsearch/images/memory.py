"""How much memory the processes that decode images may take."""

from __future__ import annotations

import contextlib
import os

# Memory of a worker, in bytes for each pixel of the limit. Of all formats and sample types, transparent WebP takes the
# most for an image that is decoded in full (21 bytes a pixel), a JPEG XL of floating-point samples 18; half as much
# again is left for what allocators waste.
_BYTES_A_PIXEL = 32

# Bytes of memory for all else: Python, Pillow and the codecs take 100 MB.
_BASE_BYTES = 512 << 20


def memory_limit(max_pixels: int) -> int:
    """Bytes that a worker may allocate: enough for any image of `max_pixels`, and no more than the machine has."""
    limit = _BASE_BYTES + _BYTES_A_PIXEL * max_pixels
    with contextlib.suppress(AttributeError, ValueError, OSError):
        limit = min(limit, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return limit


def shares(memory: int | None, workers: int, max_pixels: int) -> tuple[int, int]:
    """How many of `workers` may run, and the bytes of each, so that they take no more than `memory` bytes together.

    Rather fewer workers than such as cannot decode an image of `max_pixels`; where `memory` is too little even for
    one, that one gets all of it. None is no bound on the sum.
    """
    each = memory_limit(max_pixels)
    if memory is None:
        return workers, each
    return max(1, min(workers, memory // each)), min(each, memory)
