"""Folders of ordinary photos, made from the sample photos: distinct, seeded, of about 500 x 375 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"

# Width and height in pixels, and JPEG quality: what the photos of public data sets and of web pages commonly have.
SIZE = (500, 375)
QUALITY = 85

# Every fourth photo stands upright.
_UPRIGHT = 4


def make(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """Write `count` JPEG files into `folder`, no two alike; those that are there already are kept. Returns their paths.

    Each is a crop of a sample photo (60 to 100 % of either side), some mirrored, with shifted brightness, contrast and
    colour. The same `seed` gives the same photos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo-{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            photo(number, seed=seed).save(path, quality=QUALITY)
    return paths


def photo(number: int, *, size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    """The photo of that number, RGB; the shorter side of `size` (width, height) is the width of an upright one."""
    rng = np.random.default_rng((seed, number))
    source = _sources()[number % len(_sources())]
    width, height = size[::-1] if number % _UPRIGHT == _UPRIGHT - 1 else size
    image = _crop(source, width / height, rng).resize((width, height), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.8, 1.2))
    return image


def _crop(image: Image.Image, aspect: float, rng: np.random.Generator) -> Image.Image:
    """A random part of an image with width / height = `aspect`."""
    widest = min(image.width, image.height * aspect)
    width = widest * rng.uniform(0.6, 1.0)
    height = width / aspect
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    return image.crop(tuple(round(edge) for edge in (left, top, left + width, top + height)))


@cache
def _sources() -> Sequence[Image.Image]:
    paths = [path for path in sorted(SAMPLE_DATA.iterdir()) if path.suffix in {".jpg", ".png", ".webp"}]
    return [Image.open(path).convert("RGB") for path in paths]
