"""Ranks and figures against hand-computed cases, scikit-learn, and a plain search that looks at every candidate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, top_k_accuracy_score

from mmsearch.evaluating.metrics import FIGURES, MEANS, Figures, Retrieval, per_query, positions, retrieve


def rows(*numbers: list[int]) -> list[NDArray[np.int64]]:
    return [np.array(row, np.int64) for row in numbers]


def named(retrieval: Retrieval) -> dict[str, float]:
    return dict(zip(FIGURES, Figures(retrieval)().tolist(), strict=True))


def with_scores(scores: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Queries and candidates, each of length 1, whose cosines are half of these scores (-1 to 1)."""
    queries = np.hstack([scores / 2, np.zeros((len(scores), 1))])
    queries[:, -1] = np.sqrt(np.maximum(0, 1 - (queries**2).sum(axis=1)))
    candidates = np.hstack([np.eye(scores.shape[1]), np.zeros((scores.shape[1], 1))])
    return queries.astype(np.float32), candidates.astype(np.float32)


def test_a_case_by_hand() -> None:
    # Three queries among four candidates. Query 0: right 0 comes first. Query 1: right 0 and 3, which come second and
    # fourth. Query 2: right 2 comes third.
    scores = np.array([[0.9, 0.1, 0.2, 0.3], [0.5, 0.6, 0.4, 0.1], [0.5, 0.6, 0.3, 0.1]])
    found = retrieve(*with_scores(scores), rows([0], [0, 3], [2]))
    assert found.ranks.tolist() == [1, 2, 3]
    assert found.average_precisions.tolist() == pytest.approx([1, (1 / 2 + 2 / 4) / 2, 1 / 3])
    assert found.first.tolist() == [0, 1, 1] and found.right.tolist() == [0, 0, 2]
    assert found.right_scores.tolist() == pytest.approx([0.45, 0.25, 0.15], abs=1e-6)
    assert found.first_scores.tolist() == pytest.approx([0.45, 0.3, 0.3], abs=1e-6)
    assert named(found) == pytest.approx(
        {
            "recall@1": 1 / 3,
            "recall@5": 1,
            "recall@10": 1,
            "median_rank": 2,
            "mrr": (1 + 1 / 2 + 1 / 3) / 3,
            "map": (1 + 1 / 2 + 1 / 3) / 3,
        }
    )


def test_ties_count_against_us() -> None:
    scores = np.array([0.5, 0.5, 0.5, 0.1])
    assert positions(scores, np.array([0])).tolist() == [3]
    assert positions(scores, np.array([0, 1])).tolist() == [2, 3], "right ones do not push each other back"
    assert positions(scores, np.array([0, 1, 2])).tolist() == [1, 2, 3]
    alike = np.ones((5, 8), np.float32)
    found = retrieve(alike, np.ones((40, 8), np.float32), rows(*[[n] for n in range(5)]))
    assert found.ranks.tolist() == [40] * 5 and all(found.first != np.arange(5))
    assert named(found)["recall@10"] == 0


def test_equal_embeddings_tie_wherever_they_stand() -> None:
    """However a matrix product sums them up."""
    rng = np.random.default_rng(5)
    gallery = np.repeat(rng.normal(size=(1, 384)), 997, axis=0).astype(np.float32)
    found = retrieve(rng.normal(size=(7, 384)).astype(np.float32), gallery, rows(*[[n * 100] for n in range(7)]))
    assert found.ranks.tolist() == [997] * 7


def brute_force(scores: NDArray[np.float64], right: set[int]) -> list[int]:
    """Positions of the right ones, of a sort in which wrong ones come first among equals."""
    order = sorted(range(len(scores)), key=lambda number: (-scores[number], number in right))
    return [place for place, number in enumerate(order, 1) if number in right]


