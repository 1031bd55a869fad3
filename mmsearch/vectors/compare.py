"""Compare a vector file with what the catalog says of it. Reads all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.base.errors import StorageError
from mmsearch.vectors import on_disk
from mmsearch.vectors.faiss_file import VectorIndex


class Described(Protocol):
    """What the catalog says of a vector file; see `mmsearch.store.embeddings.VectorFile`."""

    @property
    def first(self) -> int: ...
    @property
    def watermark(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def removed(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def digest(self) -> str: ...


def problem(path: Path, told: Described, wanted: NDArray[np.int64]) -> str | None:
    """What is wrong with a file, in words; None where it is what it was when it was written, and covers what it should.

    `wanted` are the ids, ascending, of all contents with an embedding in the range that the file covers.
    """
    try:
        on_disk.check(path, told.bytes, None, told.digest)
        index = VectorIndex(path)
    except StorageError as error:
        return error.message
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
