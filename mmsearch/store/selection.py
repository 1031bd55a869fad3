"""Which files may be results, as SQL: every value is bound, every column comes from the lists below."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mmsearch.query.filters import NO_FILTERS, Filters, Near

if TYPE_CHECKING:
    from mmsearch.query.conditions import Comparison, Condition, Field

# Kilometres. The Earth's mean radius (IUGG), and half its circumference, than which no two places are further apart.
EARTH_RADIUS = 6371.0088
_FARTHEST = math.pi * EARTH_RADIUS

# A file's path as text; the folder "/" ends in its separator already.
_SEPARATOR = f"'{os.sep}'"
_NAME = "CAST(images.name AS TEXT)"
_PATH = f"rtrim(CAST(folders.path AS TEXT), {_SEPARATOR}) || {_SEPARATOR} || {_NAME}"

_COLUMNS = {
    "path": _PATH,
    "name": _NAME,
    "size": "images.size",
    "mtime": "images.mtime_ns / 1e9",
    "width": "contents.width",
    "height": "contents.height",
    "format": "contents.format",
    "taken_at": "contents.taken_at",
    "camera": "contents.camera",
    "latitude": "contents.latitude",
    "longitude": "contents.longitude",
    "hash": "lower(hex(contents.hash))",
}

# When a photo was taken, else when its file was changed, in local time.
DATE = (
    "coalesce(contents.taken_at, strftime('%Y-%m-%dT%H:%M:%S', images.mtime_ns / 1000000000, 'unixepoch', 'localtime'))"
)

_TABLES = {
    "contents": "JOIN contents ON contents.id = images.content_id",
    "folders": "JOIN folders ON folders.id = images.folder_id",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The files that pass the filters and lie neither at nor below any of the folders `outside`."""

    filters: Filters = NO_FILTERS
    outside: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether it leaves out anything."""
        return bool(self.filters or self.outside)

    def sql(self) -> tuple[str, list[Any]]:
        """A condition on the joined tables `images`, `folders` and `contents`, and the values bound in it."""
        parts = [*_on_folders(self.filters, self.outside), *_on_files(self.filters), *_on_photos(self.filters)]
        where = " AND ".join(f"({sql})" for sql, _ in parts) or "TRUE"
        return where, [value for _, values in parts for value in values]

    def joins(self) -> str:
        """The joins that the condition needs beside `images`."""
        where = self.sql()[0]
        return " ".join(join for name, join in _TABLES.items() if f"{name}." in where)


def below(path: str) -> tuple[bytes, bytes]:
    """Bounds of the byte strings that start with a folder's path and a separator."""
    stem = os.fsencode(path).rstrip(os.fsencode(os.sep))
    separator = os.fsencode(os.sep)
    return stem + separator, stem + bytes([separator[0] + 1])


def distance(
    latitude: float | None, longitude: float | None, other_latitude: float, other_longitude: float
) -> float | None:
    """Kilometres along a great circle between two places in degrees, by the haversine formula; None for no place.

    The Earth is no sphere: the error is below 0.6 %. SQL knows it as `distance_km`, and could not tell an exception in
    it from Ctrl-C: there is none for any numbers.
    """
    if latitude is None or longitude is None or not (math.isfinite(latitude) and math.isfinite(longitude)):
        return None
    from_, to = math.radians(latitude), math.radians(other_latitude)
    turn = math.radians(other_longitude - longitude)
    chord = math.sin((to - from_) / 2) ** 2 + math.cos(from_) * math.cos(to) * math.sin(turn / 2) ** 2
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(min(1.0, chord)))


_Part = tuple[str, Sequence[Any]]


def _on_folders(filters: Filters, outside: tuple[str, ...]) -> list[_Part]:
    parts: list[_Part] = []
    for folders, word in ((filters.below, "IN"), (outside, "NOT IN")):
        if folders:
            inside = " OR ".join(["(path = ? OR (path > ? AND path < ?))"] * len(folders))
            values = [value for folder in folders for value in (os.fsencode(folder), *below(folder))]
            parts.append((f"images.folder_id {word} (SELECT id FROM folders WHERE {inside})", values))
    return parts


