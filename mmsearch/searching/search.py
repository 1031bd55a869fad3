"""The query flow: encode -> candidates (filtered) -> exact re-rank -> hits. Prints nothing.

Candidates come from the vector files; what the catalog has beyond them (the delta) is searched exactly, and every
candidate's score is computed again from the catalog's embedding. So a query is right while an index run is under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base import config
from mmsearch.base.records import Encoder, EncoderInfo, Hit, ImageRecord
from mmsearch.query.query import Query
from mmsearch.searching import language_hint, near_duplicates, rerank
from mmsearch.searching.candidates import EXACT_SUBSET, CandidateSource, FilesMoved, covered
from mmsearch.searching.confidence import BEST
from mmsearch.searching.embed import Embedded, ModelChanged, QueryEmbedder
from mmsearch.searching.judge import Answer, Judge
from mmsearch.searching.rerank import Scored
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.selection import Selection
from mmsearch.vectors import exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.store.embeddings import Embeddings

    # Files with their scores, None in a list by date.
    Found = list[tuple[float | None, ImageRecord]]

# Candidates for each result asked for, and at least so many: quantised codes rank roughly, and files that are gone or
# excluded drop out afterwards.
_CANDIDATES_A_RESULT = 4
_LEAST_CANDIDATES = 100

# Candidates of queries that are answered together: 100 MB of embeddings of 768 dimensions.
_MOST_CANDIDATES = 32_768

# How often to look again where vector files are replaced under a query's eyes.
_TRIES = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with its unit vector (dim,), the files that may be results, and the hashes of contents that may not."""

    query: Query
    vector: NDArray[np.float32]
    selection: Selection
    excluded: frozenset[str] = frozenset()


