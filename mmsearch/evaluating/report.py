"""What an evaluation says: figures with intervals, the worst queries, and differences between two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.evaluating import resampling
from mmsearch.evaluating.metrics import FIGURES, MEANS, Figures, Retrieval, per_query
from mmsearch.evaluating.pairs import Matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# A difference counts as real below this chance of seeing one as large between models that are alike.
SIGNIFICANT = 0.05

TEXT_TO_IMAGE, IMAGE_TO_TEXT = DIRECTIONS = ("text_to_image", "image_to_text")


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction's retrieval, the unit of each query, its figures (6,) as in `FIGURES`, and the ends of their 95 %
    intervals, (6,) each."""

    retrieval: Retrieval
    units: NDArray[np.int64]
    figures: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        named = {name: _rounded(value) for name, value in zip(FIGURES, self.figures, strict=True)}
        ends = zip(FIGURES, self.low, self.high, strict=True)
        return {**named, "intervals": {name: [_rounded(low), _rounded(high)] for name, low, high in ends}}


def measured(retrieval: Retrieval, units: NDArray[np.int64], *, draws: int, seed: int) -> Direction:
    """The figures of a retrieval and their bootstrap intervals over `units` (n,)."""
    figures = Figures(retrieval)
    low, high = resampling.bootstrap(figures, units, draws=draws, seed=seed)
    return Direction(retrieval, units, figures(), low, high)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A query whose right answer did not come first: `query`, `right` (the best-ranked right answer) and `first` (what
    came first) are paths or texts, by the direction; the scores are cosines."""

    query: str
    rank: int
    right: str
    right_score: float
    first: str
    first_score: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How one model did. `candidates` counts the images that each text was compared with; `others` has the paths of
    those without captions that came first somewhere, by their number. `centring` says that short texts were centred to
    search images, `label` what tells this evaluation of the model from another one of it."""

    model: str
    matching: Matching
    candidates: int
    directions: dict[str, Direction]
    others: Mapping[int, str] = field(default_factory=dict)
    centring: bool = False
    label: str = ""

    @property
    def name(self) -> str:
        """The model, and what tells two evaluations of it apart."""
        return self.model + self.label

    def to_json(self) -> dict[str, Any]:
        """The JSON contract: fields may be added, never renamed."""
        pairs = self.matching
        fields: dict[str, Any] = {"model": self.model, "centring": self.centring}
        fields |= {name: direction.to_json() for name, direction in self.directions.items()}
        fields |= {"n_images": len(pairs.contents), "n_captions": len(pairs.right_images), "n_pairs": pairs.pairs}
        fields |= {"n_gallery": self.candidates, "level": resampling.LEVEL, "confidence": resampling.LEVEL}
        if pairs.classes:
            found = fields[IMAGE_TO_TEXT]
            tops = {"top1": "recall@1", "top5": "recall@5"}
            values = {name: found[figure] for name, figure in tops.items()}
            intervals = {name: found["intervals"][figure] for name, figure in tops.items()}
            fields["zero_shot"] = {**values, "n_classes": pairs.classes, "intervals": intervals}
        return fields

    def worst(self, direction: str, count: int) -> list[Wrong]:
        """The queries whose right answers came last, worst first; of equal ranks those that were missed by more."""
        found = self.directions[direction].retrieval
        order = np.lexsort((found.right_scores - found.first_scores, -found.ranks))
        by_text = direction == TEXT_TO_IMAGE
        query, answer = (self._text, self._path) if by_text else (self._path, self._text)
        return [
            Wrong(
                query=query(number),
                rank=int(found.ranks[number]),
                right=answer(int(found.right[number])),
                right_score=float(found.right_scores[number]),
                first=answer(int(found.first[number])),
                first_score=float(found.first_scores[number]),
            )
            for number in order[:count].tolist()
            if found.ranks[number] > 1
        ]

    def _text(self, number: int) -> str:
        return self.matching.texts[number]

    def _path(self, number: int) -> str:
        paths = self.matching.paths
        return paths[number] if number < len(paths) else self.others[number]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first model's figure minus the second's, its 95 % interval (a paired bootstrap), and the p-value of the
    paired test, adjusted for the number of pairs of models."""

    value: float
    low: float
    high: float
    p: float

    @property
    def real(self) -> bool:
        """Whether p is below 0.05: chance alone would hardly make such a difference between models that are alike."""
        return self.p < SIGNIFICANT

    def to_json(self) -> dict[str, Any]:
        ends = [_rounded(self.low), _rounded(self.high)]
        return {"difference": _rounded(self.value), "interval": ends, "p": _rounded(self.p), "real": self.real}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models over the same queries: the differences of the figures that are means, by direction and name."""

    models: tuple[str, str]
    differences: dict[str, dict[str, Difference]]

    def to_json(self) -> dict[str, Any]:
        named = {
            direction: {name: difference.to_json() for name, difference in found.items()}
            for direction, found in self.differences.items()
        }
        return {"models": list(self.models), **named}


def compare(evaluations: Sequence[Evaluation], *, draws: int, seed: int) -> list[Comparison]:
    """Every pair of evaluations of one matching. The p-values of a figure are adjusted for the number of pairs."""
    pairs = list(combinations(evaluations, 2))
    found: list[dict[str, dict[str, Difference]]] = [{} for _ in pairs]
    for direction in DIRECTIONS:
        raw = [_differences(*pair, direction, draws, seed) for pair in pairs]
        adjusted = np.array([row[3] for row in raw]).reshape(len(pairs), len(MEANS))
        for column in range(len(MEANS)):
            adjusted[:, column] = resampling.holm(adjusted[:, column])
        for index, (value, low, high, _) in enumerate(raw):
            rows = zip(MEANS, value, low, high, adjusted[index], strict=True)
            found[index][direction] = {name: Difference(*map(float, numbers)) for name, *numbers in rows}
    return [
        Comparison((one.name, other.name), differences) for (one, other), differences in zip(pairs, found, strict=True)
    ]


def _differences(
    one: Evaluation, other: Evaluation, direction: str, draws: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Values, lower and upper ends and raw p-values of the figures in `MEANS`, (5,) each."""
    units = one.directions[direction].units
    difference = per_query(one.directions[direction].retrieval) - per_query(other.directions[direction].retrieval)

    def mean(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(weights @ difference / weights.sum(axis=1, keepdims=True))

    low, high = resampling.bootstrap(mean, units, draws=draws, seed=seed)
    return difference.mean(axis=0), low, high, resampling.paired_test(difference, units, seed=seed)


def _rounded(value: float) -> float:
    return round(float(value), 6)
