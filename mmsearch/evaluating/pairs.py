"""What is to be found by what: the different texts and images of a set of captions, and which belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.evaluating import resampling
from mmsearch.evaluating.captions import CaptionSet

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Matching:
    """The pairs of t texts and i images. Each different text is one query and each image content one candidate.

    `contents` are the hashes of the images, `paths` one path of each. `right_images` has, for each text, the images
    that it names (all that carry it: any of them is a right answer), `right_texts` the texts of each image. Classes
    without an image come last in `texts`; they are candidates for images, and no queries, so `right_images` lacks them.
    `text_units` and `image_units` number what belongs together, for resampling. `classes` is how many classes
    a folder of classes has, else 0.
    """

    texts: tuple[str, ...]
    contents: tuple[str, ...]
    paths: tuple[str, ...]
    right_images: list[NDArray[np.int64]]
    right_texts: list[NDArray[np.int64]]
    text_units: NDArray[np.int64]
    image_units: NDArray[np.int64]
    classes: int = 0

    @property
    def pairs(self) -> int:
        """How many pairs of a text and an image there are."""
        return sum(len(texts) for texts in self.right_texts)


def match(captions: CaptionSet, contents: Mapping[str, str]) -> Matching:
    """The pairs of those images whose content is known: `contents` has the hash of each path. There must be one.

    Images that share a text, and their texts, are one unit. Images of classes are a unit each: the classes are given.
    """
    texts: dict[str, int] = {}
    images: dict[str, int] = {}
    paths: list[str] = []
    pairs: dict[tuple[int, int], None] = {}
    for image in captions.images:
        content = contents.get(image.path)
        if content is None:
            continue
        if content not in images:
            paths.append(image.path)
        number = images.setdefault(content, len(images))
        pairs.update({(number, texts.setdefault(text, len(texts))): None for text in image.captions})
    of_text: list[list[int]] = [[] for _ in texts]
    of_image: list[list[int]] = [[] for _ in images]
    for image_number, text_number in pairs:
        of_text[text_number].append(image_number)
        of_image[image_number].append(text_number)
    right_images = [np.array(numbers, np.int64) for numbers in of_text]
    units = resampling.linked(right_images, len(images))
    return Matching(
        texts=tuple(dict.fromkeys([*texts, *captions.classes])),
        contents=tuple(images),
        paths=tuple(paths),
        right_images=right_images,
        right_texts=[np.array(numbers, np.int64) for numbers in of_image],
        text_units=np.array([units[numbers[0]] for numbers in of_text], np.int64),
        image_units=np.arange(len(images)) if captions.classes else units,
        classes=len(captions.classes),
    )
