"""What EXIF tells of a photo: when it was taken, with which camera, where. A damaged tag costs only its own fact."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from PIL import ExifTags, Image

from mmsearch.images import camera_dates
from mmsearch.images.facts import Position, camera, coordinate, position, text

Result = TypeVar("Result")

_TAGS = ExifTags.Base

# A date with its parts of a second and its offset from UTC, by what it is the date of.
_ORIGINAL = (_TAGS.DateTimeOriginal, _TAGS.SubsecTimeOriginal, _TAGS.OffsetTimeOriginal)
_DIGITIZED = (_TAGS.DateTimeDigitized, _TAGS.SubsecTimeDigitized, _TAGS.OffsetTimeDigitized)
_MODIFIED = (_TAGS.DateTime, _TAGS.SubsecTime, _TAGS.OffsetTime)


def taken(exif: Image.Exif) -> list[str]:
    """When the picture was taken, and when it was digitised, in ISO 8601."""
    return _dates(exif, _ORIGINAL) + _dates(exif, _DIGITIZED)


def modified(exif: Image.Exif) -> list[str]:
    """When the file was last changed by a program that says so: what is left where nothing else is."""
    return _dates(exif, _MODIFIED)


def camera_of(exif: Image.Exif) -> str | None:
    """Maker and model."""
    return _tolerant(lambda: camera(text(exif.get(_TAGS.Make)), text(exif.get(_TAGS.Model))))


def position_of(exif: Image.Exif) -> Position | None:
    """Latitude and longitude in degrees."""

    def read() -> Position | None:
        gps, names = exif.get_ifd(ExifTags.IFD.GPSInfo), ExifTags.GPS
        latitude = coordinate(_numbers(gps.get(names.GPSLatitude)), text(gps.get(names.GPSLatitudeRef)), 90)
        longitude = coordinate(_numbers(gps.get(names.GPSLongitude)), text(gps.get(names.GPSLongitudeRef)), 180)
        return position(latitude, longitude)

    return _tolerant(read)


def _tolerant(read: Callable[[], Result]) -> Result | None:
    try:
        return read()
    except Exception:  # a damaged tag costs this fact and no other
        return None


def _dates(exif: Image.Exif, tags: tuple[int, int, int]) -> list[str]:
    """Those that are dates, from the directory where they belong and from the main one, where some write them."""
    details = _tolerant(lambda: exif.get_ifd(ExifTags.IFD.Exif)) or {}

    def read(folder: Mapping[int, Any], tag: int) -> str:
        return _tolerant(lambda: text(folder.get(tag))) or ""

    date, part, offset = ([read(folder, tag) for folder in (details, exif)] for tag in tags)
    found = [camera_dates.parse(value, part[0] or part[1], offset[0] or offset[1]) for value in date]
    return [value for value in found if value]


def _numbers(value: Any) -> list[float]:
    """Degrees, or degrees and minutes, or with seconds too. A program wrote them as text; 0/0 is a part left out."""
    if value is None:
        return []
    if isinstance(value, str | bytes):
        return [float(number) for number in re.findall(r"[-+]?\d+(?:\.\d+)?", text(value), re.ASCII)]
    parts = [float(part) for part in (value if isinstance(value, tuple | list) else (value,))]
    return parts[:1] + [0.0 if part != part else part for part in parts[1:]]
