"""Upright RGB image -> the square of pixels that an encoder takes.

Sizes, crop offsets and padding follow open_clip's evaluation transform (open_clip/transform.py, which builds on
torchvision.transforms), up to but not including the conversion to a tensor: the pixels are equal, byte for byte.
`halfway` is our own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from mmsearch.images import colour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmsearch.base.records import Preprocess

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}

# Crops that the long side may hold before a strip is cropped while it is resized, rather than after. At 256, a resized
# image takes 51 MB for crops of 224 pixels; a strip of 20 x 100,000 pixels would take 1 GB for a crop of 0.2 MB.
_LONGEST_STRIP = 256


def prepare(image: Image.Image, how: Preprocess) -> NDArray[np.uint8]:
    """Resize, then crop or pad `image` (upright, mode RGB, as `decode` gives it) as `how` says.

    Returns uint8 (size, size, 3) in RGB order, a fresh writable array. The pixels equal those of open_clip's transform
    for the same settings; only for crops of strips more than 256 times as long as wide may they differ slightly,
    because Pillow may then resample the two directions in the other order.
    """
    import numpy as np

    return np.array(prepare_image(image, how), dtype=np.uint8)


def prepare_image(image: Image.Image, how: Preprocess) -> Image.Image:
    """`prepare` as an image, for processes that can do without NumPy (importing it takes 0.1 s)."""
    width, height = _resized(image.width, image.height, how)
    if max(width, height) > _LONGEST_STRIP * how.size:
        image = _resize_middle(image, width, height, how)
    elif (width, height) != image.size:
        image = image.resize((width, height), _FILTERS[how.interpolation])
    image = colour.finished(image)
    fill = how.fill if how.resize_mode == "longest" else 0
    return _centred(image, how.size, fill)


def _resized(width: int, height: int, how: Preprocess) -> tuple[int, int]:
    """The size (width, height) after the resize, rounded as torchvision (`shortest`) and open_clip (`longest`) do."""
    if how.resize_mode == "squash":
        return how.resize, how.resize
    if how.resize_mode == "longest":
        ratio = max(width, height) / how.resize
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    short, long = min(width, height), max(width, height)
    if how.resize_mode == "halfway":
        long = round(how.resize * math.sqrt(long / short))
    else:
        long = int(how.resize * long / short)
    return (how.resize, long) if width <= height else (long, how.resize)


def _resize_middle(image: Image.Image, width: int, height: int, how: Preprocess) -> Image.Image:
    """What a resize to `width` x `height` and a centre crop of the long side to `how.size` give, without the rest."""
    left = round((width - how.size) / 2) if width > height else 0
    top = round((height - how.size) / 2) if height > width else 0
    kept_width, kept_height = min(width, how.size), min(height, how.size)
    scale_x, scale_y = image.width / width, image.height / height
    box = (left * scale_x, top * scale_y, (left + kept_width) * scale_x, (top + kept_height) * scale_y)
    return image.resize((kept_width, kept_height), _FILTERS[how.interpolation], box=box)


def _centred(image: Image.Image, size: int, fill: int) -> Image.Image:
    """Pad what is shorter than `size` with `fill` (the odd pixel goes right and below), crop what is longer."""
    across, down = max(0, size - image.width), max(0, size - image.height)
    if across or down:
        border = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
        image = ImageOps.expand(image, border, (fill, fill, fill))
    if image.size == (size, size):
        return image
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))
