"""Intervals and tests against exact answers, other programs' answers, and what they promise about made-up data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.evaluating.resampling import bootstrap, holm, linked, paired_test


def mean_of(values: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda weights: (weights @ values / weights.sum(axis=1))[:, np.newaxis]


def test_an_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(3, 2, size=400)
    low, high = bootstrap(mean_of(values), np.arange(400), draws=4000)
    error = values.std() / np.sqrt(400)
    assert [low[0], high[0]] == pytest.approx([values.mean() - 1.96 * error, values.mean() + 1.96 * error], abs=0.03)


def test_the_seed_decides() -> None:
    values = np.random.default_rng(1).random(30)
    units = np.arange(30)
    first, again, other = (bootstrap(mean_of(values), units, draws=200, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_what_belongs_together_is_drawn_together() -> None:
    """Copies of a query add no certainty: ten of each leave the interval as it was."""
    values = np.random.default_rng(2).random(50)
    alone = bootstrap(mean_of(values), np.arange(50), draws=1000)
    tenfold = bootstrap(mean_of(np.repeat(values, 10)), np.repeat(np.arange(50), 10), draws=1000)
    assert np.allclose(alone, tenfold)
    naive = bootstrap(mean_of(np.repeat(values, 10)), np.arange(500), draws=1000)
    assert (naive[1] - naive[0])[0] < 0.5 * (alone[1] - alone[0])[0]


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for number in range(200):
        values = (rng.random(60) < 0.7).astype(float)
        low, high = bootstrap(mean_of(values), np.arange(60), draws=300, seed=number)
        covered += low[0] <= 0.7 <= high[0]
    assert 0.89 <= covered / 200 <= 0.99


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_p_against_all_flips(differences: list[int]) -> None:
    values = np.array(differences, float)
    sums = [abs(float(values @ np.array(signs))) for signs in product((-1, 1), repeat=len(values))]
    exact = float(np.mean(np.array(sums) >= abs(values.sum()) - 1e-9))
    p = paired_test(values[:, np.newaxis], np.arange(len(values)), flips=4000)
    assert p[0] == pytest.approx(exact, abs=0.04)


def test_p_of_units_by_hand() -> None:
    # Three units with sums 2, 1 and 1: of the eight sign patterns two have |sum| >= 4.
    p = paired_test(np.array([[1.0], [1.0], [1.0], [1.0]]), np.array([0, 0, 1, 2]), flips=20_000)
    assert p[0] == pytest.approx(2 / 8, abs=0.01)


def test_no_difference_is_no_evidence() -> None:
    assert paired_test(np.zeros((20, 3)), np.arange(20), flips=100).tolist() == [1, 1, 1]


def test_a_p_value_is_never_zero() -> None:
    assert paired_test(np.ones((60, 1)), np.arange(60), flips=999)[0] == pytest.approx(1 / 1000)


def test_models_that_are_alike_seldom_seem_to_differ() -> None:
    rng = np.random.default_rng(4)
    found = [
        paired_test((rng.random((40, 1)) < 0.5) * 1.0 - (rng.random((40, 1)) < 0.5), np.arange(40), flips=400)[0]
        for _ in range(300)
    ]
    assert np.mean(np.array(found) < 0.05) <= 0.09


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).normal(size=(30, 2))
    before = paired_test(values, np.arange(30), flips=1000)
    monkeypatch.setattr("mmsearch.evaluating.resampling._BLOCK", 30 * 7)
    assert paired_test(values, np.arange(30), flips=1000) == pytest.approx(before, abs=0.05)


def test_holm_by_hand() -> None:
    # Holm 1979: the smallest times 3, the next times 2, the largest times 1, never falling.
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert holm(np.array([0.02])).tolist() == [0.02]


def test_links_join_groups() -> None:
    groups = [np.array(group) for group in ([0, 2], [3, 4], [2, 5], [1])]
    assert linked(groups, 7).tolist() == [0, 1, 0, 2, 2, 0, 3]
    assert linked([], 3).tolist() == [0, 1, 2]
