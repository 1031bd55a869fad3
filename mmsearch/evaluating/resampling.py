"""How sure a figure is, and whether two models really differ: by resampling queries, whatever their distribution.

Queries that belong together (the captions of one image, and images that share a caption) are drawn together, as units:
they are not independent, and drawing them one by one would make intervals too narrow (Davison & Hinkley, 1997,
"Bootstrap Methods and their Application", section 3.8). The candidates stay the same, so nothing is said about how a
figure would change with more images to choose from. Everything is seeded: the same data give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
DRAWS = 2000
FLIPS = 10_000

# Numbers that are held at a time.
_BLOCK = 4_000_000


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    units: NDArray[np.int64],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The percentile interval of a statistic (Efron & Tibshirani, 1993, "An Introduction to the Bootstrap", ch. 13).

    `units` (n,) has the unit of each query, numbered from 0 without gaps; as many units as there are are drawn with
    replacement, `draws` times. `statistic` is given how often each query was drawn, float64 (b, n) for b draws at a
    time, and returns (b, m). Returns the lower and the upper ends, (m,) each. With few units (under some 20) the
    interval is too narrow; and where every query succeeds it has no width, although of n units up to 3/n might still
    fail (Hanley & Lippman-Hand, 1983, "If Nothing Goes Wrong, Is Everything All Right?").
    """
    rng = np.random.default_rng(seed)
    count = int(units.max()) + 1
    rows = max(1, _BLOCK // max(count, len(units)))
    drawn = []
    for start in range(0, draws, rows):
        block = min(rows, draws - start)
        numbers = rng.integers(count, size=(block, count)) + count * np.arange(block)[:, np.newaxis]
        times = np.bincount(numbers.ravel(), minlength=block * count).reshape(block, count)
        drawn.append(statistic(times[:, units].astype(np.float64)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail], axis=0)
    return low, high


def paired_test(
    differences: NDArray[np.float64], units: NDArray[np.int64], *, flips: int = FLIPS, seed: int = 0
) -> NDArray[np.float64]:
    """Two-sided p-values (m,) of the randomization test for paired results.

    `differences` (n, m) are one model's results minus another's, query by query. If the models were alike, either could
    have given either result: so the sign of each unit's differences is flipped at random, `flips` times, and p is how
    often their sum is then at least as far from 0 as the one observed (Smucker, Allan & Carterette, 2007, "A Comparison
    of Statistical Significance Tests for Information Retrieval Evaluation"), the observed one included, so that p is
    never 0 (Phipson & Smyth, 2010, "Permutation P-values Should Never Be Zero").
    """
    sums = np.zeros((int(units.max()) + 1, differences.shape[1]))
    np.add.at(sums, units, differences)
    observed = np.abs(sums.sum(axis=0))
    rng = np.random.default_rng(seed)
    as_far = np.zeros(differences.shape[1])
    rows = max(1, _BLOCK // len(sums))
    for start in range(0, flips, rows):
        signs = 2.0 * rng.integers(2, size=(min(rows, flips - start), len(sums))) - 1
        # Sums in another order differ in the last bits; what is equal shall count as equal.
        as_far += (np.abs(signs @ sums) >= observed - 1e-9).sum(axis=0)
    return (as_far + 1) / (flips + 1)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values (n,) adjusted for there being several of them (Holm, 1979, "A Simple Sequentially Rejective Procedure").

    Below 0.05 they are significant with a chance of 5 % that any of them is so wrongly.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def linked(groups: Iterable[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """Units of `count` things of which those in a group belong together: int64 (count,), numbered from 0 by the first.

    Groups that share a thing become one unit.
    """
    parents = np.arange(count)

    def root(thing: int) -> int:
        while parents[thing] != thing:
            parents[thing] = parents[parents[thing]]
            thing = int(parents[thing])
        return thing

    for group in groups:
        for thing in group[1:]:
            parents[root(int(thing))] = root(int(group[0]))
    roots = [root(thing) for thing in range(count)]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(found, len(numbers)) for found in roots], np.int64)