def _on_files(filters: Filters) -> list[_Part]:
    parts: list[_Part] = []
    if filters.glob:
        matches = [_matches(pattern) for pattern in filters.glob]
        parts.append((" OR ".join(sql for sql, _ in matches), [value for _, values in matches for value in values]))
    for moment, sign in ((filters.after, ">="), (filters.before, "<")):
        if moment is not None:
            # Files' times are in UTC; dates of cameras have no zone.
            ours, theirs = f"images.mtime_ns {sign} ?", f"contents.taken_at {sign} ?"
            sql = f"CASE WHEN contents.taken_at IS NULL THEN {ours} ELSE {theirs} END"
            parts.append((sql, [_nanoseconds(moment), moment.isoformat(timespec="seconds")]))
    for column, sign, least in (
        ("images.size", ">=", filters.min_size),
        ("images.size", "<=", filters.max_size),
        ("contents.width", ">=", filters.min_width),
        ("contents.height", ">=", filters.min_height),
    ):
        if least is not None:
            parts.append((f"{column} {sign} ?", [least]))
    return parts


def _on_photos(filters: Filters) -> list[_Part]:
    parts: list[_Part] = []
    if filters.orientation:
        sign = {"landscape": ">", "portrait": "<", "square": "="}[filters.orientation]
        parts.append((f"contents.width {sign} contents.height", []))
    if filters.formats:
        parts.append((f"contents.format IN ({', '.join('?' for _ in filters.formats)})", filters.formats))
    if filters.camera is not None:
        parts.append(("instr(lower(contents.camera), lower(CAST(? AS TEXT))) > 0", [os.fsencode(filters.camera)]))
    if filters.near:
        parts.append(_close_to(filters.near))
    if filters.gps is not None:
        parts.append((f"contents.latitude IS {'NOT ' if filters.gps else ''}NULL", []))
    if filters.where:
        parts.append(_expression(filters.where))
    return parts


def _matches(pattern: str) -> _Part:
    if "/" not in pattern:
        return f"{_NAME} GLOB CAST(? AS TEXT)", [os.fsencode(pattern)]
    pattern = pattern.replace("/", os.sep)
    whole = pattern if os.path.isabs(pattern) else f"*{os.sep}{pattern}"
    return f"{_PATH} GLOB CAST(? AS TEXT)", [os.fsencode(whole)]


def _nanoseconds(moment: datetime) -> int:
    """A local time as nanoseconds of UNIX time, within SQLite's integers."""
    try:
        seconds = moment.timestamp()
    except (OverflowError, OSError, ValueError):  # years that the system's clock does not know
        seconds = math.inf if moment.year > 1970 else -math.inf
    return int(max(-(2.0**62), min(2.0**62, seconds * 1e9)))


def _close_to(near: Near) -> _Part:
    """Places in the belt of latitudes that the circle touches are measured; all others are further away."""
    margin = math.degrees(min(near.km, _FARTHEST) / EARTH_RADIUS) + 1e-6
    belt = [near.latitude - margin, near.latitude + margin]
    measured = "contents.latitude BETWEEN ? AND ? AND distance_km(contents.latitude, contents.longitude, ?, ?) <= ?"
    return measured, [*belt, near.latitude, near.longitude, near.km]


def _expression(condition: Condition) -> _Part:
    from mmsearch.query.conditions import Comparison  # which few queries need

    if isinstance(condition, Comparison):
        return _comparison(condition)
    parts = [_expression(part) for part in condition.parts]
    values = [value for _, some in parts for value in some]
    if condition.word == "not":
        return f"NOT ({parts[0][0]})", values
    return f" {condition.word.upper()} ".join(f"({sql})" for sql, _ in parts), values


def _comparison(comparison: Comparison) -> _Part:
    operands = [_operand(operand) for operand in comparison.operands]
    (first, *others), values = [sql for sql, _ in operands], [value for _, some in operands for value in some]
    if comparison.operator == "is null":
        return f"({first}) IS NULL", values
    if comparison.operator == "in":
        return f"({first}) IN ({', '.join(others)})", values
    if comparison.operator == "between":
        return f"({first}) BETWEEN {others[0]} AND {others[1]}", values
    return f"({first}) {comparison.operator.upper()} ({others[0]})", values


def _operand(operand: Field | float | int | str) -> _Part:
    if isinstance(operand, str):
        return "CAST(? AS TEXT)", [os.fsencode(operand)]
    if isinstance(operand, float | int):
        return "?", [operand]
    return _COLUMNS[operand.name], []
