"""TIFFs that keep each colour in a plane of its own, with 16-bit samples, which Pillow takes for planes of 8 bits.

Each plane is read as a grey picture: a directory that describes it alone is put behind a copy of the file.
"""

from __future__ import annotations

import io
import struct
from typing import IO, Any

from PIL import Image

from mmsearch.images import levels

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_SAMPLES, _ROWS, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT = 277, 278, 284, 317, 322, 323
_STRIPS, _TILES = (273, 279), (324, 325)
_COPIED = (_WIDTH, _HEIGHT, _COMPRESSION, _FILL_ORDER, _ROWS, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT)

# The type of a number of 32 bits.
_LONG = 4

_SEPARATE, _RGB, _BLACK_IS_ZERO = 2, 2, 1


def has_wide_planes(image: Image.Image) -> bool:
    """Whether an opened image is a TIFF with planes of 16 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS)
    return tags.get(_PLANAR) == _SEPARATE and isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8


def read(image: Image.Image, file: IO[bytes]) -> Image.Image | None:
    """The picture in 8-bit RGB; None where its colours are no RGB, or where it is a BigTIFF."""
    tags: Any = getattr(image, "tag_v2", {})
    file.seek(0)
    data = file.read()
    if tags.get(_PHOTOMETRIC) != _RGB or set(tags[_BITS]) != {16} or 42 not in data[2:4]:
        return None
    planes = [_plane(tags, data, number) for number in range(3)]
    return Image.merge("RGB", [levels.to_rgb(plane).getchannel(0) for plane in planes])


def _plane(tags: Any, data: bytes, number: int) -> Image.Image:
    """One plane as a grey picture."""
    offsets, sizes = _STRIPS if _STRIPS[0] in tags else _TILES
    pieces = len(tags[offsets]) // len(tags[_BITS])
    own = slice(number * pieces, (number + 1) * pieces)
    described: dict[int, tuple[int, ...]] = {tag: (tags[tag],) for tag in _COPIED if tag in tags}
    described |= {_BITS: (16,), _SAMPLES: (1,), _PHOTOMETRIC: (_BLACK_IS_ZERO,)}
    described |= {offsets: tags[offsets][own], sizes: tags[sizes][own]}
    plane = Image.open(io.BytesIO(_with_directory(data, described)), formats=["TIFF"])
    plane.load()
    return plane


def _with_directory(data: bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """A TIFF's bytes with another directory behind, to which the header points."""
    order = "<" if data[:2] == b"II" else ">"
    data += bytes(len(data) % 2)
    behind = len(data) + 2 + 12 * len(tags) + 4
    rows, longer = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        rows += struct.pack(f"{order}HHI", tag, _LONG, len(values))
        rows += packed if len(packed) <= 4 else struct.pack(f"{order}I", behind + len(longer))
        longer += packed if len(packed) > 4 else b""
    directory = struct.pack(f"{order}H", len(tags)) + rows + bytes(4) + longer
    return data[:4] + struct.pack(f"{order}I", len(data)) + data[8:] + directory
