"""FAISS index files: build, open, search. The only place that imports faiss.

A file is derived from the catalog and can be made again at any time. Ids are content ids (int64); the metric is the
inner product of L2-normalised vectors, which is the cosine.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import StorageError

PREFIX = "vectors-"
SUFFIX = ".faiss"


def build(folder: Path, dim: int, parts: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> tuple[str, int]:
    """Write a new index file into `folder` from parts of ids (n,) and vectors (n, dim); returns its name and its count.

    The index is flat with float16 codes: exact but for the rounding that the catalog's embeddings already have. The
    file is complete on disk when this returns (temporary name, fsync, rename), and never has the name of an older one.
    """
    import faiss

    codes = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexIDMap2(codes)
    for ids, vectors in parts:
        index.add_with_ids(vectors, ids)
    name = f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
    temporary = folder / f"{name}.tmp"
    try:
        faiss.write_index(index, str(temporary))
        temporary.chmod(0o600)
        _sync(temporary)
        temporary.replace(folder / name)
        _sync(folder)
    except (RuntimeError, OSError) as error:
        temporary.unlink(missing_ok=True)
        message = f"cannot write the vector file in {folder} ({_short(error)})"
        raise StorageError(message, "the catalog is whole; run the command again") from error
    return name, int(index.ntotal)


class VectorIndex:
    """An open index file, memory-mapped and read-only."""

    def __init__(self, path: Path) -> None:
        """Open a file that `build` wrote. Raises `StorageError` where it is missing or damaged."""
        import faiss

        try:
            self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            raise StorageError(f"cannot open the vector file {path} ({_short(error)})") from error

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        return int(self._index.d)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Ids of the (about) `k` nearest vectors to `query` (dim,), best first; at most `count`."""
        _, ids = self._index.search(query[np.newaxis, :], min(k, self.count))
        found: NDArray[np.int64] = ids[0]
        return found[found >= 0]


def remove_others(folder: Path, keep: str | None) -> None:
    """Delete index files that the catalog no longer names, and unfinished ones. A reader that has one open keeps it."""
    for path in folder.glob(f"{PREFIX}*"):
        if path.name != keep:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _short(error: Exception) -> str:
    """FAISS's messages carry C++ source positions before the point."""
    return str(error).strip().splitlines()[-1][-160:] if str(error) else type(error).__name__
