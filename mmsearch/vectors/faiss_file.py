"""FAISS index files: build, open, search. The only file that imports faiss, but for `clusters.py`.

A file is derived from the catalog and can be made again at any time. Ids are content ids (int64); the metric is the
inner product of L2-normalised vectors, which is the cosine.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.base.durable import open_to_write, sync
from mmsearch.base.errors import StorageError
from mmsearch.vectors import clusters, compare, faiss_shape, kinds, on_disk
from mmsearch.vectors.kinds import Kind
from mmsearch.vectors.on_disk import PREFIX, SUFFIX, digest

if TYPE_CHECKING:
    from mmsearch.vectors.backend import Built, Covered, Parts

# Vectors that train the scalar quantiser, which learns no more than each dimension's range.
_MOST_TRAINING_CODES = 65_536

_ID_BYTES = 8

# Bytes. Files up to this size are checked as a whole when they are opened, in some 30 ms; of larger ones the head is.
_WHOLE_HEAD = 32_000_000


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A complete index file. `head_bytes` is the size of what comes before codes and ids: headers, centroids, sizes."""

    name: str
    count: int
    bytes: int
    head_bytes: int
    head_digest: str
    digest: str


def build(
    folder: Path,
    dim: int,
    kind: Kind,
    parts: Parts,
    sample: Callable[[int], NDArray[np.float32]] | None = None,
) -> BuiltFile:
    """Write a new index file into `folder` from `parts`.

    `flat` keeps float16 codes, exact but for the rounding that the catalog's embeddings already have. The others keep
    inverted lists of scalar-quantised codes; they are trained on `sample(n)`, about n of the vectors. The file is
    complete on disk when this returns (temporary name, fsync, rename), and never has the name of an older one.
    """
    index = _Flat(dim) if kind.name == "flat" else _Inverted(dim, kind, sample)
    for ids, vectors in parts:
        index.add(ids, vectors)
    name = f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
    temporary = folder / f"{name}.tmp"
    try:
        os.close(open_to_write(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        index.write(temporary)
        sync(temporary)
        built = _described(temporary, name, index)
        temporary.replace(folder / name)
        sync(folder)
    except (RuntimeError, OSError) as error:
        temporary.unlink(missing_ok=True)
        message = f"cannot write the vector file in {folder} ({_short(error)})"
        raise StorageError(message, "the catalog is intact; run the command again") from error
    return built


def _described(path: Path, name: str, index: _Builder) -> BuiltFile:
    size = path.stat().st_size
    payload = index.count * index.bytes_each if size > _WHOLE_HEAD else 0
    head = size - payload
    return BuiltFile(name, index.count, size, head, digest(path, head), digest(path))


class _Builder:
    """What the builders of all kinds share: a FAISS index that grows and is written."""

    _index: Any
    bytes_each: int

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    def write(self, path: Path) -> None:
        import faiss

        with _named_for_faiss(path, os.O_RDWR) as name:
            faiss.write_index(self._index, name)


class _Flat(_Builder):
    def __init__(self, dim: int) -> None:
        import faiss

        codes = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._index = faiss.IndexIDMap2(codes)
        self.bytes_each = int(codes.code_size) + _ID_BYTES

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self._index.add_with_ids(vectors, ids)


class _Inverted(_Builder):
    """Inverted lists, whose centroids come from two-level k-means."""

    def __init__(self, dim: int, kind: Kind, sample: Callable[[int], NDArray[np.float32]] | None) -> None:
        import faiss

        assert sample is not None
        training = sample(kind.lists * kinds.TRAINING_A_LIST)
        self._clusters = clusters.train(training, kind.lists)
        centroids = self._clusters.centroids
        quantizer = faiss.IndexFlatIP(dim)
        quantizer.add(centroids)
        bits = faiss.ScalarQuantizer.QT_8bit if kind.name == "ivf-sq8" else faiss.ScalarQuantizer.QT_4bit
        self._index = faiss.IndexIVFScalarQuantizer(quantizer, dim, len(centroids), bits, faiss.METRIC_INNER_PRODUCT)
        self.bytes_each = int(self._index.code_size) + _ID_BYTES
        self._quantizer = quantizer  # the index refers to it without owning it
        self._index.train(training[:: max(1, len(training) // _MOST_TRAINING_CODES)])

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        import faiss

        lists = self._clusters.assign(vectors)
        vectors, ids = np.ascontiguousarray(vectors), np.ascontiguousarray(ids)
        self._index.add_core(len(ids), faiss.swig_ptr(vectors), faiss.swig_ptr(ids), faiss.swig_ptr(lists))


class VectorIndex:
    """An open index file, memory-mapped and read-only."""

    def __init__(
        self, path: Path, *, size: int | None = None, head_bytes: int | None = None, head_digest: str | None = None
    ) -> None:
        """Open a file that `build` wrote. Raises `StorageError` where it is missing or damaged.

        Damage is told by the file's size and the digest of its head, as `BuiltFile` has them; a flipped bit in a code
        costs at most a candidate, since scores come from the catalog.
        """
        import faiss

        on_disk.check(path, size, head_bytes, head_digest)
        # IO_FLAG_MMAP maps inverted lists only; a flat index would be read into memory.
        mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        try:
            faiss_shape.check_head(path)
            with _named_for_faiss(path, os.O_RDONLY) as name:
                index: Any = faiss.read_index(name, mapped)
            self._index, self._is_inverted = index, hasattr(index, "nlist")
            if self._is_inverted:
                faiss_shape.check_inverted(index, faiss.downcast_index(index.quantizer))
            else:
                faiss_shape.check_flat(index, faiss.downcast_index(index.index))
        except (RuntimeError, ValueError, AttributeError, OSError, MemoryError) as error:
            raise StorageError(f"cannot open the vector file {path} ({_short(error)})") from error

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        return int(self._index.d)

    @property
    def lists(self) -> int:
        """The number of inverted lists, 0 for a flat index."""
        return int(self._index.nlist) if self._is_inverted else 0

    def ids(self) -> NDArray[np.int64]:
        """The content ids of all vectors (count,), ascending. Reads every id in the file."""
        import faiss

        if not self._is_inverted:
            return np.sort(faiss.vector_to_array(self._index.id_map))
        lists = self._index.invlists
        parts = [np.empty(0, np.int64)]
        for number in range(self.lists):
            if size := lists.list_size(number):
                ids = lists.get_ids(number)
                parts.append(faiss.rev_swig_ptr(ids, size).copy())
                lists.release_ids(number, ids)
        return np.sort(np.concatenate(parts))

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        probes: int = 0,
        allowed: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Ids (n, k) of the about `k` nearest vectors to each of `queries` (n, dim), best first, -1 where there are
        fewer.

        `probes` is how many inverted lists are looked into (more cost time and find more); a flat index looks at
        everything. `allowed`, ascending ids, restricts the search to them.
        """
        if not self.count:
            return np.empty((len(queries), 0), np.int64)
        import faiss

        parameters: Any = faiss.SearchParameters()
        if self._is_inverted:
            parameters = faiss.SearchParametersIVF()
            parameters.nprobe = max(1, min(probes, self.lists))
        if allowed is not None:
            bits = np.zeros(int(allowed[-1]) + 1 if len(allowed) else 1, bool)
            bits[allowed] = True
            packed = np.packbits(bits, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(packed), faiss.swig_ptr(packed))
            parameters.sel = selector
        _, ids = self._index.search(queries, min(k, self.count), params=parameters)
        found: NDArray[np.int64] = ids
        return found


class FaissFiles:
    """The FAISS files of the collection in `folder`: a `mmsearch.vectors.backend.Backend`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(
        self, dim: int, kind: Kind, parts: Parts, sample: Callable[[int], NDArray[np.float32]] | None = None
    ) -> BuiltFile:
        """Write a new file; see `build` of this module."""
        return build(self._folder, dim, kind, parts, sample)

    def open(self, built: Built) -> VectorIndex:
        """Open a file; see `VectorIndex`."""
        path = self._path(built)
        return VectorIndex(path, size=built.bytes, head_bytes=built.head_bytes, head_digest=built.head_digest)

    def check(self, built: Built) -> None:
        """Raise `StorageError` where a file is missing, has another size, or its head another digest."""
        on_disk.check(self._path(built), built.bytes, built.head_bytes, built.head_digest)

    def problem(self, covered: Covered, wanted: NDArray[np.int64]) -> str | None:
        """What is wrong with a file, every byte of it read, in words; None where it holds what it should."""
        try:
            path = self._path(covered)
            on_disk.check(path, covered.bytes, None, covered.digest)
            index = VectorIndex(path)
        except StorageError as error:
            return error.message
        return compare.problem(index, covered, wanted)

    def _path(self, built: Built) -> Path:
        """Where a file lies, which is in this folder whatever a damaged catalog says. Raises `StorageError`."""
        if not on_disk.is_ours(built.name):
            raise StorageError(f"the catalog names {built.name!r}, which is not a vector file")
        return self._folder / built.name

    def others(self, keep: Iterable[str]) -> list[Path]:
        """Files that are not to be kept, finished or not, by name."""
        return on_disk.others(self._folder, keep)

    def remove_others(self, keep: Iterable[str]) -> None:
        """Delete them. A reader that has one open keeps it."""
        on_disk.remove_others(self._folder, keep)


@contextmanager
def _named_for_faiss(path: Path, flags: int) -> Iterator[str]:
    """A name of the file that FAISS can open: it takes UTF-8 only, a folder's name may be any bytes."""
    name = os.fsencode(path).decode("utf-8", "replace")
    if name == str(path):
        yield name
        return
    descriptor = os.open(path, os.O_RDONLY) if flags == os.O_RDONLY else open_to_write(path, flags)
    try:
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _short(error: Exception) -> str:
    """FAISS's messages carry a C++ function, a source position and a condition before the point."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^Error in .*\.cpp:\d+: (Error: '.*' failed: )?", "", text)
