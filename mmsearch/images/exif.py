"""What EXIF tells of a photo: when it was taken, with which camera, where. A damaged tag costs only its own fact."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from PIL import ExifTags, Image

from mmsearch.base.records import ImageFacts
from mmsearch.base.text import one_line

Result = TypeVar("Result")

_EXIF_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


def facts_of(format_name: str, size: tuple[int, int], exif: Image.Exif) -> ImageFacts:
    """The facts of an image of this format and size (width and height in pixels, upright)."""
    latitude, longitude = _tolerant(_position, exif) or (None, None)
    return ImageFacts(*size, format_name, _tolerant(_taken_at, exif), _tolerant(_camera, exif), latitude, longitude)


def _tolerant(read: Callable[[Image.Exif], Result], exif: Image.Exif) -> Result | None:
    try:
        return read(exif)
    except Exception:  # a damaged tag costs this fact and no other
        return None


def _taken_at(exif: Image.Exif) -> str | None:
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for value in (details.get(ExifTags.Base.DateTimeOriginal), exif.get(ExifTags.Base.DateTime)):
        found = _EXIF_DATE.match(_text(value))
        with suppress(ValueError):  # no such day, or a camera whose clock was never set
            if found:
                return datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*found.groups())).isoformat()
    return None


def _camera(exif: Image.Exif) -> str | None:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    return name.strip() or None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return one_line(str(value or ""))


def _position(exif: Image.Exif) -> tuple[float | None, float | None]:
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), "S", 90)
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), "W", 180)
    return (latitude, longitude) if latitude is not None and longitude is not None else (None, None)


def _degrees(parts: Any, reference: Any, negative: str, limit: float) -> float | None:
    if parts is None:
        return None
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    if not 0 <= value <= limit:
        return None
    return -value if _text(reference).upper() == negative else value