class Searcher:
    """Answers queries over one collection; kept open, it keeps the model and the vector files open."""

    def __init__(
        self,
        catalog: Catalog,
        load_encoder: Callable[[EncoderInfo], Encoder],
        notice: Callable[[str], None],
        *,
        max_pixels: int = config.DEFAULT_MAX_PIXELS,
    ) -> None:
        """`load_encoder` is given the collection's model; `notice` gets one line where something is amiss but
        the answer is still right."""
        self._catalog = catalog
        self._embedder = QueryEmbedder(catalog, load_encoder, max_pixels=max_pixels)
        self._candidates = CandidateSource(catalog, notice)
        self._judge = Judge(catalog, self._embedder.loaded)
        self._notice = notice
        self._advised = False
        self._called_empty: set[str] = set()
        self._offline: tuple[str, ...] = ()

    def close(self) -> None:
        """Let go of the model and of what decodes query images."""
        self._embedder.close()

    def search(self, query: Query) -> list[Hit]:
        """The best matches, best first; equal scores by path.

        A query without terms gives the newest images that pass its filters, without scores. Raises
        `CollectionEmptyError`, `SourceError`, `DecodeError`, `UsageError`, `ModelError`.
        """
        return self.search_many([query])[0]

    def search_many(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """The answers to several queries, in order; texts are encoded together. Raises what `search` raises."""
        stored = self._current_encoder()
        self._look_for_offline(queries)
        asked: list[_Asked | None] | None = None
        for attempt in range(_TRIES):
            try:
                if asked is None:
                    asked = self._embed(queries, stored)
                with self._catalog.snapshot():
                    self._check_still(stored)
                    self._judge.look_again()
                    ranked = iter(self._answer([one for one in asked if one], stored, attempt == _TRIES - 1))
                    answers = [
                        next(ranked) if one else self._latest(query, stored)
                        for one, query in zip(asked, queries, strict=True)
                    ]
                self._advise(queries, answers)
                return answers
            except FilesMoved:
                continue
            except ModelChanged:
                stored, asked = self._current_encoder(), None
        raise AssertionError("the last try does not give up")

    def expect(self, queries: Sequence[Query]) -> None:
        """Begin to embed the texts of queries that come next, while others are answered."""
        self._embedder.expect(queries)

    def _current_encoder(self) -> StoredEncoder:
        with self._catalog.snapshot():
            return self._catalog.require_encoder()

    def _check_still(self, stored: StoredEncoder) -> None:
        """Raise `ModelChanged` where another process has switched to another model. Expects to be in a snapshot."""
        if self._catalog.encoders.current() != stored:
            raise ModelChanged

    # --- folders that are offline ---

    def _look_for_offline(self, queries: Sequence[Query]) -> None:
        """Read which folders are offline, and say so where that leaves out images and has not been said yet."""
        before, self._offline = self._offline, self._catalog.roots.offline()
        if self._offline and self._offline != before and not all(query.offline for query in queries):
            few = self._offline[:3]
            verb, pronoun = ("are", "they are") if len(self._offline) > 1 else ("is", "it is")
            more = f" and {len(self._offline) - len(few)} more" if len(self._offline) > len(few) else ""
            self._notice(
                f"{', '.join(few)}{more} {verb} offline: images there are left out unless --offline is given;"
                f" `mmsearch index` checks whether {pronoun} back"
            )

    def _selection(self, query: Query) -> Selection:
        return Selection(query.filters, () if query.offline else self._offline)

    def _call_empty(self, selection: Selection) -> None:
        """Say once of a folder that was asked for that nothing below it is indexed: it may be misspelt."""
        for folder in selection.filters.below:
            if folder not in self._called_empty and not self._catalog.files.count(folder):
                self._called_empty.add(folder)
                self._notice(f"no indexed images in {folder}; `mmsearch info` lists the folders")

    def _is_offline(self, path: str) -> bool:
        return any(_is_below(path, folder) for folder in self._offline)

    # --- vectors, candidates and re-ranking ---

    def _embed(self, queries: Sequence[Query], stored: StoredEncoder) -> list[_Asked | None]:
        embedded = self._embedder.embed(queries, stored)
        return [
            None if found is None else _Asked(query, found.vector, self._selection(query), _excluded(query, found))
            for query, found in zip(queries, embedded, strict=True)
        ]

    def _advise(self, queries: Sequence[Query], answers: Sequence[Sequence[Hit]]) -> None:
        """Say once that the model does not read a query's language."""
        encoder = self._embedder.encoder
        if encoder is None or self._advised:
            return
        weak = [query for query, hits in zip(queries, answers, strict=True) if _is_weak(hits)]
        option = config.collection_option(self._catalog.folder)
        line = language_hint.advice(_texts(queries), encoder, _texts(weak), option)
        if line:
            self._notice(line)
            self._advised = True

    def _latest(self, query: Query, stored: StoredEncoder) -> list[Hit]:
        wanted = _wanted([query]) if query.diverse else query.top
        selection, unread = self._selection(query), self._catalog.embeddings.of(stored, [])
        while True:
            images = self._catalog.files.latest(selection, wanted)
            if not images:
                self._call_empty(selection)
            hits = self._hits(query, [(None, image) for image in images], stored, unread)
            if len(hits) >= query.top or len(images) < wanted:
                return hits
            wanted *= _CANDIDATES_A_RESULT

    def _hits(self, query: Query, found: Found, stored: StoredEncoder, read: Embeddings) -> list[Hit]:
        """The first of what was found, best first, as hits; near-duplicates once, where that is asked for."""
        counts = self._counts(query, found, stored, read) if query.diverse else dict.fromkeys(range(len(found)), 0)
        return [
            Hit(rank, *found[row], self._is_offline(found[row][1].path), duplicates=more)
            for rank, (row, more) in enumerate(list(counts.items())[: query.top], 1)
        ]

    def _counts(self, query: Query, found: Found, stored: StoredEncoder, read: Embeddings) -> dict[int, int]:
        """Which rows stand for themselves, in order, and for how many others each."""
        contents = np.array([record.content_id for _, record in found], np.int64)
        vectors, known = rerank.vectors_of(self._catalog, stored, contents, read)
        stands = np.arange(len(found))
        stands[known] = np.flatnonzero(known)[near_duplicates.fold(vectors, query.diverse_at)]
        rows, sizes = np.unique(stands, return_counts=True)
        return dict(zip(rows.tolist(), (sizes - 1).tolist(), strict=True))

    def _answer(self, asked: Sequence[_Asked], stored: StoredEncoder, last_try: bool) -> list[list[Hit]]:
        hits: dict[int, list[Hit]] = {}
        for numbers in _groups(asked):
            group = [asked[number] for number in numbers]
            if group[0].query.exact and not group[0].selection:
                answers = [self._compare_all(entry, stored) for entry in group]
            else:
                answers = self._answer_group(group, group[0].selection, stored, last_try=last_try)
            hits.update(zip(numbers, self._judge.judged(answers, stored), strict=True))
        return [hits[number] for number in range(len(asked))]

    def _answer_group(
        self, asked: Sequence[_Asked], selection: Selection, stored: StoredEncoder, *, last_try: bool
    ) -> list[Answer]:
        """Answer queries that share a selection; one that finds too few looks at more candidates."""
        allowed = self._catalog.contents.ids(selection) if selection else None
        if allowed is not None and not len(allowed):
            self._call_empty(selection)
        vectors = [entry.vector for entry in asked]
        if allowed is not None and (len(allowed) <= EXACT_SUBSET or asked[0].query.exact):
            subset, read = rerank.of_candidates(self._catalog, stored, vectors, [allowed])
            return [
                self._ranked(entry, scored, stored, len(allowed), read)
                for entry, scored in zip(asked, subset, strict=True)
            ]
        usable = self._candidates.refresh(stored, last_try=last_try)
        watermark, total = covered(usable)
        delta = rerank.after(self._catalog, stored, vectors, watermark, allowed)
        among = len(allowed) if allowed is not None else total + len(delta[0].ids)
        answers: dict[int, Answer] = {}
        left = list(range(len(asked)))
        wanted = _wanted([entry.query for entry in asked])
        while left:
            queries = [vectors[number] for number in left]
            ids = self._candidates.search(usable, np.stack(queries), wanted, allowed)
            best, read = rerank.of_candidates(self._catalog, stored, queries, ids)
            scored = {number: found + delta[number] for number, found in zip(left, best, strict=True)}
            for number, found in scored.items():
                answers[number] = self._ranked(asked[number], found, stored, among, read)
            if wanted >= total:
                break
            left = [number for number in left if _needs_more(answers[number], scored[number])]
            wanted *= _CANDIDATES_A_RESULT
        return [answers[number] for number in range(len(asked))]

    def _compare_all(self, entry: _Asked, stored: StoredEncoder) -> Answer:
        (scored,) = rerank.after(self._catalog, stored, [entry.vector], 0, None)
        return self._ranked(entry, scored, stored, len(scored.ids), self._catalog.embeddings.of(stored, []))

    def _ranked(self, entry: _Asked, scored: Scored, stored: StoredEncoder, among: int, read: Embeddings) -> Answer:
        """Turn scored contents into hits: a content with several files gives several, one without files none."""
        query, ids, scores = entry.query, scored.ids, scored.scores
        first = exact.top(ids, scores, BEST)[0][:BEST]
        if query.min_score is not None:
            kept = scores >= query.min_score
            ids, scores = ids[kept], scores[kept]
        wanted = _wanted([query]) if query.diverse else query.top + 1
        while True:
            best, values = exact.top(ids, scores, wanted)
            images = self._catalog.files.of_contents(best.tolist(), entry.selection)
            found: Found = [
                (float(value), record)
                for content, value in zip(best.tolist(), values, strict=True)
                for record in images.get(content, [])
                if record.content_hash not in entry.excluded
            ]
            found.sort(key=lambda pair: (-(pair[0] or 0.0), os.fsencode(pair[1].path)))
            hits = self._hits(query, found, stored, read)
            if len(hits) >= query.top or len(best) == len(ids):
                return Answer(query, entry.vector, hits, first, among, read)
            wanted *= _CANDIDATES_A_RESULT


def _wanted(queries: Sequence[Query]) -> int:
    """How many candidates each of these queries needs."""
    return max(_LEAST_CANDIDATES, *(_CANDIDATES_A_RESULT * query.top for query in queries))


def _groups(asked: Sequence[_Asked]) -> Iterator[list[int]]:
    """The places of queries that are answered together: of one selection, and exact or not, but not too many."""
    alike: dict[tuple[Selection, bool], list[int]] = {}
    for number, entry in enumerate(asked):
        alike.setdefault((entry.selection, entry.query.exact), []).append(number)
    for numbers in alike.values():
        size = max(1, _MOST_CANDIDATES // _wanted([asked[number].query for number in numbers]))
        yield from (numbers[start : start + size] for start in range(0, len(numbers), size))


def _needs_more(answer: Answer, scored: Scored) -> bool:
    """Whether a query found too few, and not because its least score has been passed."""
    if len(answer.hits) >= answer.query.top:
        return False
    return answer.query.min_score is None or not (scored.scores < answer.query.min_score).any()


def _excluded(query: Query, embedded: Embedded) -> frozenset[str]:
    return frozenset() if query.include_self else embedded.sources


def _texts(queries: Sequence[Query]) -> list[str]:
    return [str(term.value) for query in queries for term in query.terms if term.kind == "text"]


def _is_weak(hits: Sequence[Hit]) -> bool:
    """Whether no result is likely, or of none that can be told."""
    return all(hit.confidence is None or hit.confidence < config.LIKELY for hit in hits)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
