"""How well queries find what they should: ranks over all candidates, and the figures made from them.

Scores are exact cosines in float64, rounded to 9 digits so that equal embeddings give equal scores whatever the order
of a sum. **Ties count against us:** a wrong candidate with the same score as a right one is taken to come before it,
so a model that gives everything one score finds nothing. Right candidates among themselves never push each other back.

Definitions, for a query whose right candidates have the positions p1 < p2 < ... < pm, from 1:

- rank: p1. Where an image has several captions, its best-ranked one counts (Karpathy & Fei-Fei, 2015, arXiv:1412.2306,
  section 4.1, whose recall@k and median rank these are).
- recall@k: the share of queries with rank <= k. (Text retrieval calls this success@k or hit rate.)
- median rank: the median of the ranks; 1 is best.
- MRR: the mean of 1 / rank (Voorhees, 1999, "The TREC-8 Question Answering Track Report").
- mAP: the mean over queries of the average precision, (1/m) * sum over i of i / pi (Manning, Raghavan & Schuetze, 2008,
  "Introduction to Information Retrieval", section 8.4). With one right candidate it is the MRR.
- zero-shot top-k: recall@k of images among classes, each with one text (Radford et al., 2021, arXiv:2103.00020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CUTOFFS = (1, 5, 10)

# The figures, in the order of the columns of `per_query`; the median rank is not a mean over queries and comes apart.
MEANS = (*(f"recall@{k}" for k in CUTOFFS), "mrr", "map")
FIGURES = (*(f"recall@{k}" for k in CUTOFFS), "median_rank", "mrr", "map")

# Digits of a cosine that count. Rounding errors of a float64 sum of 1,000 products are some 1e-15.
_DIGITS = 9

# Bytes of one block of scores.
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What n queries found, in their order.

    `ranks` int64 (n,), from 1, of the best right candidate; `average_precisions` float64 (n,). `first` int64 (n,) is
    the candidate that came first (a right one only where its rank is 1), `right` int64 (n,) the best right one;
    `first_scores` and `right_scores` are their cosines, float64 (n,).
    """

    ranks: NDArray[np.int64]
    average_precisions: NDArray[np.float64]
    first: NDArray[np.int64]
    right: NDArray[np.int64]
    first_scores: NDArray[np.float64]
    right_scores: NDArray[np.float64]


def retrieve(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    relevant: Sequence[NDArray[np.int64]],
    distractors: Iterable[NDArray[np.float32]] = (),
) -> Retrieval:
    """Rank all `candidates` (g, dim) for each of `queries` (n, dim). Neither needs to be normalised.

    `relevant` has, for each query, the rows of `candidates` that are right: at least one, none twice. `distractors` are
    further candidates in blocks (b, dim), none of them right; in `first` they count on from g. With no queries all
    arrays are empty. Raises ValueError for a query without a right candidate.
    """
    if len(relevant) != len(queries) or any(len(rows) == 0 for rows in relevant):
        raise ValueError("every query needs at least one right candidate")
    units, targets = _unit(queries), _unit(candidates)
    finds = [_Find() for _ in relevant]
    for start, scores in _blocks(units, targets):
        for row, right, find in zip(scores, relevant[start:], finds[start:], strict=False):
            find.begin(row, right)
    offset = len(candidates)
    for part in distractors:
        others = _unit(part)
        for start, scores in _blocks(units, others):
            for row, find in zip(scores, finds[start:], strict=False):
                find.add(row, offset)
        offset += len(others)
    return Retrieval(
        np.array([find.rank for find in finds], np.int64),
        np.array([find.average_precision for find in finds], np.float64),
        np.array([find.first for find in finds], np.int64),
        np.array([find.right for find in finds], np.int64),
        np.array([find.first_score for find in finds], np.float64),
        np.array([find.right_scores[0] for find in finds], np.float64),
    )


