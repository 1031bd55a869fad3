"""Which files may be results, as SQL: every value is bound, every column comes from the lists below."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mmsearch.base import names
from mmsearch.query.filters import NO_FILTERS, Filters, Near
from mmsearch.store.distance import EARTH_RADIUS
from mmsearch.store.lists import IN_FOLDERS, IN_LIST, MATCHES_LIST, Lists

if TYPE_CHECKING:
    from mmsearch.query.conditions import Comparison, Condition, Field

# Kilometres: half the Earth's circumference, than which no two places are further apart.
_FARTHEST = math.pi * EARTH_RADIUS


def _folded(column: str) -> str:
    """SQL for a text, or the bytes of one, as people compare it (`mmsearch.base.names`).

    Where as many characters as bytes are counted, all is ASCII, or nothing that folding would change: SQLite's own
    `lower` takes a tenth of the time that a call of Python takes.
    """
    raw, text = f"CAST({column} AS BLOB)", f"CAST({column} AS TEXT)"
    return f"CASE length({raw}) WHEN length({text}) THEN lower({text}) ELSE CAST(folded({raw}) AS TEXT) END"


# A file's name, its path (the folder "/" ends in its separator already) and a photo's camera, folded.
_SEPARATOR = f"'{os.sep}'"
_NAME = _folded("images.name")
_PATH = f"rtrim({_folded('folders.path')}, {_SEPARATOR}) || {_SEPARATOR} || {_NAME}"
_CAMERA = _folded("contents.camera")

_COLUMNS = {
    "path": _PATH,
    "name": _NAME,
    "size": "images.size",
    "mtime": "images.mtime_ns / 1e9",
    "width": "contents.width",
    "height": "contents.height",
    "format": "lower(contents.format)",
    "taken_at": "lower(contents.taken_at)",
    "camera": _CAMERA,
    "latitude": "contents.latitude",
    "longitude": "contents.longitude",
    "remark": _folded("contents.remark"),
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

    def sql(self, lists: Lists) -> tuple[str, list[Any]]:
        """A condition on the joined tables `images`, `folders` and `contents`, and the values bound in it.

        Lists of values go into `lists`, so that it holds as well for many as for few.
        """
        parts = [*_on_folders(self, lists), *_on_files(self.filters, lists), *_on_photos(self.filters, lists)]
        where = " AND ".join(f"({sql})" for sql, _ in parts) or "TRUE"
        return where, [value for _, values in parts for value in values]


def joins(where: str) -> str:
    """The joins that a condition needs beside `images`."""
    return " ".join(join for name, join in _TABLES.items() if f"{name}." in where)


_Part = tuple[str, Sequence[Any]]


def _on_folders(selection: Selection, lists: Lists) -> list[_Part]:
    parts: list[_Part] = []
    inside = IN_FOLDERS.format("images.folder_id")
    for sql, folders in ((inside, selection.filters.below), (f"NOT {inside}", selection.outside)):
        if folders:
            parts.append((sql, [lists.of_folders(folders)] * 2))
    return parts


def _on_files(filters: Filters, lists: Lists) -> list[_Part]:
    parts: list[_Part] = []
    if filters.glob:
        parts.append(_matches(filters.glob, lists))
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


def _on_photos(filters: Filters, lists: Lists) -> list[_Part]:
    parts: list[_Part] = []
    if filters.orientation:
        sign = {"landscape": ">", "portrait": "<", "square": "="}[filters.orientation]
        parts.append((f"contents.width {sign} contents.height", []))
    if filters.formats:
        parts.append((IN_LIST.format("contents.format"), [lists.of_texts(filters.formats)]))
    if filters.camera is not None:
        parts.append((f"instr({_CAMERA}, CAST(? AS TEXT)) > 0", [_key(filters.camera)]))
    if filters.near:
        parts.append(_close_to(filters.near))
    if filters.gps is not None:
        parts.append((f"contents.latitude IS {'NOT ' if filters.gps else ''}NULL", []))
    if filters.where:
        parts.append(_expression(filters.where))
    return parts


def _matches(patterns: Sequence[str], lists: Lists) -> _Part:
    """A pattern without a separator is compared with names, any other with whole paths; one without signs is looked up:
    a list of very many names takes no longer than one."""
    kinds: dict[str, list[str]] = {}
    for pattern in patterns:
        pattern = names.folded(pattern)
        column, text = (_PATH, _whole(pattern.replace("/", os.sep))) if "/" in pattern else (_NAME, pattern)
        condition = MATCHES_LIST if any(sign in text for sign in "*?[") else IN_LIST
        kinds.setdefault(condition.format(column), []).append(text)
    return " OR ".join(kinds), [lists.of_texts(texts) for texts in kinds.values()]


def _whole(pattern: str) -> str:
    return pattern if os.path.isabs(pattern) else f"*{os.sep}{pattern}"


def _key(text: str) -> bytes:
    return names.key(os.fsencode(text))


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
        return "CAST(? AS TEXT)", [_key(operand)]
    if isinstance(operand, float | int):
        return "?", [operand]
    return _COLUMNS[operand.name], []
