"""Unit vectors, whose dot products are cosines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of `vectors`, float32 (n, dim), L2-normalised; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return found
