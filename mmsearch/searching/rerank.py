"""Exact scores, from the embeddings in the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.searching.view import View, distinct, rows_of
from mmsearch.vectors import exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """Content ids (n,) and their exact cosines (n,)."""

    ids: Ids
    scores: NDArray[np.float32]

    def __add__(self, other: Scored) -> Scored:
        return Scored(np.concatenate([self.ids, other.ids]), np.concatenate([self.scores, other.scores]))


def of_candidates(view: View, queries: Sequence[Vector], ids: Sequence[Ids]) -> tuple[list[Scored], View]:
    """For each unit vector (dim,) of `queries`, its candidates (one list for all, or one each) that are still in the
    catalog. Also the view with the embeddings that were read for that.
    """
    view = view.reading(distinct(np.concatenate(ids)) if ids else np.empty(0, np.int64))
    found, vectors = view.read
    if len(ids) == 1:
        return [Scored(found, exact.scores(vectors, query)) for query in queries], view
    rows = [rows_of(found, distinct(part))[0] for part in ids]
    scored = [
        Scored(found[part], exact.scores(vectors[part], query)) for part, query in zip(rows, queries, strict=True)
    ]
    return scored, view


def after(view: View, queries: Sequence[Vector], watermark: int, allowed: Ids | None) -> list[Scored]:
    """For each unit vector (dim,) of `queries`, all allowed contents with ids over `watermark`."""
    scored = [Scored(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    for ids, vectors in view.catalog.embeddings.after(view.encoder, watermark):
        if allowed is not None:
            kept = np.isin(ids, allowed)
            ids, vectors = ids[kept], vectors[kept]
        scored = [
            before + Scored(ids, exact.scores(vectors, query)) for before, query in zip(scored, queries, strict=True)
        ]
    return scored
