"""Unrelated questions: what a score is compared with to tell how sure it is (see `mmsearch.searching.confidence`).

They have the form of the question that was asked. In place of each text they have a caption of
`mmsearch.searching.reference_captions`, in place of each image an image of the collection, drawn by a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmsearch.base.records import Encoder
from mmsearch.query.query import Query
from mmsearch.query.terms import Term
from mmsearch.searching.centring import centred
from mmsearch.searching.confidence import Background
from mmsearch.searching.embed import ALPHA, BETA, GAMMA, wording
from mmsearch.searching.reference_captions import caption_vectors
from mmsearch.searching.view import View
from mmsearch.vectors.exact import units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

# What a term is: a text as it is, one that is centred, or an image.
Kind = Literal["text", "centred", "image"]

# Unrelated questions. With 64 instead, absent subjects gave 1 to 3 in 100 more results.
_QUESTIONS = 256

# Images that stand for the collection. They are read in runs of neighbours, for each of which a disk seeks once.
_IMAGES = 1024
_RUNS = 64


@dataclass(frozen=True, slots=True)
class Form:
    """What a question is made of: the kind of each term and its weight; and if there is more and less."""

    terms: tuple[tuple[Kind, float], ...]
    more: bool
    less: bool

    @classmethod
    def of(cls, query: Query, spec: str) -> Form:
        """The form that a query has for the model `spec`, which centres some texts."""
        terms = tuple((_kind(term, query, spec), term.weight) for term in query.terms)
        return cls(terms, bool(query.more), bool(query.less))

    @property
    def has_text(self) -> bool:
        return any(kind != "image" for kind, _ in self.terms)

    def questions(self, captions: Matrix, images: Matrix) -> Matrix:
        """Unit vectors (m, dim) of unrelated questions of this form, as `mmsearch.searching.embed` adds terms up."""
        pools = {"text": captions, "image": images}
        if any(kind == "centred" for kind, _ in self.terms):
            pools["centred"] = centred(captions, captions.mean(axis=0))
        if len(self.terms) + self.more + self.less == 1 and (not self.terms or self.terms[0][1] > 0):
            return pools[self.terms[0][0] if self.terms else "image"][:_QUESTIONS]
        rng = np.random.default_rng(0)

        def drawn(pool: Matrix) -> Matrix:
            return pool[rng.integers(0, len(pool), _QUESTIONS)]

        if any(not len(pools[kind]) for kind, _ in self.terms) or not len(images):
            return images[:0]
        total = np.zeros((_QUESTIONS, images.shape[1]), np.float32)
        largest = max((abs(weight) for _, weight in self.terms), default=1.0)
        for kind, weight in self.terms:
            total += np.float32(weight / largest) * drawn(pools[kind])
        total = ALPHA * units(total)
        for given, weight in ((self.more, BETA), (self.less, -GAMMA)):
            total += np.float32(weight * given) * drawn(images)
        return units(total)


def _kind(term: Term, query: Query, spec: str) -> Kind:
    if term.kind != "text":
        return "image"
    return "centred" if wording(term, query).is_centred(spec) else "text"


@dataclass
class Unrelated:
    """Makes backgrounds for the questions to one collection; kept, it keeps what they are made from."""

    _captions: tuple[str, Matrix] | None = None
    _images: tuple[tuple[int, int, int], Matrix, bool] | None = None
    _backgrounds: dict[Form, Background] = field(default_factory=dict)
    _looked: bool = False

    def look_again(self) -> None:
        """Notice at the next question whether the collection has changed."""
        self._looked = False

    def background(self, query: Query, view: View, load: Callable[[View], Encoder]) -> Background:
        """What the scores of a question are compared with. `load` gives the model, where texts need it."""
        form = Form.of(query, view.encoder.info.spec)
        images, whole = self._sample(view)
        if form not in self._backgrounds:
            captions = self._caption_vectors(view, load) if form.has_text else images[:0]
            self._backgrounds[form] = Background(form.questions(captions, images), images, whole)
        return self._backgrounds[form]

    def _sample(self, view: View) -> tuple[Matrix, bool]:
        """Images of the collection, unit vectors (n, dim), and whether they are all."""
        stored, embeddings = view.encoder, view.catalog.embeddings
        if self._images is not None and self._looked and self._images[0][0] == stored.id:
            return self._images[1], self._images[2]
        self._looked = True
        last, count = embeddings.last(stored.id), embeddings.count_covered(stored.id)
        state = (stored.id, last, count)
        if self._images is None or self._images[0] != state:
            whole = count <= _IMAGES
            starts = [0] if whole else np.linspace(0, last, _RUNS, endpoint=False).astype(int).tolist()
            rows = _IMAGES // len(starts)
            nothing = np.empty(0, np.int64), np.empty((0, stored.info.dim), np.float32)
            found: dict[int, NDArray[np.float32]] = {}
            for start in starts:
                ids, vectors = next(embeddings.after(stored, start, rows=rows), nothing)
                found.update(zip(ids.tolist(), vectors, strict=True))
            matrix = np.stack(list(found.values())) if found else np.empty((0, stored.info.dim), np.float32)
            self._images = (state, units(matrix), whole)
            self._backgrounds.clear()
        return self._images[1], self._images[2]

    def _caption_vectors(self, view: View, load: Callable[[View], Encoder]) -> Matrix:
        info = view.encoder.info
        if self._captions is None or self._captions[0] != info.fingerprint:
            self._captions = (info.fingerprint, caption_vectors(info.fingerprint, info.dim, lambda: load(view)))
        return self._captions[1]
