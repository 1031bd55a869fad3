"""How sure the results of questions are: the formula of `confidence`, for many questions at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base.records import Encoder, Hit
from mmsearch.query.query import Query
from mmsearch.searching.background import Unrelated
from mmsearch.searching.confidence import Background, confidences
from mmsearch.searching.view import View, distinct, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Answer:
    """A query, its unit vector (dim,), the hits, best first, and what their confidences are told from.

    `best` are the ids (b,) of the best contents, best first, whatever was asked to be shown; they are the best `among`
    so many images. `view` has the embeddings that have been read for them.
    """

    query: Query
    vector: NDArray[np.float32]
    hits: list[Hit]
    best: NDArray[np.int64]
    among: int
    view: View


class Judge:
    """Tells confidences for one collection; kept, it keeps what they are told from."""

    def __init__(self, load: Callable[[View], Encoder]) -> None:
        """`load` gives the model, which the reference captions may need."""
        self._load = load
        self._unrelated = Unrelated()

    def look_again(self) -> None:
        """Notice at the next question whether the collection has changed."""
        self._unrelated.look_again()

    def judged(self, answers: Sequence[Answer]) -> list[list[Hit]]:
        """The hits of each answer, with confidences where they can be told, and only those as sure as was asked for."""
        hits = [answer.hits for answer in answers]
        together: dict[tuple[int, int], tuple[Background, list[int]]] = {}
        for number, answer in enumerate(answers):
            background = self._unrelated.background(answer.query, answer.view, self._load)
            if answer.hits and background.suffices:
                together.setdefault((id(background), id(answer.view)), (background, []))[1].append(number)
        for background, numbers in together.values():
            found = self._confident([answers[number] for number in numbers], background)
            for number, judged in zip(numbers, found, strict=True):
                hits[number] = judged
        return [sure_enough(judged, answer.query.min_confidence) for answer, judged in zip(answers, hits, strict=True)]

    def _confident(self, answers: Sequence[Answer], background: Background) -> list[list[Hit]]:
        """The hits of answers that share a background and what has been read, with their confidences."""
        wanted = [_wanted(answer) for answer in answers]
        ids = distinct(np.concatenate(wanted))
        vectors, known = answers[0].view.vectors_of(ids)
        ids = ids[known]
        kept = [part[np.isin(part, ids)] for part in wanted] if not known.all() else wanted
        rows = [rows_of(ids, part)[0] for part in kept]
        standings = background.standings(vectors, rows, np.stack([answer.vector for answer in answers]))
        judged = []
        for answer, contents, standing in zip(answers, kept, standings, strict=True):
            sure = dict(zip(contents.tolist(), confidences(standing, answer.among).tolist(), strict=True))
            judged.append([replace(hit, confidence=sure.get(hit.image.content_id)) for hit in answer.hits])
        return judged


def _wanted(answer: Answer) -> NDArray[np.int64]:
    """The best contents, best first, and those of the hits."""
    ids = dict.fromkeys([*answer.best.tolist(), *(hit.image.content_id for hit in answer.hits)])
    return np.array(list(ids), np.int64)


def sure_enough(hits: list[Hit], least: float | None) -> list[Hit]:
    """Those of at least this confidence, or of which none can be told, ranked anew; None leaves out nothing."""
    if least is None:
        return hits
    kept = [hit for hit in hits if hit.confidence is None or hit.confidence >= least]
    return [replace(hit, rank=rank) for rank, hit in enumerate(kept, 1)]
