"""How sure the results of questions are: the formula of `confidence`, for many questions at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base.records import Encoder, Hit
from mmsearch.query.query import Query
from mmsearch.searching import rerank
from mmsearch.searching.background import Unrelated
from mmsearch.searching.confidence import Background, confidences
from mmsearch.store.catalog import Catalog, StoredEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.store.embeddings import Embeddings


@dataclass(frozen=True, slots=True)
class Answer:
    """A query, its unit vector (dim,), the hits, best first, and what their confidences are told from.

    `best` are the ids (b,) of the best contents, best first, whatever was asked to be shown; they are the best `among`
    so many images. `read` are embeddings that have been read already, by ascending id.
    """

    query: Query
    vector: NDArray[np.float32]
    hits: list[Hit]
    best: NDArray[np.int64]
    among: int
    read: Embeddings


class Judge:
    """Tells confidences for one collection; kept, it keeps what they are told from."""

    def __init__(self, catalog: Catalog, load: Callable[[StoredEncoder], Encoder]) -> None:
        """`load` gives the model, which the reference captions may need."""
        self._catalog = catalog
        self._load = load
        self._unrelated = Unrelated(catalog)

    def look_again(self) -> None:
        """Notice at the next question whether the collection has changed."""
        self._unrelated.look_again()

    def judged(self, answers: Sequence[Answer], stored: StoredEncoder) -> list[list[Hit]]:
        """The hits of each answer, with confidences where they can be told, and only those as sure as was asked for."""
        hits = [answer.hits for answer in answers]
        together: dict[tuple[int, int], tuple[Background, list[int]]] = {}
        for number, answer in enumerate(answers):
            background = self._unrelated.background(answer.query, stored, lambda: self._load(stored))
            if answer.hits and background.suffices:
                together.setdefault((id(background), id(answer.read)), (background, []))[1].append(number)
        for background, numbers in together.values():
            found = self._confident([answers[number] for number in numbers], background, stored)
            for number, judged in zip(numbers, found, strict=True):
                hits[number] = judged
        return [sure_enough(judged, answer.query.min_confidence) for answer, judged in zip(answers, hits, strict=True)]

    def _confident(self, answers: Sequence[Answer], background: Background, stored: StoredEncoder) -> list[list[Hit]]:
        """The hits of answers that share a background and what has been read, with their confidences."""
        wanted = [_wanted(answer) for answer in answers]
        ids = rerank.distinct(np.concatenate(wanted))
        vectors, known = rerank.vectors_of(self._catalog, stored, ids, answers[0].read)
        ids = ids[known]
        kept = [part[np.isin(part, ids)] for part in wanted] if not known.all() else wanted
        rows = [rerank.places(ids, part)[0] for part in kept]
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
