"""Compare an index with what the catalog says of it. Reads all of its ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mmsearch.vectors.backend import Covered, Index


def problem(index: Index, told: Covered, wanted: NDArray[np.int64]) -> str | None:
    """What is wrong with an index, in words; None where it covers what it should.

    `wanted` are the ids, ascending, of all contents with an embedding in the range that it covers.
    """
    ids = index.ids()
    if len(ids) != told.count or len(np.unique(ids)) != len(ids):
        return f"it holds {len(ids):,} vectors, the catalog says {told.count:,}"
    if len(ids) and not told.first < ids[0] <= ids[-1] <= told.watermark:
        return "it holds vectors that it should not cover"
    if missing := len(np.setdiff1d(wanted, ids)):
        return f"it lacks {missing:,} images"
    if (gone := len(np.setdiff1d(ids, wanted))) != told.removed:
        return f"{gone:,} of its images are gone, the catalog says {told.removed:,}"
    return None
