"""Queries to unit vectors.

Terms: with the unit vectors v_i of the terms and their weights w_i,

    q = s / |s|,   s = sum_i w_i v_i

Feedback (Rocchio 1971; Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, section 9.1.1, with
the weights that it calls reasonable): with the unit vectors of the images that there should be more of (M) and less of
(L), of which there may be none,

    q' = s' / |s'|,   s' = 1 q + 0.75 mean(M) - 0.15 mean(L)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base.errors import OF_A_QUESTION, MMSearchError, ModelMismatchError, SourceError
from mmsearch.base.records import Encoder, EncoderInfo
from mmsearch.query.query import Query
from mmsearch.query.terms import Term
from mmsearch.searching import places
from mmsearch.searching.embed_texts import TextEmbedder, Wording
from mmsearch.searching.fuse import fuse
from mmsearch.searching.view import View

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from mmsearch.images.pool import Decoded
    from mmsearch.searching.query_images import QueryImages

    Vector = NDArray[np.float32]
    # Texts and their vectors; images that are being decoded.
    Words = dict[Wording, Vector]
    Pictures = dict[tuple[Query, Term], Future[Decoded]]

# Rocchio's weights of the query, of what there should be more of, and of what there should be less of.
ALPHA = 1.0
BETA = 0.75
GAMMA = 0.15


class ModelChanged(Exception):  # noqa: N818  (a signal, not an error that a user sees)
    """Another process has switched the collection to another model; embed the queries again."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A query's unit vector (dim,), and the hashes of the contents that were among its terms."""

    vector: Vector
    sources: frozenset[str] = frozenset()


