"""Texts of questions to unit vectors: templates, the model, and centring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base.records import Encoder
from mmsearch.searching import centring
from mmsearch.searching.fuse import fuse
from mmsearch.searching.prompts import ensemble
from mmsearch.searching.reference_captions import caption_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wording:
    """A text, and whether it is put in templates and centred (None: as measured best for the model)."""

    text: str
    templates: bool | None = None
    centring: bool | None = None

    def is_centred(self, spec: str) -> bool:
        """Whether the model `spec` centres it."""
        return centring.applies(self.text, spec, self.centring)


class TextEmbedder:
    """Embeds texts by one model; kept, it keeps what they are centred by."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._mean: Vector | None = None

    def embed(self, asked: Sequence[Wording]) -> dict[Wording, Vector]:
        """The unit vector of each, float32 (dim,). All are encoded together. Raises `ModelError`."""
        spec = self.encoder.info.spec
        texts = {wording: ensemble(wording.text, spec, wording.templates) for wording in asked}
        rows = iter(self.encoder.encode_texts([text for group in texts.values() for text in group]))
        groups = {wording: [next(rows) for _ in group] for wording, group in texts.items()}
        found = {wording: fuse([1.0] * len(group), group) for wording, group in groups.items()}
        short = [wording for wording in found if wording.is_centred(spec)]
        if short:
            vectors = centring.centred(np.stack([found[wording] for wording in short]), self.centre())
            found.update(zip(short, vectors, strict=True))
        return found

    def centre(self) -> Vector:
        """The mean of the reference captions' unit vectors (dim,), which short texts are centred by."""
        if self._mean is None:
            info = self.encoder.info
            self._mean = caption_vectors(info.fingerprint, info.dim, lambda: self.encoder).mean(axis=0)
        return self._mean
