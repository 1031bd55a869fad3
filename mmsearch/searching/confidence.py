"""How sure a result is: where its score stands among the scores of questions that it has nothing to do with.

A cosine alone says little: one image is near to everything, one question is near to nothing, and another model has
another scale. So a score s is compared with two samples, as speech recognition does with voices (t-norm: Auckenthaler
and others 2000; their mean, s-norm: Kenny 2010):

    z1 = (s - m1) / d1    m1, d1: mean and deviation of the scores of unrelated questions with this image
    z2 = (s - m2) / d2    m2, d2: mean and deviation of the scores of this question with images of the collection
    z  = (z1 + z2) / 2

The best of N unrelated images reaches z by chance with a probability of at most N Phi(-z / TAIL), Phi being the normal
distribution. Where more images stand out than chance explains, each is the likelier for it (Benjamini and Hochberg
1995): with k images as far out as this one,

    confidence = 1 - min(1, N Phi(-z / TAIL) / k)

So 0.9 says: of ten questions that nothing in the collection answers, nine have no result as good. It says nothing of
how many of the right images come so far, which depends on the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.exact import units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Matrix = NDArray[np.float32]

# Scores have a longer tail than a normal distribution. Fitted to one set (captioned stamps, with the built-in model),
# where one absent subject in ten then gives a result over 0.9; `tests/bench/confidence.py` measures it on another.
TAIL = 1.15

# So many of the best results can make each other likelier.
BEST = 100

# Fewer unrelated questions than this say nothing.
LEAST_QUESTIONS = 8

# Scores of the question with so many average images count as seen, so that few images give no wild deviation.
_PRIOR = 8

# Of m2 and d2, at most what nine in ten unrelated questions have: in a folder of cats, "a cat" is not unremarkable.
_CEILING = 0.9

# Images whose scores with unrelated questions are in memory at once: a megabyte for each thousand.
_BLOCK = 8192

# Cosines over this are of an image with itself, or with its copy.
_SAME = 0.99


@dataclass(frozen=True)
class Background:
    """Unrelated questions, unit vectors (m, dim), and images of the collection, (n, dim), L2-normalised but for
    rounding.

    `whole` says that the images are the whole collection, so that any result is one of them.
    """

    questions: Matrix
    images: Matrix
    whole: bool
    _facts: tuple[float, float, float, float] = field(init=False, default=(0.0, 1.0, math.inf, math.inf))

    def __post_init__(self) -> None:
        scores = self.images @ self.questions.T
        means, spreads = _moments(scores.T)
        kept = scores[scores <= _SAME]
        if len(kept):
            ceilings = _quantile(means, _CEILING), _quantile(spreads, _CEILING)
            average = kept.mean(dtype=np.float64), kept.std(dtype=np.float64)
            object.__setattr__(self, "_facts", (*average, *ceilings))

    @property
    def suffices(self) -> bool:
        """Whether anything can be said by it."""
        return len(self.questions) >= LEAST_QUESTIONS and len(self.images) > 0

    def standing(self, vectors: Matrix, question: Matrix) -> Floats:
        """z of the images `vectors` (k, dim), for the unit vector `question` (dim,); float64 (k,)."""
        return self.standings(vectors, [np.arange(len(vectors))], question[np.newaxis])[0]

    def standings(self, vectors: Matrix, rows: Sequence[NDArray[np.intp]], questions: Matrix) -> list[Floats]:
        """For each of the unit vectors `questions` (q, dim), z of the images `vectors[rows[i]]`; float64 (k_i,)."""
        images = units(vectors)
        blocks = [images[start : start + _BLOCK] @ self.questions.T for start in range(0, len(images), _BLOCK)]
        mean, spread = (np.concatenate(part) for part in zip(*map(_moments, blocks), strict=True))
        found = []
        for part, question, others in zip(rows, questions, (self.images @ questions.T).T, strict=True):
            scores = (images[part] @ question).astype(np.float64)
            by_image = (scores - mean[part]) / np.maximum(spread[part], 1e-6)
            found.append(0.5 * (by_image + self._by_question(scores, others)))
        return found

    def _by_question(self, scores: Floats, others: Matrix) -> Floats:
        """z2 of results with these `scores` (k,), where the images of the collection have the scores `others` (n,)."""
        prior_mean, prior_spread, highest_mean, highest_spread = self._facts
        others = others[others < _SAME]
        count, total, squares = len(others), float(others.sum(dtype=np.float64)), float(others @ others)
        # Where a result is among the images, it is compared with the others.
        left_out = np.where((scores < _SAME) & self.whole & (count > 0), 1.0, 0.0)
        counts = count - left_out
        means = (total - left_out * scores) / np.maximum(counts, 1)
        variances = np.maximum(0.0, (squares - left_out * scores**2) / np.maximum(counts, 1) - means**2)
        weights = counts + _PRIOR
        means = (counts * means + _PRIOR * prior_mean) / weights
        spreads = np.sqrt((counts * variances + _PRIOR * prior_spread**2) / weights)
        spreads = np.maximum(np.minimum(spreads, highest_spread), 1e-6)
        distances: Floats = (scores - np.minimum(means, highest_mean)) / spreads
        return distances


def confidences(standing: Floats, among: int) -> Floats:
    """Confidences, 0 to 1, of results with these z (k,), best score first, that were found among so many images.

    The best `BEST` count as company for each other; which of the results are wanted makes no difference.
    """
    chances = np.array([0.5 * math.erfc(z / TAIL / math.sqrt(2)) for z in standing.tolist()]) * max(1, among)
    best = np.sort(chances[:BEST])
    shares = best / np.arange(1, len(best) + 1)
    shares = np.minimum.accumulate(shares[::-1])[::-1]  # step-up: what holds for a farther one holds for a nearer one
    ranks = np.searchsorted(best, chances, side="right")
    ranked = np.append(shares, np.inf)[np.clip(ranks - 1, 0, len(best))]
    alone = chances / np.maximum(1, ranks)
    found: Floats = 1.0 - np.minimum(1.0, np.where(np.arange(len(chances)) < BEST, ranked, alone))
    return found


def _quantile(values: Floats, share: float) -> float:
    """As `np.quantile`, which imports numpy.ma: 3 % of a cold query's time."""
    return float(np.interp(share * (len(values) - 1), np.arange(len(values)), np.sort(values)))


def _moments(scores: Matrix) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each row, without scores of an image with itself."""
    kept = scores <= _SAME
    if not kept.all():
        scores = np.where(kept, scores, np.float32(0))
    counts = np.maximum(1, kept.sum(axis=1))
    means: Floats = scores.sum(axis=1, dtype=np.float64) / counts
    squares: Floats = np.einsum("ij,ij->i", scores, scores).astype(np.float64) / counts
    return means, np.sqrt(np.maximum(0.0, squares - means**2))
