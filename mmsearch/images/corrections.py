"""Where Pillow's reading of a format is not what the format says."""

from __future__ import annotations

from typing import IO

from PIL import Image, ImageFile, ImageOps

from mmsearch.base.errors import DecodeError
from mmsearch.images import reasons, tiff_planes

_PSD_CHANNELS_AT, _PACKBITS = 12, "packbits"


def load(image: ImageFile.ImageFile, file: IO[bytes]) -> Image.Image:
    """The opened image with its pixels, as its format means them. Raises `DecodeError` where they cannot be had."""
    format_name = image.format
    if format_name == "TIFF" and tiff_planes.has_wide_planes(image):
        found = tiff_planes.read(image, file)
        if found is None:
            raise DecodeError(f"not supported: {reasons.of_tiff(file)} in separate planes")
        return found
    if format_name == "PSD":
        _skip_further_channels(image, file)
    image.load()
    if format_name == "XBM":  # a set bit is the foreground: black
        return ImageOps.invert(image.convert("L"))
    if format_name == "PCX" and image.mode == "1":
        return _with_two_colours(image, file)
    return image


def _skip_further_channels(image: ImageFile.ImageFile, file: IO[bytes]) -> None:
    """In a PSD, sizes of the rows of all channels come before the rows, also those of channels that are not read."""
    before = file.tell()
    file.seek(_PSD_CHANNELS_AT)
    channels = int.from_bytes(file.read(2), "big")
    file.seek(before)
    further = channels - len(image.tile)
    if further > 0 and all(tile.codec_name == _PACKBITS for tile in image.tile):
        image.tile = [tile._replace(offset=tile.offset + 2 * further * image.height) for tile in image.tile]


def _with_two_colours(image: Image.Image, file: IO[bytes]) -> Image.Image:
    """A PCX of one bit a pixel has its two colours in the header, from version 2 on; version 3 has none."""
    before = file.tell()
    file.seek(0)
    header = file.read(22)
    file.seek(before)
    version, zero, one = header[1], header[16:19], header[19:22]
    if version in {0, 3} or zero == one:
        return image
    coloured = image.convert("L").point([0] * 128 + [1] * 128)
    coloured.putpalette(zero + one)
    return coloured
