"""The query flow: encode -> candidates (filtered) -> exact re-rank -> hits. Prints nothing.

Candidates come from the vector files; what the catalog has beyond them (the delta) is searched exactly, and every
candidate's score is computed again from the catalog's embedding. So a query is right while an index run is under way.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch import config
from mmsearch.candidates import EXACT_SUBSET, CandidateSource, FilesMoved, covered
from mmsearch.errors import CollectionEmptyError, ModelMismatchError, SourceError
from mmsearch.query import Query
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.types import Encoder, EncoderInfo, Hit
from mmsearch.vectors import exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Candidates for each result asked for, and at least so many: quantised codes rank roughly, and files that are gone or
# excluded drop out afterwards.
_CANDIDATES_A_RESULT = 4
_LEAST_CANDIDATES = 100

# How often to look again where vector files are replaced under a query's eyes.
_TRIES = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with its unit vector (dim,), the hash of the content that must not be among its results, and the folders
    whose images must not."""

    query: Query
    vector: NDArray[np.float32]
    excluded: str | None = None
    hidden: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether the file may be a result, wherever else its content lies."""
        below = self.query.below
        return (below is None or _is_below(path, below)) and not any(_is_below(path, folder) for folder in self.hidden)


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
        self._load_encoder = load_encoder
        self._max_pixels = max_pixels
        self._encoder: Encoder | None = None
        self._candidates = CandidateSource(catalog, notice)
        self._notice = notice
        self._offline: tuple[str, ...] = ()

    def search(self, query: Query) -> list[Hit]:
        """The best matches, best first; equal scores by path.

        Raises `CollectionEmptyError`, `SourceError`, `DecodeError`, `ModelError`.
        """
        return self.search_many([query])[0]

    def search_many(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """The answers to several queries, in order; texts are encoded together. Raises what `search` raises."""
        stored = self._catalog.encoder()
        if stored is None or not self._catalog.last_embedded(stored.id):
            raise CollectionEmptyError(
                f"the collection at {self._catalog.folder} has no images", "run `mmsearch index DIR` first"
            )
        self._look_for_offline(queries)
        asked = self._embed(queries, stored)
        for attempt in range(_TRIES):
            try:
                with self._catalog.snapshot():
                    return self._answer(asked, stored, last_try=attempt == _TRIES - 1)
            except FilesMoved:
                continue
        raise AssertionError("the last try does not give up")

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

    def _hidden(self, query: Query) -> tuple[str, ...]:
        return () if query.offline else self._offline

    def _is_offline(self, path: str) -> bool:
        return any(_is_below(path, folder) for folder in self._offline)

    # --- the queries' embeddings ---

    def _embed(self, queries: Sequence[Query], stored: StoredEncoder) -> list[_Asked]:
        texts = [query.text for query in queries if query.text is not None]
        words = iter(self._encoder_for(stored).encode_texts(texts)) if texts else iter(())
        return [
            _Asked(query, next(words), hidden=self._hidden(query))
            if query.text is not None
            else self._embed_picture(query, stored)
            for query in queries
        ]

    def _embed_picture(self, query: Query, stored: StoredEncoder) -> _Asked:
        if query.like is not None:
            vector, content_hash = self._embed_stored(query.like, stored)
        else:
            assert query.image is not None
            data = query.image if isinstance(query.image, bytes) else _read(query.image)
            vector, content_hash = self._embed_image(data, stored)
        return _Asked(query, vector, None if query.include_self else content_hash, self._hidden(query))

    def _embed_stored(self, like: str | int, stored: StoredEncoder) -> tuple[NDArray[np.float32], str]:
        with self._catalog.snapshot():
            record = self._catalog.image_by_id(like) if isinstance(like, int) else self._catalog.image_at(like)
            vectors = self._catalog.embeddings(stored, [record.content_id] if record else [])[1]
        if record is None or not len(vectors):
            raise SourceError(f"{like} is not in the collection", "use --image for a picture that is not indexed")
        return vectors[0] / np.linalg.norm(vectors[0]), record.content_hash

    def _embed_image(self, data: bytes, stored: StoredEncoder) -> tuple[NDArray[np.float32], str]:
        from mmsearch import decode, preprocess
        from mmsearch.decode_worker import content_hash

        how = stored.info.preprocess
        image, _ = decode.decode(io.BytesIO(data), max_pixels=self._max_pixels, target=how.resize)
        pixels = preprocess.prepare(image, how)
        vector = self._encoder_for(stored).encode_images(pixels[np.newaxis])[0]
        return vector, content_hash(io.BytesIO(data)).hex()

    def _encoder_for(self, stored: StoredEncoder) -> Encoder:
        if self._encoder is None:
            encoder = self._load_encoder(stored.info)
            if encoder.info.fingerprint != stored.info.fingerprint:
                raise ModelMismatchError(
                    f"the files of model {stored.info.spec} are not those that the collection was built with",
                    "restore them, or index again into another collection with -C",
                )
            self._encoder = encoder
        return self._encoder

    # --- candidates and re-ranking ---

    def _answer(self, asked: Sequence[_Asked], stored: StoredEncoder, *, last_try: bool) -> list[list[Hit]]:
        filters = [(entry.query.below, entry.hidden) for entry in asked]
        answers: list[list[Hit] | None] = [
            self._compare_all(entry, stored) if entry.query.exact and chosen == (None, ()) else None
            for entry, chosen in zip(asked, filters, strict=True)
        ]
        open_ends = [number for number, answer in enumerate(answers) if answer is None]
        for chosen in dict.fromkeys(filters[number] for number in open_ends):
            group = [number for number in open_ends if filters[number] == chosen]
            hits = self._answer_group([asked[number] for number in group], *chosen, stored, last_try=last_try)
            for number, answer in zip(group, hits, strict=True):
                answers[number] = answer
        return [answer or [] for answer in answers]

    def _answer_group(
        self,
        asked: Sequence[_Asked],
        below: str | None,
        hidden: tuple[str, ...],
        stored: StoredEncoder,
        *,
        last_try: bool,
    ) -> list[list[Hit]]:
        """Answer queries that share a filter; one that finds too few looks at more candidates."""
        allowed = self._catalog.content_ids(below, hidden) if below is not None or hidden else None
        if allowed is not None and (len(allowed) <= EXACT_SUBSET or any(entry.query.exact for entry in asked)):
            subset = self._scored(asked, [allowed], stored)
            return [self._ranked(entry, scored) for entry, scored in zip(asked, subset, strict=True)]
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
                answers[number] = self._ranked(asked[number], found)
            if wanted >= total:
                break
            left = [n for n, found in zip(left, scored, strict=True) if _needs_more(asked[n].query, answers[n], found)]
            wanted *= _CANDIDATES_A_RESULT
        return answers

    def _compare_all(self, entry: _Asked, stored: StoredEncoder) -> list[Hit]:
        return self._ranked(entry, self._scored_after([entry], 0, stored, None)[0])

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

    def _ranked(self, entry: _Asked, scored: _Scored) -> list[Hit]:
        """Turn scored contents into hits: a content with several files gives several, one without files none."""
        query, ids, scores = entry.query, scored.ids, scored.scores
        if query.min_score is not None:
            kept = scores >= query.min_score
            ids, scores = ids[kept], scores[kept]
        wanted = query.top + 1
        while True:
            best, values = exact.top(ids, scores, wanted)
            images = self._catalog.images_of_contents(best.tolist())
            found = [
                (float(value), record)
                for content, value in zip(best.tolist(), values, strict=True)
                for record in images.get(content, [])
                if record.content_hash != entry.excluded and entry.takes(record.path)
            ]
            if len(found) >= query.top or len(best) == len(ids):
                break
            wanted *= _CANDIDATES_A_RESULT
        found.sort(key=lambda pair: (-pair[0], os.fsencode(pair[1].path)))
        return [
            Hit(rank, score, record, self._is_offline(record.path))
            for rank, (score, record) in enumerate(found[: query.top], 1)
        ]


def _needs_more(query: Query, hits: list[Hit], scored: _Scored) -> bool:
    """Whether a query found too few, and not because its least score has been passed."""
    if len(hits) >= query.top:
        return False
    return query.min_score is None or not (scored.scores < query.min_score).any()


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError(f"cannot read the query image {os.fspath(path)}: {why}", "check the path") from error


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
