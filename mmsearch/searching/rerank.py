"""Exact scores, from the embeddings in the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.vectors import exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.store.embeddings import Embeddings

    Ids = NDArray[np.int64]
    Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """Content ids (n,) and their exact cosines (n,)."""

    ids: Ids
    scores: NDArray[np.float32]

    def __add__(self, other: Scored) -> Scored:
        return Scored(np.concatenate([self.ids, other.ids]), np.concatenate([self.scores, other.scores]))


def of_candidates(
    catalog: Catalog, stored: StoredEncoder, queries: Sequence[Vector], ids: Sequence[Ids]
) -> tuple[list[Scored], Embeddings]:
    """For each unit vector (dim,) of `queries`, its candidates (one list for all, or one each) that are still in the
    catalog. Also the embeddings that were read for that, by ascending id.
    """
    union = distinct(np.concatenate(ids)) if ids else np.empty(0, np.int64)
    found, vectors = catalog.embeddings.of(stored, union.tolist())
    if len(ids) == 1:
        return [Scored(found, exact.scores(vectors, query)) for query in queries], (found, vectors)
    rows = [places(found, distinct(part))[0] for part in ids]
    scored = [
        Scored(found[part], exact.scores(vectors[part], query)) for part, query in zip(rows, queries, strict=True)
    ]
    return scored, (found, vectors)


def after(
    catalog: Catalog, stored: StoredEncoder, queries: Sequence[Vector], watermark: int, allowed: Ids | None
) -> list[Scored]:
    """For each unit vector (dim,) of `queries`, all allowed contents with ids over `watermark`."""
    scored = [Scored(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    for ids, vectors in catalog.embeddings.after(stored, watermark):
        if allowed is not None:
            kept = np.isin(ids, allowed)
            ids, vectors = ids[kept], vectors[kept]
        scored = [
            before + Scored(ids, exact.scores(vectors, query)) for before, query in zip(scored, queries, strict=True)
        ]
    return scored


def vectors_of(
    catalog: Catalog, stored: StoredEncoder, ids: Ids, read: Embeddings
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The embeddings of those of `ids` (n,) that have one, in their order, and which these are (n,).

    They come from what has been `read`, by ascending id, where all are in it, else from the catalog.
    """
    rows, known = places(read[0], ids)
    if not known.all():  # some are newer than the vector files, or all were compared and few are kept
        read = catalog.embeddings.of(stored, distinct(ids).tolist())
        rows, known = places(read[0], ids)
    return read[1][rows], known


def distinct(ids: Ids) -> Ids:
    """Each once, ascending. As `np.unique`, which imports numpy.ma: 3 % of a cold query's time."""
    ordered = np.sort(ids)
    return ordered[np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))]


def places(ids: Ids, wanted: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where in `ids` (n,), ascending, those of `wanted` (m,) are that are there, and which these are (m,)."""
    found = np.searchsorted(ids, wanted)
    known = np.zeros(len(wanted), np.bool_)
    inside = found < len(ids)
    known[inside] = ids[found[inside]] == wanted[inside]
    return found[known], known