@given(st.data())
def test_against_a_plain_sort(data: st.DataObject) -> None:
    scores = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=1, max_size=12))) / 4.0
    right = data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1))
    assert positions(scores, np.array(sorted(right))).tolist() == brute_force(scores, right)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_against_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = (rng.normal(size=(count, 6)).astype(np.float32) for count in (9, 30))
    relevant = rows(*[rng.choice(30, size=rng.integers(1, 5), replace=False).tolist() for _ in range(9)])
    found = retrieve(queries, gallery, relevant)
    lengths = [np.linalg.norm(vectors.astype(np.float64), axis=1) for vectors in (queries, gallery)]
    scores = queries.astype(np.float64) @ gallery.T / np.outer(*lengths)
    truth = np.zeros((9, 30), int)
    for row, right in zip(truth, relevant, strict=True):
        row[right] = 1
    precisions = [average_precision_score(row, score) for row, score in zip(truth, scores, strict=True)]
    assert found.average_precisions.tolist() == pytest.approx(precisions)
    # With the best right candidate alone as the truth, label ranking precision is the reciprocal rank.
    best = np.zeros_like(truth)
    for row, right, score in zip(best, relevant, scores, strict=True):
        row[right[np.argmax(score[right])]] = 1
    others = np.where((truth == 1) & (best == 0), -9.0, scores)
    assert named(found)["mrr"] == pytest.approx(label_ranking_average_precision_score(best, others))
    labels = best.argmax(axis=1)
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(labels, others, k=k, labels=range(30))
        assert named(found)[f"recall@{k}"] == pytest.approx(expected)


@given(st.integers(0, 1000))
def test_distractors_are_further_candidates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few different values, so that there are ties.
    queries, gallery = (rng.integers(-1, 2, size=(count, 3)).astype(np.float32) for count in (8, 40))
    relevant = rows(*[rng.choice(10, size=rng.integers(1, 4), replace=False).tolist() for _ in range(8)])
    whole = retrieve(queries, gallery, relevant)
    parts = retrieve(queries, gallery[:10], relevant, [gallery[10:11], gallery[11:11], gallery[11:]])
    assert parts.ranks.tolist() == whole.ranks.tolist()
    assert parts.average_precisions.tolist() == whole.average_precisions.tolist()
    assert parts.first_scores.tolist() == whole.first_scores.tolist()
    assert parts.first.tolist() == whole.first.tolist()


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    queries, gallery = rng.normal(size=(20, 5)).astype(np.float32), rng.normal(size=(50, 5)).astype(np.float32)
    relevant = rows(*[[n] for n in range(20)])
    before = retrieve(queries, gallery[:30], relevant, [gallery[30:]])
    monkeypatch.setattr("mmsearch.evaluating.metrics._BLOCK_BYTES", 8 * 50 * 3)
    for found in (retrieve(queries, gallery, relevant), retrieve(queries, gallery[:30], relevant, [gallery[30:]])):
        assert found.ranks.tolist() == before.ranks.tolist()
        assert found.first.tolist() == before.first.tolist()


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=9).filter(
        lambda x: any(w for _, w in x)
    )
)
def test_weights_are_repetitions(drawn: list[tuple[int, int]]) -> None:
    ranks, weights = np.array([rank for rank, _ in drawn]), np.array([float(weight) for _, weight in drawn])
    zeros = np.zeros(len(ranks))
    weighed = Figures(Retrieval(ranks, 1 / ranks, ranks, ranks, zeros, zeros))(weights[np.newaxis])[0]
    repeated = np.repeat(ranks, weights.astype(int))
    assert weighed[FIGURES.index("median_rank")] == np.median(repeated)
    assert weighed[FIGURES.index("recall@5")] == pytest.approx(np.mean(repeated <= 5))
    assert weighed[FIGURES.index("mrr")] == pytest.approx(np.mean(1 / repeated))


def test_columns_are_named() -> None:
    found = retrieve(*with_scores(np.array([[0.1, 0.5], [0.9, 0.2]])), rows([0], [0]))
    assert per_query(found).shape == (2, len(MEANS))
    assert dict(zip(MEANS, per_query(found)[0].tolist(), strict=True)) == {
        "recall@1": 0, "recall@5": 1, "recall@10": 1, "mrr": 0.5, "map": 0.5,
    }  # fmt: skip


def test_a_query_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="right candidate"):
        retrieve(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), rows([]))


def test_nothing_to_find() -> None:
    found = retrieve(np.ones((0, 2), np.float32), np.ones((3, 2), np.float32), [])
    assert len(found.ranks) == 0 and all(np.isnan(Figures(found)()))
