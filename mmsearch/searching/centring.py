"""Centring: what all short texts have in common is taken off the vector of one, so that the rest decides.

    q = (t - STRENGTH m) / |t - STRENGTH m|

t is the unit vector of a text, m the mean of the unit vectors of many short texts about all kinds of things. Texts of a
model that was trained by InfoNCE lie in a narrow cone, away from the images, and m, its middle, is most of each of
them. How near an image is to m says nothing of a question, but ranks images for all questions alike. For the ranking
this is the text's half of distribution normalisation (Zhou and others, "Test-Time Distribution Normalization for
Contrastively Learned Vision-language Models", NeurIPS 2023, where the strength is 0.5 on both sides).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.exact import units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

# Of m that is taken off. With CLIP ViT-B/32 and nouns as questions any strength from 0.5 to 1 ranks about as well; see
# `tests/bench/vectors_and_words.py`.
STRENGTH = 0.75

# Words of a text that is centred. "a dog on grass" has four; on titles of a dozen words it made no ranking better.
MOST_WORDS = 5

# With the built-in model, centring measured neither better nor worse. Models that were trained by a sigmoid loss, for
# which the reason above does not hold, have not been measured.
_BUILT_IN = "starter"
_SIGMOID = "siglip"


def is_default(spec: str) -> bool:
    """Whether short texts are centred for the model `spec` where nobody says otherwise."""
    return spec != _BUILT_IN and _SIGMOID not in _name(spec).lower()


def applies(text: str, spec: str, wanted: bool | None) -> bool:
    """Whether a text is centred for the model `spec`: short ones are, if `wanted`, or if None and the default."""
    return (is_default(spec) if wanted is None else wanted) and is_short(text)


def is_short(text: str) -> bool:
    """Whether a text has so few words that centring can help."""
    return len(text.split()) <= MOST_WORDS


def centred(vectors: Matrix, mean: Matrix) -> Matrix:
    """The unit vectors `vectors`, float32 (n, dim), with `STRENGTH` of `mean` (dim,) taken off; unit vectors again."""
    return units(vectors - np.float32(STRENGTH) * mean)


def _name(spec: str) -> str:
    """What the canonical name of a model says that it is, without the folders that its files lie in."""
    form, _, path = spec.partition(":")
    if form == "local-dir":
        return os.path.basename(path)
    return form if os.path.isabs(path) else spec
