"""Exact cosine search with NumPy: the truth that any index is measured against, and the last step of every query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def scores(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines of `vectors` (n, dim), L2-normalised but for rounding, with the unit vector `query` (dim,); float32 (n,).

    Vectors read from float16 are up to 1e-3 off unit length; they are divided by their length, so the result is the
    exact cosine of what is stored.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    cosines: NDArray[np.float32] = (vectors @ query) / np.maximum(lengths, np.float32(1e-12))
    return cosines


def top(ids: NDArray[np.int64], values: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ids with the `k` largest values, best first, and all that tie with the last of them; equal values by id.

    Fewer than `k` where there are fewer.
    """
    if k < len(ids):
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        kept = values >= threshold
        ids, values = ids[kept], values[kept]
    order = np.lexsort((ids, -values))
    return ids[order], values[order]