class QueryEmbedder:
    """Turns queries into vectors; kept, it keeps the model loaded and the decoder's process running."""

    def __init__(self, load_encoder: Callable[[EncoderInfo], Encoder], *, max_pixels: int) -> None:
        self._load_encoder = load_encoder
        self._max_pixels = max_pixels
        self._texts: TextEmbedder | None = None
        self._images: QueryImages | None = None
        self._thread: Executor | None = None
        # What a thread embeds before it is asked for, the latest last, with its texts and what embeds them.
        self._ahead: list[tuple[list[Wording], TextEmbedder, Future[Words]]] = []

    @property
    def encoder(self) -> Encoder | None:
        """The model, if a query has needed it."""
        return self._texts.encoder if self._texts else None

    def loaded(self, view: View) -> Encoder:
        """The model, loaded if it is not yet. Raises `ModelError`, `ModelMismatchError`."""
        return self._loaded(view).encoder

    def close(self) -> None:
        """End the decoder's process, and let go of the model."""
        if self._images is not None:
            self._images.close()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        self._images = self._texts = self._thread = None
        self._ahead = []

    def expect(self, queries: Sequence[Query]) -> None:
        """Begin to embed, in a thread, the texts of queries that `embed` will be given next. It does nothing before the
        model has been loaded.
        """
        asked = _texts(queries)
        if self._texts is None or not asked:
            return
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(1, thread_name_prefix="query-texts")
        ahead = self._thread.submit(self._texts.embed, asked)
        self._ahead = [*self._ahead[-1:], (asked, self._texts, ahead)]

    def embed(self, queries: Sequence[Query], view: View) -> list[Embedded | MMSearchError | None]:
        """The vector of each query, None for one without a subject. All texts are encoded together.

        In place of one that has no vector is its error: `SourceError`, `DecodeError`, or `UsageError` where its terms
        cancel out. Raises `ModelError`.
        """
        wanted = [(query, term) for query in queries for term in query.terms if term.kind == "image"]
        if not wanted:
            return self._embed_all(queries, {}, view)
        from concurrent.futures import ThreadPoolExecutor

        decode = self._decoder(view).decode
        thread = ThreadPoolExecutor(1, thread_name_prefix="query-images")
        try:
            decoded = {
                (query, term): thread.submit(decode, _source(term), query.allow_private_urls) for query, term in wanted
            }
            self._loaded(view)  # while they are decoded
            return self._embed_all(queries, decoded, view)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def _embed_all(
        self, queries: Sequence[Query], decoded: Pictures, view: View
    ) -> list[Embedded | MMSearchError | None]:
        words = self._embed_texts(queries, view)
        return [self._tried(query, words, decoded, view) if query.has_subject else None for query in queries]

    def _tried(self, query: Query, words: Words, decoded: Pictures, view: View) -> Embedded | MMSearchError:
        try:
            return self._embed(query, words, decoded, view)
        except OF_A_QUESTION as error:
            for term in query.terms:
                if (query, term) in decoded:  # other queries need not wait for its other images
                    decoded[query, term].cancel()
            return error

    def _embed(self, query: Query, words: Words, decoded: Pictures, view: View) -> Embedded:
        vectors, sources = [], set()
        for term in query.terms:
            if term.kind == "text":
                vectors.append(words[wording(term, query)])
                continue
            vector, content_hash = (
                self._embed_stored(term.value, view)
                if term.kind == "like"
                else self._embed_image(decoded[query, term], view)
            )
            vectors.append(vector)
            sources.add(content_hash)
        start = fuse([term.weight for term in query.terms], vectors) if vectors else None
        return Embedded(self._refine(start, query, view), frozenset(sources))

    def _refine(self, start: Vector | None, query: Query, view: View) -> Vector:
        parts = [] if start is None else [(ALPHA, start)]
        for weight, ids in ((BETA, query.more), (-GAMMA, query.less)):
            parts += [(weight / len(ids), self._embed_stored(number, view)[0]) for number in ids]
        if len(parts) == 1 and start is not None:
            return start
        return fuse([weight for weight, _ in parts], [vector for _, vector in parts])

    # --- each kind of term ---

    def _embed_texts(self, queries: Sequence[Query], view: View) -> Words:
        """The vector of each text, in each wording that is asked for."""
        asked = _texts(queries)
        if not asked:
            return {}
        embedder = self._loaded(view)
        for texts, by, words in self._ahead:
            if texts == asked and by is embedder:
                return words.result()
        return embedder.embed(asked)

    def _embed_stored(self, like: str | bytes | int, view: View) -> tuple[Vector, str]:
        assert not isinstance(like, bytes)
        with view.catalog.snapshot():
            if not view.is_current():
                raise ModelChanged
            record = view.catalog.files.by_id(like) if isinstance(like, int) else places.image(view.catalog, like)
            vectors = view.catalog.embeddings.of(view.encoder, [record.content_id] if record else [])[1]
        if record is None or not len(vectors):
            raise SourceError(f"{like} is not in the collection", "use --image for a picture that is not indexed")
        return vectors[0] / np.linalg.norm(vectors[0]), record.content_hash

    def _embed_image(self, picture: Future[Decoded], view: View) -> tuple[Vector, str]:
        decoded = picture.result()
        assert decoded.pixels is not None
        vector = self._loaded(view).encoder.encode_images(decoded.pixels[np.newaxis])[0]
        return vector, decoded.content_hash.hex()

    def _decoder(self, view: View) -> QueryImages:
        from mmsearch.searching.query_images import QueryImages

        if self._images is not None and self._images.how != view.encoder.info.preprocess:
            self._images.close()  # another process has changed the collection's model
            self._images = None
        if self._images is None:
            info = view.encoder.info
            self._images = QueryImages(info.preprocess, max_pixels=self._max_pixels, formats=view.catalog.formats())
        return self._images

    def _loaded(self, view: View) -> TextEmbedder:
        if self._texts is None or self._texts.encoder.info.fingerprint != view.encoder.info.fingerprint:
            encoder = self._load_encoder(view.encoder.info)
            if encoder.info.fingerprint != view.encoder.info.fingerprint:
                raise ModelMismatchError.of(view.encoder.info.spec)
            self._texts = TextEmbedder(encoder)
        return self._texts


def wording(term: Term, query: Query) -> Wording:
    """How a text term of a query is embedded: `raw` texts are as the model takes them."""
    centring = False if query.templates is False and query.centring is None else query.centring
    return Wording(str(term.value), query.templates, centring)


def _texts(queries: Sequence[Query]) -> list[Wording]:
    """The different texts, in the wordings that are asked for."""
    terms = ((term, query) for query in queries for term in query.terms if term.kind == "text")
    return list(dict.fromkeys(wording(term, query) for term, query in terms))


def _source(term: Term) -> str | bytes:
    assert not isinstance(term.value, int)
    return term.value
