"""Measure how much of the truth an index finds, and choose how hard it has to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mmsearch.vectors.backend import Index, Parts

# Results that recall is measured over.
TOP = 10

# Candidates that are re-ranked exactly; recall counts what is among them.
CANDIDATES = 100

# recall@10 aimed at on the collection's own vectors. Queries in words lie further from their images than images do from
# each other, so what is found is looked for in twice as many lists as this takes.
TARGET = 0.99
_MARGIN = 2

_LEAST_PROBES = 8


def probes(index: Index, parts: Parts, queries: NDArray[np.float32]) -> int:
    """How many inverted lists a search should look into: enough for `TARGET` on `queries` (n, dim), doubled."""
    truth = nearest(parts, queries)
    tried = _LEAST_PROBES
    while tried < index.lists and recall(truth, index.search(queries, CANDIDATES, probes=tried)) < TARGET:
        tried *= 2
    return min(index.lists, tried * _MARGIN)


def nearest(parts: Parts, queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """Ids (n, TOP) of the exact nearest vectors to each of `queries`, by reading everything once."""
    ids = np.zeros((len(queries), 0), np.int64)
    values = np.zeros((len(queries), 0), np.float32)
    for part, vectors in parts:
        ids = np.concatenate([ids, np.broadcast_to(part, (len(queries), len(part)))], axis=1)
        values = np.concatenate([values, queries @ vectors.T], axis=1)
        kept = np.argsort(-values, axis=1, kind="stable")[:, :TOP]
        ids, values = np.take_along_axis(ids, kept, 1), np.take_along_axis(values, kept, 1)
    return ids


def recall(truth: NDArray[np.int64], found: Sequence[NDArray[np.int64]] | NDArray[np.int64]) -> float:
    """Mean share of each row of `truth` that is in the same row of `found`; 1.0 where there is nothing to find."""
    shares = [
        len(np.intersect1d(row, candidates)) / len(row)
        for row, candidates in zip(truth, found, strict=True)
        if len(row)
    ]
    return float(np.mean(shares)) if shares else 1.0
