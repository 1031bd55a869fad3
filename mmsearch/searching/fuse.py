"""Unit vectors that are added up: terms of a question, and the templates of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

# A sum of unit vectors that is shorter than this part of its weights has no direction but that of rounding (float32).
_VANISHING = 1e-5


def fuse(weights: Sequence[float], vectors: Sequence[Vector]) -> Vector:
    """The normalised weighted sum of unit vectors, each float32 (dim,); one alone with a weight over 0 as it is.

    Raises `UsageError` where the sum vanishes.
    """
    if len(vectors) == 1 and weights[0] > 0:
        return vectors[0]
    # Scaled, so that no weight is too large for a float.
    shares = np.asarray(weights, np.float64) / max(abs(weight) for weight in weights)
    total = shares @ np.asarray(vectors, np.float64)
    length = float(np.linalg.norm(total))
    if length < _VANISHING * float(np.abs(shares).sum()):
        raise UsageError("the terms cancel each other out, so nothing is left to look for", "change a weight or a term")
    return (total / length).astype(np.float32)
