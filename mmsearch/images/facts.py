"""Facts about a photo, whichever kind of metadata tells them: names of cameras, positions, texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmsearch.base.text import one_line

# Latitude and longitude in degrees, north and east positive.
Position = tuple[float, float]

_SIDES = {"", "N", "S", "E", "W"}


def text(value: Any) -> str:
    """A text in one line, up to its first NUL, from UTF-8, or else from Latin-1.

    A string is one that has been read as Latin-1, byte for byte, as Pillow reads EXIF.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            return one_line(value.split("\0", 1)[0])
    if not isinstance(value, bytes):
        return one_line(str(value))
    raw = value.split(b"\0", 1)[0]
    try:
        return one_line(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return one_line(raw.decode("latin-1"))


def camera(make: str, model: str) -> str | None:
    """The name of a camera, with the maker named once."""
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    return name.strip() or None


def coordinate(parts: Sequence[float], reference: str, limit: float) -> float | None:
    """Degrees from degrees, minutes and seconds, of which the latter may be missing; None where there is no such place.

    `reference` says the side, as a letter or an English word: south and west are negative, as is a part with a minus.
    Where it is missing, north or east is meant.
    """
    side = reference[:1].upper()
    if not 1 <= len(parts) <= 3 or side not in _SIDES:
        return None
    value = float(sum(abs(part) / 60.0**power for power, part in enumerate(parts)))
    if not value <= limit:  # nor not a number
        return None
    negative = any(part < 0 for part in parts) or side in {"S", "W"}
    return -value if negative else value


def position(latitude: float | None, longitude: float | None) -> Position | None:
    """Both, or neither. Zero and zero is what cameras write that have found no satellites."""
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return latitude, longitude
