"""RAW photos that are TIFFs (DNG, NEF, CR2, ARW and others): the previews that cameras put beside the sensor's data.

A RAW is told by what it holds: samples of a sensor, or a tag that says so (DNG 1.7, TIFF/EP ISO 12234-2).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _MAKE = 256, 257, 259, 262, 271
_STRIPS, _STRIP_SIZES, _SUB_IFDS, _JPEG, _JPEG_SIZE, _DNG = 273, 279, 330, 513, 514, 50706

# How a sensor's samples are called: a colour filter array, and linear ones.
_SENSOR = {32803, 34892}
_JPEG_KINDS = {6, 7}

# What makers call their RAW files.
_KINDS = {
    "canon": "CR2", "nikon": "NEF", "sony": "ARW", "pentax": "PEF", "ricoh": "PEF", "samsung": "SRW",
    "hasselblad": "3FR", "phase one": "IIQ", "leaf": "IIQ", "mamiya": "MEF", "seiko epson": "ERF",
    "eastman kodak": "DCR",
}  # fmt: skip

# Directories that are looked at, and bytes of a preview: cameras write a handful, of up to some megabytes.
_MOST_DIRECTORIES = 32
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Raw:
    """A RAW photo: its `kind`, its own size as stored (width and height in pixels), and its largest preview."""

    kind: str
    size: tuple[int, int]
    preview: ImageFile.ImageFile


def of(image: ImageFile.ImageFile, file: IO[bytes]) -> Raw | None:
    """What an opened TIFF is as a RAW; None for any other. `image` itself is the preview where there is no larger."""
    if image.format != "TIFF":
        return None
    before = file.tell()
    try:
        found = list(_directories(file))
        kind = _kind(file, found)
        if kind is None:
            return None
        sizes = [_size(tags) for tags in found if tags.get(_PHOTOMETRIC) in _SENSOR] or [image.size]
        previews = [image, *_previews(found, file)]
    except Exception:  # a damaged directory: then it is the TIFF that it seems to be
        return None
    finally:
        file.seek(before)
    return Raw(kind, max(sizes), max(previews, key=lambda one: one.width * one.height))


def _kind(file: IO[bytes], directories: list[Any]) -> str | None:
    file.seek(8)
    if file.read(2) == b"CR":
        return "CR2"
    if any(_DNG in tags for tags in directories):
        return "DNG"
    if not any(tags.get(_PHOTOMETRIC) in _SENSOR for tags in directories):
        return None
    make = str(directories[0].get(_MAKE, "")).lower()
    return next((kind for name, kind in _KINDS.items() if make.startswith(name)), "RAW")


def _directories(file: IO[bytes]) -> Iterator[Any]:
    """The directories in a row, and those within them."""
    file.seek(0)
    header = file.read(8)
    waiting = [int.from_bytes(header[4:8], "little" if header[:2] == b"II" else "big")]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        offset = waiting.pop(0)
        if not offset or offset in seen:
            continue
        seen.add(offset)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(offset)
        tags.load(file)
        yield tags
        within = tags.get(_SUB_IFDS, ())
        waiting += [*(within if isinstance(within, tuple) else (within,)), tags.next]


def _previews(directories: list[Any], file: IO[bytes]) -> Iterator[ImageFile.ImageFile]:
    """The previews that are JPEGs, opened but not loaded."""
    for tags in directories:
        start, size = tags.get(_JPEG), tags.get(_JPEG_SIZE)
        if start is None and tags.get(_COMPRESSION) in _JPEG_KINDS and tags.get(_PHOTOMETRIC) not in _SENSOR:
            start, size = _only(tags.get(_STRIPS)), _only(tags.get(_STRIP_SIZES))
        if not isinstance(start, int) or not isinstance(size, int) or not 0 < size <= _MOST_BYTES:
            continue
        file.seek(start)
        data = file.read(size)
        try:
            yield Image.open(io.BytesIO(data), formats=["JPEG"])
        except (UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning):
            continue  # lossless JPEGs of the sensor's samples, and previews over the limit of pixels


def _size(tags: Any) -> tuple[int, int]:
    return int(tags.get(_WIDTH, 0)), int(tags.get(_HEIGHT, 0))


def _only(values: Any) -> Any:
    return values[0] if isinstance(values, tuple) and len(values) == 1 else None
