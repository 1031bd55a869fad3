"""The query flow: encode -> candidates (filtered) -> exact re-rank -> hits. Prints nothing.

Candidates come from the vector files; what the catalog has beyond them (the delta) is searched exactly, and every
candidate's score is computed again from the catalog's embedding. So a query is right while an index run is under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch import confidence, config, diverse, languages
from mmsearch.candidates import EXACT_SUBSET, CandidateSource, FilesMoved, covered
from mmsearch.embedding_queries import Embedded, ModelChanged, QueryEmbedder
from mmsearch.errors import CollectionEmptyError
from mmsearch.query import Query
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.selection import Selection
from mmsearch.types import Encoder, EncoderInfo, Hit, ImageRecord
from mmsearch.unrelated import Unrelated
from mmsearch.vectors import exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # Files with their scores, None in a list by date.
    Found = list[tuple[float | None, ImageRecord]]

# Candidates for each result asked for, and at least so many: quantised codes rank roughly, and files that are gone or
# excluded drop out afterwards.
_CANDIDATES_A_RESULT = 4
_LEAST_CANDIDATES = 100

# How often to look again where vector files are replaced under a query's eyes.
_TRIES = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with its unit vector (dim,), the files that may be results, and the hashes of contents that may not."""

    query: Query
    vector: NDArray[np.float32]
    selection: Selection
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Scored:
    """Content ids (n,) and their exact cosines (n,)."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __add__(self, other: _Scored) -> _Scored:
        return _Scored(np.concatenate([self.ids, other.ids]), np.concatenate([self.scores, other.scores]))


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
        self._unrelated = Unrelated(catalog)
        self._notice = notice
        self._advised = False
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
                    ranked = iter(self._answer([one for one in asked if one], stored, attempt == _TRIES - 1))
                    return [
                        next(ranked) if one else self._latest(query, stored)
                        for one, query in zip(asked, queries, strict=True)
                    ]
            except FilesMoved:
                continue
            except ModelChanged:
                stored, asked = self._current_encoder(), None
        raise AssertionError("the last try does not give up")

    def _current_encoder(self) -> StoredEncoder:
        with self._catalog.snapshot():
            stored = self._catalog.encoder()
            if stored is None or not self._catalog.last_embedded(stored.id):
                what = f"the collection at {self._catalog.folder} has no images"
                raise CollectionEmptyError(what, "run `mmsearch index DIR` first")
        return stored

    def _check_still(self, stored: StoredEncoder) -> None:
        """Raise `ModelChanged` where another process has switched to another model. Expects to be in a snapshot."""
        if self._catalog.encoder() != stored:
            raise ModelChanged

    # --- folders that are offline ---

    def _look_for_offline(self, queries: Sequence[Query]) -> None:
        """Read which folders are offline, and say so where that leaves out images and has not been said yet."""
        before, self._offline = self._offline, self._catalog.offline_roots()
        if self._offline and self._offline != before and not all(query.offline for query in queries):
            few, verb = self._offline[:3], "are" if len(self._offline) > 1 else "is"
            more = f" and {len(self._offline) - len(few)} more" if len(self._offline) > len(few) else ""
            self._notice(
                f"{', '.join(few)}{more} {verb} offline: without its images, unless --offline is given;"
                " `mmsearch index` looks whether it is back"
            )

    def _selection(self, query: Query) -> Selection:
        return Selection(query.filters, () if query.offline else self._offline)

    def _is_offline(self, path: str) -> bool:
        return any(_is_below(path, folder) for folder in self._offline)

    # --- vectors, candidates and re-ranking ---

    def _embed(self, queries: Sequence[Query], stored: StoredEncoder) -> list[_Asked | None]:
        embedded = self._embedder.embed(queries, stored)
        self._advise(queries)
        return [
            None if found is None else _Asked(query, found.vector, self._selection(query), _excluded(query, found))
            for query, found in zip(queries, embedded, strict=True)
        ]

    def _advise(self, queries: Sequence[Query]) -> None:
        """Say once that the model does not read a query's letters."""
        texts = [str(term.value) for query in queries for term in query.terms if term.kind == "text"]
        encoder = self._embedder.encoder
        line = languages.advice(texts, encoder) if texts and encoder and not self._advised else None
        if line:
            self._notice(line)
            self._advised = True

    def _latest(self, query: Query, stored: StoredEncoder) -> list[Hit]:
        wanted = max(_LEAST_CANDIDATES, _CANDIDATES_A_RESULT * query.top) if query.diverse else query.top
        while True:
            images = self._catalog.latest(self._selection(query), wanted)
            hits = self._hits(query, [(None, image) for image in images], stored)
            if len(hits) >= query.top or len(images) < wanted:
                return hits
            wanted *= _CANDIDATES_A_RESULT

    def _hits(self, query: Query, found: Found, stored: StoredEncoder) -> list[Hit]:
        """The first of what was found, best first, as hits; near-duplicates once, where that is asked for."""
        counts = self._counts(query, found, stored) if query.diverse else dict.fromkeys(range(len(found)), 0)
        return [
            Hit(rank, *found[row], self._is_offline(found[row][1].path), duplicates=more)
            for rank, (row, more) in enumerate(list(counts.items())[: query.top], 1)
        ]

    def _counts(self, query: Query, found: Found, stored: StoredEncoder) -> dict[int, int]:
        """Which rows stand for themselves, in order, and for how many others each."""
        contents = [record.content_id for _, record in found]
        ids, vectors = self._catalog.embeddings(stored, sorted(set(contents)))
        places = np.searchsorted(ids, contents)
        known = [row for row, place in enumerate(places) if place < len(ids) and ids[place] == contents[row]]
        stands = np.arange(len(found))
        stands[known] = np.asarray(known, np.intp)[diverse.fold(vectors[places[known]], query.diverse_at)]
        rows, sizes = np.unique(stands, return_counts=True)
        return dict(zip(rows.tolist(), (sizes - 1).tolist(), strict=True))

    def _answer(self, asked: Sequence[_Asked], stored: StoredEncoder, last_try: bool) -> list[list[Hit]]:
        answers: list[list[Hit] | None] = [
            self._compare_all(entry, stored) if entry.query.exact and not entry.selection else None for entry in asked
        ]
        open_ends = [number for number, answer in enumerate(answers) if answer is None]
        for selection in dict.fromkeys(asked[number].selection for number in open_ends):
            group = [number for number in open_ends if asked[number].selection == selection]
            hits = self._answer_group([asked[number] for number in group], selection, stored, last_try=last_try)
            for number, answer in zip(group, hits, strict=True):
                answers[number] = answer
        return [_likely(entry.query, answer or []) for entry, answer in zip(asked, answers, strict=True)]

    def _answer_group(
        self, asked: Sequence[_Asked], selection: Selection, stored: StoredEncoder, *, last_try: bool
    ) -> list[list[Hit]]:
        """Answer queries that share a selection; one that finds too few looks at more candidates."""
        allowed = self._catalog.content_ids(selection) if selection else None
        if allowed is not None and (len(allowed) <= EXACT_SUBSET or any(entry.query.exact for entry in asked)):
            subset = self._scored(asked, [allowed], stored)
            return [
                self._ranked(entry, scored, stored, len(allowed)) for entry, scored in zip(asked, subset, strict=True)
            ]
        usable = self._candidates.refresh(stored, last_try=last_try)
        watermark, total = covered(usable)
        delta = self._scored_after(asked, watermark, stored, allowed)
        answers: list[list[Hit]] = [[] for _ in asked]
        left = list(range(len(asked)))
        wanted = max(_LEAST_CANDIDATES, *(_CANDIDATES_A_RESULT * entry.query.top for entry in asked))
        while left:
            group = [asked[number] for number in left]
            vectors = np.stack([entry.vector for entry in group])
            ids = self._candidates.search(usable, vectors, wanted, allowed)
            scored = [
                found + delta[number] for found, number in zip(self._scored(group, ids, stored), left, strict=True)
            ]
            for number, found in zip(left, scored, strict=True):
                among = len(allowed) if allowed is not None else total + len(delta[number].ids)
                answers[number] = self._ranked(asked[number], found, stored, among)
            if wanted >= total:
                break
            left = [n for n, found in zip(left, scored, strict=True) if _needs_more(asked[n].query, answers[n], found)]
            wanted *= _CANDIDATES_A_RESULT
        return answers

    def _compare_all(self, entry: _Asked, stored: StoredEncoder) -> list[Hit]:
        scored = self._scored_after([entry], 0, stored, None)[0]
        return self._ranked(entry, scored, stored, len(scored.ids))

    def _scored(
        self, asked: Sequence[_Asked], ids: Sequence[NDArray[np.int64]], stored: StoredEncoder
    ) -> list[_Scored]:
        """Exact scores of each query's candidates (one list for all, or one each) that are still in the catalog."""
        union = np.unique(np.concatenate(ids)) if ids else np.empty(0, np.int64)
        found, vectors = self._catalog.embeddings(stored, union.tolist())
        if len(ids) == 1:
            return [_Scored(found, exact.scores(vectors, entry.vector)) for entry in asked]
        rows = [np.flatnonzero(np.isin(found, part)) for part in ids]
        return [
            _Scored(found[part], exact.scores(vectors[part], entry.vector))
            for part, entry in zip(rows, asked, strict=True)
        ]

    def _scored_after(
        self, asked: Sequence[_Asked], watermark: int, stored: StoredEncoder, allowed: NDArray[np.int64] | None
    ) -> list[_Scored]:
        """Exact scores, for each query, of all allowed contents with ids over `watermark`."""
        scored = [_Scored(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in asked]
        for ids, vectors in self._catalog.embeddings_after(stored, watermark):
            if allowed is not None:
                kept = np.isin(ids, allowed)
                ids, vectors = ids[kept], vectors[kept]
            scored = [
                before + _Scored(ids, exact.scores(vectors, entry.vector))
                for before, entry in zip(scored, asked, strict=True)
            ]
        return scored

    def _ranked(self, entry: _Asked, scored: _Scored, stored: StoredEncoder, among: int) -> list[Hit]:
        """Turn scored contents into hits: a content with several files gives several, one without files none.

        They are the best `among` so many images.
        """
        query, ids, scores = entry.query, scored.ids, scored.scores
        if query.min_score is not None:
            kept = scores >= query.min_score
            ids, scores = ids[kept], scores[kept]
        wanted = max(_LEAST_CANDIDATES, _CANDIDATES_A_RESULT * query.top) if query.diverse else query.top + 1
        while True:
            best, values = exact.top(ids, scores, wanted)
            images = self._catalog.images_of_contents(best.tolist(), entry.selection)
            found: Found = [
                (float(value), record)
                for content, value in zip(best.tolist(), values, strict=True)
                for record in images.get(content, [])
                if record.content_hash not in entry.excluded
            ]
            found.sort(key=lambda pair: (-(pair[0] or 0.0), os.fsencode(pair[1].path)))
            hits = self._hits(query, found, stored)
            if len(hits) >= query.top or len(best) == len(ids):
                return self._judged(entry, hits, scored, stored, among)
            wanted *= _CANDIDATES_A_RESULT

    def _judged(self, entry: _Asked, hits: list[Hit], scored: _Scored, stored: StoredEncoder, among: int) -> list[Hit]:
        """The hits with their confidences, which the best contents tell together, whatever was asked to be shown."""
        background = self._unrelated.background(entry.query, stored, lambda: self._embedder.loaded(stored))
        if not hits or not background.suffices:
            return hits
        best = exact.top(scored.ids, scored.scores, confidence.BEST)[0][: confidence.BEST].tolist()
        wanted = dict.fromkeys([*best, *(hit.image.content_id for hit in hits)])
        ids, vectors = self._catalog.embeddings(stored, list(wanted))
        rows = {content: row for row, content in enumerate(ids.tolist())}
        known = [content for content in wanted if content in rows]
        standing = background.standing(vectors[[rows[content] for content in known]], entry.vector)
        sure = dict(zip(known, confidence.confidences(standing, among).tolist(), strict=True))
        return [replace(hit, confidence=sure.get(hit.image.content_id)) for hit in hits]


def _likely(query: Query, hits: list[Hit]) -> list[Hit]:
    """Those that are as sure as was asked for, or of which that cannot be told."""
    if query.min_confidence is None:
        return hits
    least = query.min_confidence
    kept = [hit for hit in hits if hit.confidence is None or hit.confidence >= least]
    return [replace(hit, rank=rank) for rank, hit in enumerate(kept, 1)]


def _needs_more(query: Query, hits: list[Hit], scored: _Scored) -> bool:
    """Whether a query found too few, and not because its least score has been passed."""
    if len(hits) >= query.top:
        return False
    return query.min_score is None or not (scored.scores < query.min_score).any()


def _excluded(query: Query, embedded: Embedded) -> frozenset[str]:
    return frozenset() if query.include_self else embedded.sources


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
