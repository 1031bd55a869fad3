"""The query flow: parse -> embed -> candidates (filtered) -> exact re-rank -> judge -> hits. Prints nothing.

A question sees one state of the catalog and of the vector files. Where another process changes either meanwhile, it is
asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mmsearch.base import config
from mmsearch.base.errors import MMSearchError
from mmsearch.base.records import Encoder, EncoderInfo, Hit
from mmsearch.query.query import Query
from mmsearch.searching import language_hint, places
from mmsearch.searching.answering import Answering, Asked
from mmsearch.searching.candidates import CandidateSource, FilesMoved
from mmsearch.searching.embed import Embedded, ModelChanged, QueryEmbedder
from mmsearch.searching.judge import Judge
from mmsearch.searching.view import View
from mmsearch.store.catalog import Catalog
from mmsearch.store.selection import Selection

# Folders without images that are named for one query, and in all.
_NAMED_AT_ONCE = 10
_MOST_NAMED = 1000

# How often to look again where vector files are replaced under a query's eyes.
_TRIES = 4


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
        self._embedder = QueryEmbedder(load_encoder, max_pixels=max_pixels)
        self._candidates = CandidateSource(catalog, notice)
        self._judge = Judge(self._embedder.loaded)
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
        answers = self.search_each(queries)
        for answer in answers:
            if isinstance(answer, MMSearchError):
                raise answer
        return [answer for answer in answers if not isinstance(answer, MMSearchError)]

    def search_each(self, queries: Sequence[Query]) -> list[list[Hit] | MMSearchError]:
        """As `search_many`, but where one query is at fault, its error is in place of its answer.

        Raises `CollectionEmptyError`, `ModelError`, and `UsageError` where filters are too much for the catalog.
        """
        view = self._current_view()
        self._look_for_offline(queries)
        asked: list[Asked | MMSearchError | None] | None = None
        for attempt in range(_TRIES):
            try:
                if asked is None:
                    asked = self._embed(queries, view)
                with self._catalog.snapshot():
                    if not view.is_current():
                        raise ModelChanged
                    self._judge.look_again()
                    answering = self._answering(view, last_try=attempt == _TRIES - 1)
                    best = iter(answering.best([one for one in asked if isinstance(one, Asked)]))
                    answers: list[list[Hit] | MMSearchError] = [
                        one
                        if isinstance(one, MMSearchError)
                        else next(best)
                        if one
                        else answering.latest(query, self._selection(query))
                        for one, query in zip(asked, queries, strict=True)
                    ]
                self._advise(queries, answers)
                return answers
            except FilesMoved:
                continue
            except ModelChanged:
                view, asked = self._current_view(), None
        raise AssertionError("the last try does not give up")

    def expect(self, queries: Sequence[Query]) -> None:
        """Begin to embed the texts of queries that come next, while others are answered."""
        self._embedder.expect(queries)

    def _current_view(self) -> View:
        with self._catalog.snapshot():
            return View.of(self._catalog, self._catalog.require_encoder())

    def _answering(self, view: View, *, last_try: bool) -> Answering:
        return Answering(view, self._candidates, self._judge, self._offline, self._call_empty, last_try)

    # --- folders that are offline ---

    def _look_for_offline(self, queries: Sequence[Query]) -> None:
        """Read which folders are offline, and say so where that leaves out images and has not been said yet."""
        before, self._offline = self._offline, self._catalog.roots.offline()
        if self._offline and self._offline != before and not all(query.offline for query in queries):
            verb, pronoun = ("are", "they are") if len(self._offline) > 1 else ("is", "it is")
            self._notice(
                f"{_few(self._offline)} {verb} offline: images there are left out unless --offline is given;"
                f" `mmsearch index` checks whether {pronoun} back"
            )

    def _selection(self, query: Query) -> Selection:
        filters = query.filters
        if filters.below:
            filters = replace(filters, below=places.folders(self._catalog, filters.below))
        return Selection(filters, () if query.offline else self._offline)

    def _call_empty(self, selection: Selection) -> None:
        """Say once of folders that were asked for that nothing below them is indexed: they may be misspelt.

        Of many, only the first are looked at: more are of a program, which does not read what is said.
        """
        first = dict.fromkeys(selection.filters.below[:_NAMED_AT_ONCE])
        new = [folder for folder in first if folder not in self._called_empty]
        empty = [folder for folder in new if not self._catalog.files.count(folder)]
        if empty and len(self._called_empty) < _MOST_NAMED:
            self._called_empty.update(empty)
            self._notice(f"no indexed images in {_few(empty)}; `mmsearch info` lists the folders")

    # --- vectors and advice ---

    def _embed(self, queries: Sequence[Query], view: View) -> list[Asked | MMSearchError | None]:
        embedded = self._embedder.embed(queries, view)
        return [
            Asked(query, found.vector, self._selection(query), _excluded(query, found))
            if isinstance(found, Embedded)
            else found
            for query, found in zip(queries, embedded, strict=True)
        ]

    def _advise(self, queries: Sequence[Query], answers: Sequence[Sequence[Hit] | MMSearchError]) -> None:
        """Say once that the model does not read a query's language."""
        encoder = self._embedder.encoder
        if encoder is None or self._advised:
            return
        weak = [
            query
            for query, hits in zip(queries, answers, strict=True)
            if not isinstance(hits, MMSearchError) and _is_weak(hits)
        ]
        option = config.collection_option(self._catalog.folder)
        line = language_hint.advice(_texts(queries), encoder, _texts(weak), option)
        if line:
            self._notice(line)
            self._advised = True


def _excluded(query: Query, embedded: Embedded) -> frozenset[str]:
    return frozenset() if query.include_self else embedded.sources


def _texts(queries: Sequence[Query]) -> list[str]:
    return [str(term.value) for query in queries for term in query.terms if term.kind == "text"]


def _is_weak(hits: Sequence[Hit]) -> bool:
    """Whether no result is likely, or of none that can be told."""
    return all(hit.confidence is None or hit.confidence < config.LIKELY for hit in hits)


def _few(folders: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    first, more = folders[:3], len(folders) - 3
    return f"{', '.join(first)}{f' and {more:,} more' if more > 0 else ''}"
