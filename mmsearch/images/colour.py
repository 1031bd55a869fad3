"""Colour profiles: what a wide-gamut phone, an AdobeRGB camera or a press calls red, as sRGB (ICC.1:2022).

A profile that is damaged, or not of the picture's kind, counts as missing.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms

from mmsearch.images.levels import in_bands

# The colour space that a profile says to be of (bytes 16 to 20), and the mode of an image that it fits.
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}

# Where an image says that its profile is still to be applied.
_PENDING = "mmsearch-profile-for"

# Levels of 255 by which an sRGB profile of any maker may differ from ours: nobody sees them.
_SAME = 3

# Profiles larger than this are none that a picture needs: those of presses have two megabytes.
_MOST_BYTES = 8 << 20


def mode_of(image: Image.Image) -> str | None:
    """The mode in which an image's profile applies to it, None where it has none, or one that changes nothing."""
    profile = _profile(image)
    if profile is None:
        return "LAB" if image.mode == "LAB" else None
    mode = _MODES.get(profile[16:20])
    if mode is None or (mode == "CMYK") != (image.mode == "CMYK") or (mode == "LAB") != (image.mode == "LAB"):
        return None
    return mode if _transform(profile, mode) else None


def converted(image: Image.Image) -> Image.Image:
    """An image of CMYK or Lab, to which its profile applies, in 8-bit sRGB."""
    return ImageCms.applyTransform(image, _transform(_profile(image), image.mode)) or image


def unfinished(plain: Image.Image, source: Image.Image, mode: str | None) -> Image.Image:
    """An RGB image, made from `source`, whose profile for this mode (RGB or grey) `finished` is still to apply."""
    if mode is not None:
        plain.info[_PENDING] = (_profile(source), mode)
    return plain


def finished(image: Image.Image) -> Image.Image:
    """An RGB image in sRGB. Scaling and cropping before that change nothing but the time it takes."""
    profile, mode = image.info.pop(_PENDING, (None, None))
    if mode is None:
        return image
    transform = _transform(profile, mode)
    return in_bands(image, lambda band: ImageCms.applyTransform(band.convert(mode), transform) or band)


def _profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and 128 < len(profile) <= _MOST_BYTES else None


@lru_cache(maxsize=8)  # the photos of one camera share a profile; making a transform takes milliseconds
def _transform(profile: bytes | None, mode: str) -> Any:
    """None where the profile cannot be used, or is sRGB itself."""
    try:
        source = ImageCms.createProfile("LAB") if profile is None else ImageCms.getOpenProfile(io.BytesIO(profile))
        made = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return made if mode not in {"RGB", "L"} or _changes(made, mode) else None


def _changes(transform: Any, mode: str) -> bool:
    """Whether a transform of RGB or grey does anything that can be seen."""
    steps = bytes(range(0, 256, 51))
    if mode == "L":
        sample = Image.frombytes("L", (len(steps), 1), steps)
    else:
        colours = bytes(value for red in steps for green in steps for blue in steps for value in (red, green, blue))
        sample = Image.frombytes("RGB", (len(colours) // 3, 1), colours)
    changed = ImageCms.applyTransform(sample, transform)
    before, after = sample.convert("RGB").tobytes(), changed.tobytes() if changed else b""
    return any(abs(one - other) > _SAME for one, other in zip(before, after, strict=True))
