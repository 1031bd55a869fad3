"""Which images may be results, by what is known of their files and photos, whatever they show."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from mmsearch.base.errors import UsageError
from mmsearch.base.paths import AnyPath, absolute
from mmsearch.base.text import shown
from mmsearch.query import value_types
from mmsearch.query.words import current

if TYPE_CHECKING:
    from mmsearch.query.conditions import Condition

Orientation = Literal["landscape", "portrait", "square"]
ORIENTATIONS: tuple[Orientation, ...] = ("landscape", "portrait", "square")

_PATH = (str, os.PathLike)

# Names of formats as people and file endings have them, beside the decoders' own.
_FORMATS = {
    "JPG": ("JPEG", "MPO"),
    "JPEG": ("JPEG", "MPO"),
    "HEIC": ("HEIF",),
    "TIF": ("TIFF",),
    "JP2": ("JPEG2000",),
    "J2K": ("JPEG2000",),
}

# Characters of a pattern or a name; SQLite takes patterns of 50,000 bytes.
_LONGEST = 4096

# Pixels and bytes are SQLite integers.
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Near:
    """At most `km` kilometres, along a great circle, from a point in degrees (north and east positive)."""

    latitude: float
    longitude: float
    km: float


@dataclass(frozen=True, slots=True)
class Filters:
    """All that are given must hold, for one and the same file; of several folders, patterns or formats, one.

    `below` are absolute paths of folders. Names and patterns compare in any case and in one normal form
    (`mmsearch.base.names`). `glob` patterns know `*`, `?` and `[...]`, and `*` spans folders: one without / is compared
    with the file's name; one that begins with / (or a drive) with the whole path; any other with the end of the path,
    from some folder's name on. `after` (inclusive) and `before` (exclusive) are
    local times, compared with the photo's EXIF date, or the file's time where it has none. Sizes are in bytes, `width`
    and `height` in pixels of the upright image; `formats` as decoders name them, in capitals. `camera` is part of a
    maker's and model's name, in any case. `gps` asks whether the photo says where it was taken.
    """

    below: tuple[str, ...] = ()
    glob: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    min_size: int | None = None
    max_size: int | None = None
    min_width: int | None = None
    min_height: int | None = None
    orientation: Orientation | None = None
    formats: tuple[str, ...] = ()
    camera: str | None = None
    near: Near | None = None
    gps: bool | None = None
    where: Condition | None = None

    def __bool__(self) -> bool:
        """Whether any is given."""
        return any(getattr(self, one.name) not in (None, ()) for one in fields(self))

    @classmethod
    def from_words(cls, words: Mapping[str, Any]) -> Filters:
        """Filters from the words of `words.Filtering`, whose types have been checked. Raises `UsageError`."""
        words = current(words)
        return cls(
            below=tuple(_folder(path) for path in _several(words, "below", kinds=_PATH)),
            glob=tuple(_clean(pattern, "glob") for pattern in _several(words, "glob", kinds=(str,))),
            after=_start(words, "after"),
            before=_start(words, "before"),
            min_size=_size(words, "min_size"),
            max_size=_size(words, "max_size"),
            min_width=_pixels(words, "min_width"),
            min_height=_pixels(words, "min_height"),
            orientation=_orientation(words.get("orientation")),
            formats=tuple(name for one in _several(words, "image_format", kinds=(str,)) for name in _format(one)),
            camera=_clean(words["camera"], "camera") if "camera" in words else None,
            near=_near(words["near"]) if "near" in words else None,
            gps=words.get("has_gps"),
            where=_condition(words["where"]) if "where" in words else None,
        )


NO_FILTERS = Filters()


def _several(words: Mapping[str, Any], name: str, *, kinds: tuple[type, ...]) -> list[Any]:
    value = words.get(name, ())
    values = list(value) if isinstance(value, list | tuple) else [value]
    for one in values:
        if not isinstance(one, kinds):
            raise UsageError(f"invalid value {shown(one)} for {name!r}", f"give {value_types.told(kinds)}")
    return values


def _folder(path: AnyPath) -> str:
    if not os.fspath(path):
        raise UsageError("the name of a folder is empty", "give --below a path, . for the current folder")
    return absolute(path)


def _clean(text: str, name: str) -> str:
    if not text or "\0" in text or len(text) > _LONGEST:
        raise UsageError(f"invalid value {shown(text)} for --{name}", "leave it out, or say what to look for")
    return text


# What follows imports its parsers where they are needed: most queries have no filter.


def _start(words: Mapping[str, Any], name: str) -> datetime | None:
    if name not in words:
        return None
    from mmsearch.query.dates import period

    return period(words[name])[0]


def _condition(text: str) -> Condition:
    from mmsearch.query.conditions import parse

    return parse(text)


def _size(words: Mapping[str, Any], name: str) -> int | None:
    if name not in words:
        return None
    from mmsearch.query.sizes import parse_size

    return parse_size(str(words[name]))


def _pixels(words: Mapping[str, Any], name: str) -> int | None:
    value: int | None = words.get(name)
    if value is not None and not 0 <= value <= _LARGEST:
        raise UsageError(f"invalid number of pixels {shown(value)} for --{name.replace('_', '-')}", "give 0 or more")
    return value


def _orientation(value: str | None) -> Orientation | None:
    if value is None:
        return None
    for known in ORIENTATIONS:
        if value.lower() == known:
            return known
    raise UsageError(f"unknown orientation {shown(value)}", f"choose {', '.join(ORIENTATIONS)}")


def _format(name: str) -> tuple[str, ...]:
    known = _clean(name, "image-format").lstrip(".").upper()
    return _FORMATS.get(known, (known,))


def _near(value: Any) -> Near:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        latitude, longitude, km = (float(part) for part in parts)
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and 0 <= km < math.inf):
            raise ValueError("out of range")
    except (ValueError, TypeError, OverflowError) as error:
        hint = "write degrees and kilometres as LAT,LON,KM, for example 48.86,2.35,10"
        raise UsageError(f"cannot read {shown(value)} as a place for --near", hint) from error
    return Near(latitude, longitude, km)
