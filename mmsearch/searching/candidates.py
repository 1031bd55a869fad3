"""Which contents may be the best matches: from the vector files, and from the catalog where they do not reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base.errors import StorageError
from mmsearch.searching.view import distinct
from mmsearch.store.catalog import Catalog, StoredEncoder, VectorFile
from mmsearch.vectors import indexes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.vectors.backend import Index

# Contents. A folder (or another filter) of up to so many is compared as a whole: 60 ms for 20,000.
EXACT_SUBSET = 20_000

# How many times more lists a filtered search looks into at the most: fewer of what a list holds is allowed.
_MOST_PROBES_FACTOR = 16


class FilesMoved(Exception):  # noqa: N818  (a signal, not an error that a user sees)
    """The vector files that the catalog named have been replaced since; look again."""


class CandidateSource:
    """The open vector files of one encoder, and what of the catalog lies beyond them."""

    def __init__(self, catalog: Catalog, notice: Callable[[str], None]) -> None:
        """`notice` gets one line where a vector file cannot be used; the answer is then right, but slower."""
        self._catalog = catalog
        self._backend = indexes.of(catalog.folder)
        self._notice = notice
        self._open: dict[str, Index] = {}
        self._refused: set[str] = set()
        self._last_try = False

    def refresh(self, stored: StoredEncoder, *, last_try: bool) -> list[tuple[VectorFile, Index]]:
        """Open what the catalog names now. Raises `FilesMoved` for a missing file, unless this is the last try."""
        self._last_try = last_try
        current = self._catalog.vector_files.of(stored.id)
        self._open = {file.name: self._open[file.name] for file in current if file.name in self._open}
        usable = []
        for file in current:
            index = self._open.get(file.name) or self._opened(file, stored.info.dim)
            if index is None:
                break  # what comes after a gap is read from the catalog too
            self._open[file.name] = index
            usable.append((file, index))
        return usable

    def _opened(self, file: VectorFile, dim: int) -> Index | None:
        if file.name in self._refused:
            return None
        try:
            index = self._backend.open(file)
        except StorageError as error:
            if not self._last_try and not (self._catalog.folder / file.name).exists():
                raise FilesMoved from error
            self._refuse(file, error.message)
            return None
        if (index.dim, index.count) != (dim, file.count):
            told = f"{file.count:,} of width {dim:,}"
            self._refuse(file, f"{file.name} has {index.count:,} vectors of width {index.dim:,}, not {told}")
            return None
        return index

    def _refuse(self, file: VectorFile, what: str) -> None:
        self._open.pop(file.name, None)
        self._refused.add(file.name)
        self._notice(f"{what}; searching without it until `mmsearch index` rebuilds it")

    def check(self, usable: list[tuple[VectorFile, Index]], found: Sequence[NDArray[np.int64]], known: int) -> None:
        """Notice ids that name nothing: in their place, files should have given others. Such files are used no more.

        `found` are the ids that they gave to some queries, of which the catalog has `known`: it also lacks those whose
        image is gone, and counts these for each file. Raises `FilesMoved`, unless this is the last try.
        """
        ids = distinct(np.concatenate(found)) if found else np.empty(0, np.int64)
        strays = len(ids) - known - sum(file.removed for file, _ in usable)
        if strays > 0:
            for file, _ in usable:
                self._distrust(file, strays)

    def _distrust(self, file: VectorFile, strays: int) -> None:
        self._refuse(file, f"{file.name} names {strays:,} images that it should not")
        if not self._last_try:
            raise FilesMoved

    def search(
        self,
        usable: list[tuple[VectorFile, Index]],
        vectors: NDArray[np.float32],
        wanted: int,
        allowed: NDArray[np.int64] | None = None,
    ) -> list[NDArray[np.int64]]:
        """About `wanted` content ids for each of the unit `vectors` (n, dim), from all files together."""
        found = []
        for file, index in usable:
            probes = file.probes
            if allowed is not None and len(allowed):
                probes = round(probes * min(_MOST_PROBES_FACTOR, max(1.0, file.count / len(allowed))))
            ids = index.search(vectors, wanted, probes=probes, allowed=allowed)
            strays = (ids != -1) & ((ids <= file.first) | (ids > file.watermark))
            if strays.any():
                ids = np.where(strays, -1, ids)
                self._distrust(file, int(strays.sum()))
            found.append(ids)
        if not found:
            return [np.empty(0, np.int64) for _ in vectors]
        ids = np.concatenate(found, axis=1)
        return [row[row >= 0] for row in ids]


def covered(usable: list[tuple[VectorFile, Index]]) -> tuple[int, int]:
    """Up to which content id the files reach without a gap, and how many vectors they hold."""
    return (usable[-1][0].watermark if usable else 0), sum(index.count for _, index in usable)
