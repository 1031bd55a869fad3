"""Answers queries by one view of a collection: candidates (filtered) -> exact re-rank -> judge -> hits.

Candidates come from the vector files; what the catalog has beyond them (the delta) is searched exactly, and every
candidate's score is computed again from the catalog's embedding. So a query is right while an index run is under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base.paths import nearest
from mmsearch.base.records import Hit, ImageRecord
from mmsearch.query.query import Query
from mmsearch.searching import near_duplicates, rerank
from mmsearch.searching.candidates import EXACT_SUBSET, CandidateSource, covered
from mmsearch.searching.confidence import BEST
from mmsearch.searching.judge import Answer, Judge
from mmsearch.searching.rerank import Scored
from mmsearch.searching.view import View
from mmsearch.store.selection import Selection
from mmsearch.vectors import exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # Files with their scores, None in a list by date.
    Found = list[tuple[float | None, ImageRecord]]

# Candidates for each result asked for, and at least so many: quantised codes rank roughly, and files that are gone or
# excluded drop out afterwards.
_CANDIDATES_A_RESULT = 4
_LEAST_CANDIDATES = 100

# Candidates of queries that are answered together: 100 MB of embeddings of 768 dimensions.
_MOST_CANDIDATES = 32_768


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its unit vector (dim,), the files that may be results, and the hashes of contents that may not."""

    query: Query
    vector: NDArray[np.float32]
    selection: Selection
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers the queries of one view. Expects to be in a snapshot of the catalog.

    `offline` are the folders that are offline; `call_empty` is told a selection of which no image is indexed, and
    `last_try` says that vector files that have been replaced meanwhile are done without.
    """

    view: View
    candidates: CandidateSource
    judge: Judge
    offline: tuple[str, ...]
    call_empty: Callable[[Selection], None]
    last_try: bool

    def best(self, asked: Sequence[Asked]) -> list[list[Hit]]:
        """The best matches of each, with confidences, as many as were asked for."""
        hits: dict[int, list[Hit]] = {}
        for numbers in _groups(asked):
            group = [asked[number] for number in numbers]
            if group[0].query.exact and not group[0].selection:
                answers = [self._compare_all(entry) for entry in group]
            else:
                answers = self._answer_group(group, group[0].selection)
            hits.update(zip(numbers, self.judge.judged(answers), strict=True))
        return [hits[number] for number in range(len(asked))]

    def latest(self, query: Query, selection: Selection) -> list[Hit]:
        """The newest images of a selection, without scores."""
        wanted = _wanted([query]) if query.diverse else query.top
        while True:
            images = self.view.catalog.files.latest(selection, wanted)
            if not images:
                self.call_empty(selection)
            hits = self._hits(query, [(None, image) for image in images], self.view)
            if len(hits) >= query.top or len(images) < wanted:
                return hits
            wanted *= _CANDIDATES_A_RESULT

    def _answer_group(self, asked: Sequence[Asked], selection: Selection) -> list[Answer]:
        """Answer queries that share a selection; one that finds too few looks at more candidates."""
        allowed = self.view.catalog.contents.ids(selection) if selection else None
        if allowed is not None and not len(allowed):
            self.call_empty(selection)
        vectors = [entry.vector for entry in asked]
        if allowed is not None and (len(allowed) <= EXACT_SUBSET or asked[0].query.exact):
            subset, view = rerank.of_candidates(self.view, vectors, [allowed])
            return [
                self._ranked(entry, scored, len(allowed), view) for entry, scored in zip(asked, subset, strict=True)
            ]
        usable = self.candidates.refresh(self.view.encoder, last_try=self.last_try)
        watermark, total = covered(usable)
        delta = rerank.after(self.view, vectors, watermark, allowed)
        among = len(allowed) if allowed is not None else total + len(delta[0].ids)
        answers: dict[int, Answer] = {}
        left = list(range(len(asked)))
        wanted = _wanted([entry.query for entry in asked])
        while left:
            queries = [vectors[number] for number in left]
            ids = self.candidates.search(usable, np.stack(queries), wanted, allowed)
            best, view = rerank.of_candidates(self.view, queries, ids)
            self.candidates.check(usable, ids, len(view.read[0]))
            scored = {number: found + delta[number] for number, found in zip(left, best, strict=True)}
            for number, found in scored.items():
                answers[number] = self._ranked(asked[number], found, among, view)
            if wanted >= total:
                break
            left = [number for number in left if _needs_more(answers[number], scored[number])]
            wanted *= _CANDIDATES_A_RESULT
        return [answers[number] for number in range(len(asked))]

    def _compare_all(self, entry: Asked) -> Answer:
        (scored,) = rerank.after(self.view, [entry.vector], 0, None)
        return self._ranked(entry, scored, len(scored.ids), self.view)

    def _ranked(self, entry: Asked, scored: Scored, among: int, view: View) -> Answer:
        """Turn scored contents into hits: a content with several files gives several, one without files none."""
        query, ids, scores = entry.query, scored.ids, scored.scores
        first = exact.top(ids, scores, BEST)[0][:BEST]
        if query.min_score is not None:
            kept = scores >= query.min_score
            ids, scores = ids[kept], scores[kept]
        wanted = _wanted([query]) if query.diverse else query.top + 1
        while True:
            best, values = exact.top(ids, scores, wanted)
            images = self.view.catalog.files.of_contents(best.tolist(), entry.selection)
            found: Found = [
                (float(value), record)
                for content, value in zip(best.tolist(), values, strict=True)
                for record in images.get(content, [])
                if record.content_hash not in entry.excluded
            ]
            found.sort(key=lambda pair: (-(pair[0] or 0.0), os.fsencode(pair[1].path)))
            hits = self._hits(query, found, view)
            if len(hits) >= query.top or len(best) == len(ids):
                return Answer(query, entry.vector, hits, first, among, view)
            wanted *= _CANDIDATES_A_RESULT

    def _hits(self, query: Query, found: Found, view: View) -> list[Hit]:
        """The first of what was found, best first, as hits; near-duplicates once, where that is asked for."""
        counts = _counts(query, found, view) if query.diverse else dict.fromkeys(range(len(found)), 0)
        offline = frozenset(self.offline)
        return [
            Hit(rank, *found[row], nearest(found[row][1].path, offline) is not None, duplicates=more)
            for rank, (row, more) in enumerate(list(counts.items())[: query.top], 1)
        ]


def _wanted(queries: Sequence[Query]) -> int:
    """How many candidates each of these queries needs."""
    return max(_LEAST_CANDIDATES, *(_CANDIDATES_A_RESULT * query.top for query in queries))


def _groups(asked: Sequence[Asked]) -> Iterator[list[int]]:
    """Which queries, by number, are answered together: of one selection, and exact or not, but not too many."""
    alike: dict[tuple[Selection, bool], list[int]] = {}
    for number, entry in enumerate(asked):
        alike.setdefault((entry.selection, entry.query.exact), []).append(number)
    for numbers in alike.values():
        size = max(1, _MOST_CANDIDATES // _wanted([asked[number].query for number in numbers]))
        yield from (numbers[start : start + size] for start in range(0, len(numbers), size))


def _counts(query: Query, found: Found, view: View) -> dict[int, int]:
    """Which rows stand for themselves, in order, and for how many others each."""
    contents = np.array([record.content_id for _, record in found], np.int64)
    vectors, known = view.vectors_of(contents)
    stands = np.arange(len(found))
    stands[known] = np.flatnonzero(known)[near_duplicates.fold(vectors, query.diverse_at)]
    rows, sizes = np.unique(stands, return_counts=True)
    return dict(zip(rows.tolist(), (sizes - 1).tolist(), strict=True))


def _needs_more(answer: Answer, scored: Scored) -> bool:
    """Whether a query found too few, and not because its least score has been passed."""
    if len(answer.hits) >= answer.query.top:
        return False
    return answer.query.min_score is None or not (scored.scores < answer.query.min_score).any()
