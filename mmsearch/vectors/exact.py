"""Exact cosine search with NumPy: the truth that any index is measured against, and the last step of every query.

Unit vectors are L2-normalised: their dot products are cosines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
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


def units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of `vectors`, float32 (n, dim), L2-normalised; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return found
