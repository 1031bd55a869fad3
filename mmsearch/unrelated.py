"""Unrelated questions: what a score is compared with to tell how sure it is (see `mmsearch.confidence`).

They have the form of the question that was asked. In place of each text they have a caption of
`mmsearch.reference_captions`, in place of each image an image of the collection, drawn by a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.confidence import Background
from mmsearch.embedding_queries import ALPHA, BETA, GAMMA
from mmsearch.query import Query
from mmsearch.reference_captions import caption_vectors
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.types import Encoder
from mmsearch.unit_vectors import units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

# Unrelated questions. With 64 instead, absent subjects gave 1 to 3 in 100 more results.
_QUESTIONS = 256

# Images that stand for the collection. They are read in runs of neighbours, for each of which a disk seeks once.
_IMAGES = 1024
_RUNS = 64


@dataclass(frozen=True, slots=True)
class Form:
    """What a question is made of: for each term whether it is a text, and its weight; and if there is more and less."""

    terms: tuple[tuple[bool, float], ...]
    more: bool
    less: bool

    @classmethod
    def of(cls, query: Query) -> Form:
        terms = tuple((term.kind == "text", term.weight) for term in query.terms)
        return cls(terms, bool(query.more), bool(query.less))

    @property
    def has_text(self) -> bool:
        return any(is_text for is_text, _ in self.terms)

    def questions(self, captions: Matrix, images: Matrix) -> Matrix:
        """Unit vectors (m, dim) of unrelated questions of this form, as `mmsearch.embedding_queries` adds terms up."""
        if len(self.terms) + self.more + self.less == 1 and (not self.terms or self.terms[0][1] > 0):
            return (captions if self.terms and self.terms[0][0] else images)[:_QUESTIONS]
        rng = np.random.default_rng(0)

        def drawn(pool: Matrix) -> Matrix:
            return pool[rng.integers(0, len(pool), _QUESTIONS)]

        if any(not len(captions if is_text else images) for is_text, _ in self.terms) or not len(images):
            return images[:0]
        total = np.zeros((_QUESTIONS, images.shape[1]), np.float32)
        largest = max((abs(weight) for _, weight in self.terms), default=1.0)
        for is_text, weight in self.terms:
            total += np.float32(weight / largest) * drawn(captions if is_text else images)
        total = ALPHA * units(total)
        for given, weight in ((self.more, BETA), (self.less, -GAMMA)):
            total += np.float32(weight * given) * drawn(images)
        return units(total)


@dataclass
class Unrelated:
    """Makes backgrounds for the questions to one collection; kept, it keeps what they are made from."""

    catalog: Catalog
    _captions: tuple[str, Matrix] | None = None
    _images: tuple[tuple[int, int, int], Matrix, bool] | None = None
    _backgrounds: dict[Form, Background] = field(default_factory=dict)
    _looked: bool = False

    def look_again(self) -> None:
        """Notice at the next question whether the collection has changed."""
        self._looked = False

    def background(self, query: Query, stored: StoredEncoder, encoder: Callable[[], Encoder]) -> Background:
        """What the scores of a question are compared with. `encoder` loads the model, where texts need it."""
        form = Form.of(query)
        images, whole = self._sample(stored)
        if form not in self._backgrounds:
            captions = self._caption_vectors(stored, encoder) if form.has_text else images[:0]
            self._backgrounds[form] = Background(form.questions(captions, images), images, whole)
        return self._backgrounds[form]

    def _sample(self, stored: StoredEncoder) -> tuple[Matrix, bool]:
        """Images of the collection, unit vectors (n, dim), and whether they are all."""
        if self._images is not None and self._looked and self._images[0][0] == stored.id:
            return self._images[1], self._images[2]
        self._looked = True
        last, count = self.catalog.last_embedded(stored.id), self.catalog.count_covered(stored.id)
        state = (stored.id, last, count)
        if self._images is None or self._images[0] != state:
            whole = count <= _IMAGES
            starts = [0] if whole else np.linspace(0, last, _RUNS, endpoint=False).astype(int).tolist()
            rows = _IMAGES // len(starts)
            nothing = np.empty(0, np.int64), np.empty((0, stored.info.dim), np.float32)
            found: dict[int, NDArray[np.float32]] = {}
            for start in starts:
                ids, vectors = next(self.catalog.embeddings_after(stored, start, rows=rows), nothing)
                found.update(zip(ids.tolist(), vectors, strict=True))
            matrix = np.stack(list(found.values())) if found else np.empty((0, stored.info.dim), np.float32)
            self._images = (state, units(matrix), whole)
            self._backgrounds.clear()
        return self._images[1], self._images[2]

    def _caption_vectors(self, stored: StoredEncoder, encoder: Callable[[], Encoder]) -> Matrix:
        fingerprint = stored.info.fingerprint
        if self._captions is None or self._captions[0] != fingerprint:
            self._captions = (fingerprint, caption_vectors(fingerprint, stored.info.dim, encoder))
        return self._captions[1]
