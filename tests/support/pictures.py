"""Small pictures for tests, and image files made of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

# Top left, top right, bottom left, bottom right: no turn or flip leaves them in place.
CORNERS = ((220, 30, 40), (30, 170, 60), (40, 60, 210), (235, 235, 225))


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """Four plain colours, one in each corner."""
    image = Image.new("RGB", (width, height))
    places = ((0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2))
    for (left, top), colour in zip(places, CORNERS, strict=True):
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def corners(image: Image.Image) -> list[tuple[int, int, int]]:
    """The mean colour in the middle of each quadrant, in the order of `CORNERS`."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    means = []
    for row in (height // 4, 3 * height // 4):
        for column in (width // 4, 3 * width // 4):
            patch = pixels[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).mean(axis=0)
            means.append((round(patch[0]), round(patch[1]), round(patch[2])))
    return means


def file_bytes(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """`image` as a file of a format that Pillow or a plug-in of mmsearch's writes."""
    if format_name == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    elif format_name == "JXL":
        import pillow_jxl  # noqa: F401  (registers itself)
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()
