"""How much memory the processes that decode images may take."""

from __future__ import annotations

from dataclasses import dataclass

from mmsearch.base.free_memory import free_memory, physical_memory

# Memory of a worker, in bytes for each pixel of the limit. Of all formats and sample types, transparent WebP takes the
# most for an image that is decoded in full (21 bytes a pixel), a JPEG XL of floating-point samples 18; half as much
# again is left for what allocators waste.
_BYTES_A_PIXEL = 32

# Bytes of memory for all else: Python, Pillow and the codecs take 100 MB.
_BASE_BYTES = 512 << 20

# Bytes below which another worker does not pay. A photo of 24 megapixels takes a worker 80 to 95 MB as JPEG, 110 MB as
# PNG, 200 to 235 MB as HEIC, JPEG XL or AVIF; 390 to 470 MB as WebP or JPEG 2000, which then waits for the large share.
_LEAST_SHARE = 256 << 20

# The share of the free memory that workers take together where the user sets no limit: the model and others need some.
_DEFAULT_SHARE = 2


@dataclass(frozen=True, slots=True)
class Shares:
    """How the memory of decoding is dealt out: `workers` of them may take `each` bytes, and one more at a time `large`.

    The last is for images that need more than `each`; 0 where `each` is as much as there is for any image.
    """

    workers: int
    each: int
    large: int = 0

    @property
    def most(self) -> int:
        """Bytes that an image may take."""
        return max(self.each, self.large)


def memory_limit(max_pixels: int) -> int:
    """Bytes that a worker may allocate: enough for any image of `max_pixels`, and no more than the machine has."""
    limit = _BASE_BYTES + _BYTES_A_PIXEL * max_pixels
    return min(limit, physical_memory() or limit)


def default_memory() -> int | None:
    """Bytes for all workers together where the user sets no limit: half of what is free now, but enough for one.

    None where the system does not tell what is free.
    """
    free = free_memory()
    return None if free is None else max(_LEAST_SHARE, free // _DEFAULT_SHARE)


def shares(memory: int | None, workers: int, max_pixels: int) -> Shares:
    """Deal out `memory` bytes (None: no bound on the sum) to at most `workers`.

    Few images need much. Where there is not enough for each worker to decode an image of `max_pixels`, half of it, or
    what such an image needs, is for one at a time, and the workers share the rest.
    """
    full = memory_limit(max_pixels)
    if memory is None or memory >= full * workers:
        return Shares(workers, full)
    if workers == 1 or memory < 4 * _LEAST_SHARE:  # one large share, and two small ones
        return Shares(1, min(full, memory))
    large = min(full, memory // 2)
    rest = memory - large
    count = min(workers, rest // _LEAST_SHARE)
    each = min(full, rest // count)
    return Shares(count, each, large if large > each else 0)
