"""Near-duplicates: of pictures that look the same to the model, the best match stands for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.exact import units

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fold(vectors: NDArray[np.float32], least: float) -> NDArray[np.intp]:
    """For each of `vectors` (n, dim), best match first, the row that stands for it; intp (n,).

    Greedy: a row stands for itself unless it has a cosine of `least` or more with one before it that does; then the
    first such stands for it. So no two that stand for themselves are near-duplicates.
    """
    directions = units(vectors)
    stands = np.empty(len(directions), np.intp)
    kept = np.empty_like(directions)
    rows: list[int] = []
    for row, unit in enumerate(directions):
        near = np.flatnonzero(kept[: len(rows)] @ unit >= least - 1e-6)  # 1e-6: the rounding of float32
        if len(near):
            stands[row] = rows[near[0]]
        else:
            kept[len(rows)] = unit
            rows.append(row)
            stands[row] = row
    return stands
