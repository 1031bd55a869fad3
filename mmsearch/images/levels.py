"""Grey samples of more than 8 bits, or with a sign, to 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Pixels that are converted at a time. Samples of 16 bits and transparent images pass through copies of up to 28 bytes a
# pixel; in bands, only the source and the result are ever there as a whole.
_BAND_PIXELS = 1 << 20

# Tags of TIFF 6.0, and GDAL's for samples that stand for "unknown".
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _NO_DATA = 258, 262, 339, 42113
_WHITE_IS_ZERO = 0
_UNSIGNED, _SIGNED = 1, 2

# Beyond this no measurement lies, but what programs write for "unknown".
_LARGEST = 1e37


@dataclass(frozen=True, slots=True)
class Samples:
    """How grey samples are to be understood: `bits` of one, which `signed` says to be read as integers with a sign,
    `inverted` says that the least is white, and those that are `no_data` are unknown, and shown white.
    """

    bits: int = 16
    signed: bool = False
    inverted: bool = False
    no_data: float | None = None

    @classmethod
    def of(cls, image: Image.Image) -> Samples:
        """What a TIFF says of them; other formats have 16 bits without a sign, if not 32 with one."""
        tags = getattr(image, "tag_v2", None)
        if tags is None:
            return cls(32 if image.mode == "I" else 16, signed=image.mode == "I")
        return cls(
            _first(tags.get(_BITS), 1),
            _first(tags.get(_SAMPLE_FORMAT), _UNSIGNED) == _SIGNED,
            tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
            _number(tags.get(_NO_DATA)),
        )

    @property
    def are_plain(self) -> bool:
        """Whether Pillow's own 8-bit values are right."""
        return self.bits <= 8 and not self.signed


def has_levels(image: Image.Image) -> bool:
    """Whether an image has grey samples that `to_rgb` must bring to 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    return image.mode == "L" and image.format == "TIFF" and not Samples.of(image).are_plain


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB. Integers of up to 16 bits without a sign keep their scale (the largest is white, or black where a TIFF
    says so); anything else is stretched from its own range.
    """
    import numpy as np

    samples = Samples.of(image)
    low, high = _scale(image, samples)

    def convert(band: Image.Image) -> Image.Image:
        values, known = _values(band, samples)
        values = (values - low) / max(high - low, 1e-12) * 255
        if samples.inverted:
            values = 255 - values
        values[~known] = 255
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")

    return in_bands(image, convert)


def in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What `convert` makes of the image in RGB, with a few rows at a time."""
    if image.width * image.height <= _BAND_PIXELS:
        return convert(image)
    whole = Image.new("RGB", image.size)
    for top, band in _bands(image):
        whole.paste(convert(band), (0, top))
    return whole


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in pieces of its whole width, each with its top row."""
    rows = max(1, _BAND_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _scale(image: Image.Image, samples: Samples) -> tuple[float, float]:
    """The samples that become 0 and 255."""
    if image.mode != "F" and samples.bits <= 16 and not samples.signed:
        return 0.0, float((1 << samples.bits) - 1)
    low, high = _range(image, samples)
    if image.mode == "I" and image.format != "TIFF" and low >= 0 and high <= 0xFFFF:  # Pillow has fewer bits in 32
        return 0.0, 255.0 if high <= 255 else 65535.0
    return low, high


def _range(image: Image.Image, samples: Samples) -> tuple[float, float]:
    """The least and the largest known sample."""
    least, most = [], []
    for _, band in _bands(image):
        values, known = _values(band, samples)
        if known.any():
            least.append(float(values[known].min()))
            most.append(float(values[known].max()))
    return min(least, default=0.0), max(most, default=0.0)


def _values(band: Image.Image, samples: Samples) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Samples (h, w), and which are known."""
    import numpy as np

    stored = np.asarray(band)
    if band.mode == "L" and samples.signed:
        stored = stored.view(np.int8)
    elif band.mode == "I" and samples.bits == 32 and not samples.signed:
        stored = stored.view(np.uint32)
    values = stored.astype(np.float64)
    known = np.isfinite(values) & (np.abs(values) < _LARGEST)
    if samples.no_data is not None:
        known &= stored != np.asarray(samples.no_data).astype(stored.dtype)
    return np.where(known, values, 0.0), known


def _first(value: Any, otherwise: int) -> int:
    found = value[0] if isinstance(value, tuple) and value else value
    return found if isinstance(found, int) else otherwise


def _number(value: Any) -> float | None:
    try:
        return float(str(value).strip("\0 ")) if value else None
    except ValueError:
        return None
