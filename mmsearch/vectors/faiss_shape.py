"""Whether an index file is of a kind that mmsearch writes: told from its first bytes, and again once FAISS has read it.

FAISS reads dozens of kinds, each with sizes that it takes from the file. What is none of ours never reaches that code.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from mmsearch.base.errors import StorageError

# A header: kind, width, number of vectors, two numbers without use, whether it is trained, metric (0, inner product).
_HEADER = struct.Struct("<4siqqqBi")
METRIC = 0

# Vectors with ids over float16 codes; inverted lists of scalar codes, whose number and default probes come before their
# centroids, a flat index.
_FLAT, _FLAT_CODES = b"IxM2", b"IxSQ"
_INVERTED, _CENTROIDS, _LISTS = b"IwSq", b"IxFI", struct.Struct("<QQ")
_HEAD_BYTES = 2 * _HEADER.size + _LISTS.size

# Far beyond any model (8,192), and any disk. Products of the two stay within 64 bits.
_MOST_WIDTH = 65_536
_MOST_VECTORS = 10**12


def check_head(path: Path) -> None:
    """Raise `StorageError` for a file that begins otherwise than those that mmsearch writes do; one that is missing is
    left to FAISS to tell."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    kind, dim, count = _header(head)
    if kind == _FLAT:
        inner, wanted, number = head[_HEADER.size :], _FLAT_CODES, count
    else:
        inner, wanted = head[_HEADER.size + _LISTS.size :], _CENTROIDS
        number = _LISTS.unpack_from(head.ljust(_HEAD_BYTES, b"\0"), _HEADER.size)[0]
    if kind not in (_FLAT, _INVERTED) or _header(inner) != (wanted, dim, number):
        raise StorageError(f"cannot open the vector file {path} (its kind is not recognized)")
    if not (0 < dim <= _MOST_WIDTH and 0 <= count <= _MOST_VECTORS and number <= _MOST_VECTORS):
        raise StorageError(f"cannot open the vector file {path} ({count:,} vectors of width {dim:,} are impossible)")


def _header(head: bytes) -> tuple[bytes, int, int]:
    """The kind, the width and the number of vectors; no kind where it is cut off, or has another metric."""
    if len(head) < _HEADER.size:
        return b"", 0, 0
    kind, dim, count, _, _, _, metric = _HEADER.unpack_from(head)
    return (kind if metric == METRIC else b""), dim, count


def check_flat(index: Any, codes: Any) -> None:
    """Raise ValueError for an index with ids, over `codes`, that is not as it was built."""
    kinds = (type(index).__name__, type(codes).__name__)
    if kinds != ("IndexIDMap2", "IndexScalarQuantizer"):
        raise ValueError(f"it is a {kinds[0]} of {kinds[1]}")
    width, count = int(index.d), int(index.ntotal)
    if (codes.d, codes.ntotal, codes.code_size, codes.metric_type) != (width, count, 2 * width, METRIC):
        raise ValueError("its codes do not fit its width and number")
    if codes.codes.size() != 2 * width * count or index.id_map.size() != count:
        raise ValueError("its codes and ids do not fit its number")


def check_inverted(index: Any, centroids: Any) -> None:
    """Raise ValueError for an index of inverted lists, with `centroids`, that is not as it was built."""
    kinds = (type(index).__name__, type(centroids).__name__)
    if kinds != ("IndexIVFScalarQuantizer", "IndexFlatIP"):
        raise ValueError(f"it is a {kinds[0]} with {kinds[1]}")
    width, lists, found = int(index.d), int(index.nlist), index.invlists
    if (centroids.d, centroids.ntotal, index.metric_type) != (width, lists, METRIC):
        raise ValueError("its centroids do not fit its width and number")
    code_bytes = int(index.code_size)
    if code_bytes not in (width, (width + 1) // 2) or (found.nlist, found.code_size) != (lists, code_bytes):
        raise ValueError("its lists do not fit its width and number")