def positions(scores: NDArray[np.float64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions, from 1 and ascending, of the `right` candidates in a ranking by `scores` (g,), ties against us."""
    find = _Find()
    find.begin(scores, right)
    return find.positions


class _Find:
    """One query's search: the scores of its right candidates, best first, and how many wrong ones come before each."""

    def begin(self, scores: NDArray[np.float64], right: NDArray[np.int64]) -> None:
        """Take in the block with the right candidates, whose rows in it are `right`."""
        self.right_scores = np.sort(scores[right])[::-1]
        self.right = int(right[np.argmax(scores[right])])
        self._best_wrong, self._best_wrong_score = -1, -np.inf
        self._rivals = np.zeros(len(right), np.int64)
        wrong = scores.copy()
        wrong[right] = -np.inf
        self.add(wrong, 0)

    def add(self, scores: NDArray[np.float64], offset: int) -> None:
        """Take in a block of wrong candidates, the first of which has the number `offset`."""
        rivals = np.sort(scores[scores >= self.right_scores[-1]])
        if not len(rivals):
            return
        self._rivals += len(rivals) - np.searchsorted(rivals, self.right_scores, side="left")
        if rivals[-1] > self._best_wrong_score:
            self._best_wrong, self._best_wrong_score = offset + int(np.argmax(scores)), float(rivals[-1])

    @property
    def positions(self) -> NDArray[np.int64]:
        return self._rivals + np.arange(1, len(self._rivals) + 1)

    @property
    def rank(self) -> int:
        return int(self._rivals[0]) + 1

    @property
    def first(self) -> int:
        return self.right if self.rank == 1 else self._best_wrong

    @property
    def first_score(self) -> float:
        return max(float(self.right_scores[0]), self._best_wrong_score)

    @property
    def average_precision(self) -> float:
        found = np.arange(1, len(self._rivals) + 1)
        return float(np.mean(found / self.positions))


def per_query(retrieval: Retrieval) -> NDArray[np.float64]:
    """What each query contributes to the figures that are means: float64 (n, 5), columns as in `MEANS`."""
    hits = [retrieval.ranks <= k for k in CUTOFFS]
    return np.stack([*hits, 1 / retrieval.ranks, retrieval.average_precisions], axis=1).astype(np.float64)


class Figures:
    """The figures of a retrieval, float64 (6,) as in `FIGURES`, of all its queries or of samples of them."""

    def __init__(self, retrieval: Retrieval) -> None:
        self._table = per_query(retrieval)
        order = np.argsort(retrieval.ranks, kind="stable")
        self._order, self._ranks = order, retrieval.ranks[order]

    def __call__(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The figures (6,); NaN without queries.

        `weights` (b, n) say how often each query counts in each of b samples, in whole numbers, at least one of them
        over 0; then (b, 6).
        """
        if weights is None:
            return self(np.ones((1, len(self._ranks))))[0] if len(self._ranks) else np.full(len(FIGURES), np.nan)
        totals = weights.sum(axis=1)
        upto = np.cumsum(weights[:, self._order], axis=1)
        middle = [(upto <= half[:, np.newaxis]).sum(axis=1) for half in ((totals - 1) // 2, totals // 2)]
        medians = self._ranks[np.stack(middle)].mean(axis=0)
        means = weights @ self._table / totals[:, np.newaxis]
        return np.insert(means, len(CUTOFFS), medians, axis=1)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of length 1, float64; rows of zeros stay."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return exact / np.where(lengths > 0, lengths, 1)


def _blocks(queries: NDArray[np.float64], candidates: NDArray[np.float64]) -> Iterable[tuple[int, NDArray[np.float64]]]:
    """Scores (rows, g) of some queries at a time, with the number of the first."""
    rows = max(1, _BLOCK_BYTES // (8 * max(1, len(candidates))))
    for start in range(0, len(queries), rows):
        yield start, np.round(queries[start : start + rows] @ candidates.T, _DIGITS)
