"""What each column of each table may hold, in one table: a predicate, what it says in words, and how it is mended.

What a value alone cannot tell is looked at elsewhere: whether rows are as they were written (`checksums`), whether they
refer to something (`repair.Checks`), whether embeddings have length 1 (there too, many at a time).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from mmsearch.base.records import ScanOptions
from mmsearch.images import formats
from mmsearch.store import checksums, schema, stored_json
from mmsearch.store.database import now
from mmsearch.vectors import kinds, on_disk


class Mend(Enum):
    """What is done about a row with a wrong value that its checksum cannot put right; as the user is told."""

    DROP = "dropped"
    FIND_AGAIN = "dropped; the next `mmsearch index` finds these files again"
    READ_AGAIN = "the next `mmsearch index` reads these images again"
    RESET = "set to the default"
    KEEP = "kept as it is, since it cannot be told what has changed; `mmsearch info` shows it"
    REMAKE = "read from the model again, or dropped with its embeddings, which `mmsearch index` then makes again"
    REBUILD = "rebuilt"


@dataclass(frozen=True, slots=True)
class Rule:
    """A value is right if `holds` says so; `should` ends the sentence "it should be"; `default` is what RESET sets."""

    holds: Callable[[Any], bool]
    should: str
    mend: Mend
    default: Callable[[], Any] = lambda: None


# The largest number that SQLite gives an id, with room for more.
_MOST_ID = 2**62

_TAKEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d)?", re.ASCII)

# Characters in a text that is a name, a reason or a camera: reasons name a file's own words, which are cut at 160.
_MOST_TEXT = 4_096

# Pixels along a side: no format that is read has more.
_MOST_SIDE = 2**32

_HEX = re.compile(r"[0-9a-f]+")
_FOLDER_SEPARATORS = tuple(os.fsencode(mark) for mark in (os.sep, os.altsep) if mark)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and 0 < value < _MOST_ID


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < _MOST_ID


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and 0 < value <= _MOST_SIDE


def _is_integer(value: Any) -> bool:
    return isinstance(value, int)


def _is_truth(value: Any) -> bool:
    return isinstance(value, int) and value in (0, 1)


def _is_checksum(value: Any) -> bool:
    return value is None or (isinstance(value, int) and 0 <= value < 2**32)


def _is_text(value: Any) -> bool:
    """One line of UTF-8 that says something."""
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_TEXT:
        return False
    return not any(mark < " " or "\x7f" <= mark < "\xa0" or "\ud800" <= mark <= "\udfff" for mark in value)


def _is_words(value: Any) -> bool:
    """UTF-8, which may be empty: what libraries and file systems say is shown with its control characters escaped."""
    is_short = isinstance(value, str) and len(value) <= _MOST_TEXT
    return is_short and not any("\ud800" <= mark <= "\udfff" for mark in value)


def _is_meta(value: Any) -> bool:
    """The number of a model, a note that there is something, or a list of formats that opens some."""
    if not isinstance(value, str) or not value.isascii():
        return False
    return value.isdecimal() or value == "partial" or bool(formats.parse(value, strict=False))


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and bool(_HEX.fullmatch(value))


def _is_hex_or_none(value: Any) -> bool:
    """A digest, empty where the index is no file."""
    return value == "" or _is_hex(value)


def _is_moment(value: Any) -> bool:
    """A time as the catalog writes it, in UTC."""
    return _is_date(value, zone=True)


def _is_date(value: Any, *, zone: bool = False) -> bool:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return (found.tzinfo is not None) == zone and found.isoformat(timespec="seconds") == value


def _is_taken(value: Any) -> bool:
    """When a photo was taken: a date and time, maybe with parts of a second and the offset from UTC."""
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return _TAKEN.fullmatch(value) is not None


def _is_limit(value: Any) -> bool:
    """The name of a limit and its value, or nothing at all."""
    if not isinstance(value, str):
        return False
    name, _, number = value.partition(" ")
    try:
        return not value or (name in {"max_pixels", "time_limit", "decode_memory"} and float(number) > 0)
    except ValueError:
        return False


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _is_degree(most: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, float) and math.isfinite(value) and -most <= value <= most


def _one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: value in words


def _is_name(value: Any) -> bool:
    """The name of one file: nothing that leads out of its folder."""
    is_plain = isinstance(value, bytes) and value not in (b"", b".", b"..") and b"\0" not in value
    return is_plain and not any(mark in value for mark in _FOLDER_SEPARATORS)


def _is_folder(value: Any) -> bool:
    """An absolute path, as `os.path` writes it."""
    if not isinstance(value, bytes) or b"\0" in value:
        return False
    return os.path.isabs(value) and os.path.normpath(value) == value


def _is_digest(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) == 16


def _is_vector(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) > 0 and len(value) % 2 == 0


def _is_vector_name(value: Any) -> bool:
    return isinstance(value, str) and on_disk.is_ours(value)


def _reads(read: Callable[[str], Any]) -> Callable[[Any], bool]:
    return lambda value: stored_json.reads(read, value)


def _default_options() -> str:
    return json.dumps(asdict(ScanOptions()))


_MIGRATIONS = tuple(name for name, _ in schema.MIGRATIONS)

_MOMENT = Rule(_is_moment, "a time in UTC", Mend.RESET, now)


def _checksum(mend: Mend) -> Rule:
    return Rule(_is_checksum, "the checksum of what was written", mend)


# By table and column, in the order in which they are mended: files before the folders and contents that they refer to.
# `checksum`, whose rule also says what is done where no column is wrong and yet the row is not as it was written, comes
# last in its table.
RULES: dict[str, dict[str, Rule]] = {
    "migrations": {
        "version": Rule(_is_id, "the number of a migration", Mend.DROP),
        "name": Rule(_one_of(*_MIGRATIONS), "the name of a migration", Mend.DROP),
        "applied_at": _MOMENT,
    },
    "meta": {
        "key": Rule(
            _one_of("encoder", "reindex", "formats", checksums.PARTIAL), "a key that mmsearch knows", Mend.DROP
        ),
        "value": Rule(_is_meta, "a number or a list of formats", Mend.DROP),
        "checksum": _checksum(Mend.DROP),
    },
    "encoders": {
        "id": Rule(_is_id, "a positive number", Mend.REMAKE),
        "spec": Rule(_is_words, "the name of a model", Mend.REMAKE),
        "fingerprint": Rule(_is_hex, "a fingerprint in hex digits", Mend.REMAKE),
        "dim": Rule(stored_json.is_dim, "the width of the model's embeddings", Mend.REMAKE),
        "preprocess": Rule(_reads(stored_json.preprocess), "how the model takes images", Mend.REMAKE),
        "created_at": _MOMENT,
        "checksum": _checksum(Mend.REMAKE),
    },
    "roots": {
        "id": Rule(_is_integer, "a number", Mend.DROP),
        "path": Rule(_is_folder, "the absolute path of a folder", Mend.DROP),
        "options": Rule(_reads(stored_json.options), "options of a folder", Mend.RESET, _default_options),
        "added_at": _MOMENT,
        "offline_since": Rule(_or_none(_is_moment), "a time in UTC, or nothing", Mend.RESET),
        "checksum": _checksum(Mend.KEEP),
    },
    "images": {
        "id": Rule(_is_id, "a positive number", Mend.FIND_AGAIN),
        "folder_id": Rule(_is_id, "the number of a folder", Mend.FIND_AGAIN),
        "name": Rule(_is_name, "the name of a file, without folders", Mend.FIND_AGAIN),
        "size": Rule(_is_count, "a number of bytes", Mend.FIND_AGAIN),
        "mtime_ns": Rule(_is_integer, "a time in nanoseconds", Mend.FIND_AGAIN),
        "ctime_ns": Rule(_or_none(_is_integer), "a time in nanoseconds, or nothing", Mend.RESET),
        "inode": Rule(_or_none(_is_integer), "the number of an inode, or nothing", Mend.RESET),
        "content_id": Rule(_is_id, "the number of a content", Mend.FIND_AGAIN),
        "checksum": _checksum(Mend.FIND_AGAIN),
    },
    "failures": {
        "folder_id": Rule(_is_id, "the number of a folder", Mend.FIND_AGAIN),
        "name": Rule(_is_name, "the name of a file, without folders", Mend.FIND_AGAIN),
        "size": Rule(_is_count, "a number of bytes", Mend.FIND_AGAIN),
        "mtime_ns": Rule(_is_integer, "a time in nanoseconds", Mend.FIND_AGAIN),
        "ctime_ns": Rule(_or_none(_is_integer), "a time in nanoseconds, or nothing", Mend.RESET),
        "inode": Rule(_or_none(_is_integer), "the number of an inode, or nothing", Mend.RESET),
        "reason": Rule(_is_words, "text in UTF-8", Mend.FIND_AGAIN),
        "reader": Rule(_or_none(_is_words), "names of versions, or nothing", Mend.RESET),
        "refused_by": Rule(_or_none(_is_limit), "a limit with its value, or nothing", Mend.RESET),
        "ignored": Rule(_is_truth, "0 or 1", Mend.FIND_AGAIN),
        "checksum": _checksum(Mend.FIND_AGAIN),
    },
    "folders": {
        "id": Rule(_is_id, "a positive number", Mend.FIND_AGAIN),
        "path": Rule(_is_folder, "the absolute path of a folder", Mend.FIND_AGAIN),
        "checksum": _checksum(Mend.FIND_AGAIN),
    },
    "contents": {
        "id": Rule(_is_id, "a positive number", Mend.READ_AGAIN),
        "hash": Rule(_is_digest, "a hash of 16 bytes", Mend.READ_AGAIN),
        "width": Rule(_is_side, "a number of pixels", Mend.READ_AGAIN),
        "height": Rule(_is_side, "a number of pixels", Mend.READ_AGAIN),
        "format": Rule(_is_text, "the name of a format", Mend.READ_AGAIN),
        "taken_at": Rule(_or_none(_is_taken), "a date and time, or nothing", Mend.READ_AGAIN),
        "camera": Rule(_or_none(_is_text), "the name of a camera in UTF-8, or nothing", Mend.READ_AGAIN),
        "latitude": Rule(_or_none(_is_degree(90)), "degrees from -90 to 90, or nothing", Mend.READ_AGAIN),
        "longitude": Rule(_or_none(_is_degree(180)), "degrees from -180 to 180, or nothing", Mend.READ_AGAIN),
        "remark": Rule(_or_none(_is_words), "text in UTF-8, or nothing", Mend.RESET),
        "checksum": _checksum(Mend.READ_AGAIN),
    },
    "released": {"content_id": Rule(_is_id, "the number of a content", Mend.DROP)},
    "vector_files": {
        "encoder_id": Rule(_is_id, "the number of a model", Mend.REBUILD),
        "part": Rule(_one_of("main", "recent"), "main or recent", Mend.REBUILD),
        "name": Rule(_is_vector_name, "the name of a vector file", Mend.REBUILD),
        "first": Rule(_is_count, "a number", Mend.REBUILD),
        "watermark": Rule(_is_count, "a number", Mend.REBUILD),
        "count": Rule(_is_count, "a number", Mend.REBUILD),
        "removed": Rule(_is_count, "a number", Mend.REBUILD),
        "kind": Rule(_one_of(*kinds.KIND_NAMES), "a kind of vector file", Mend.REBUILD),
        "lists": Rule(_is_count, "a number", Mend.REBUILD),
        "probes": Rule(_is_count, "a number", Mend.REBUILD),
        "bytes": Rule(_is_count, "a size in bytes", Mend.REBUILD),
        "head_bytes": Rule(_is_count, "a size in bytes", Mend.REBUILD),
        "head_digest": Rule(_is_hex_or_none, "a digest in hex digits", Mend.REBUILD),
        "digest": Rule(_is_hex_or_none, "a digest in hex digits", Mend.REBUILD),
        "created_at": _MOMENT,
        "checksum": _checksum(Mend.REBUILD),
    },
    "runs": {
        "id": Rule(_is_integer, "a number", Mend.DROP),
        "started_at": Rule(_is_moment, "a time in UTC", Mend.DROP),
        "summary": Rule(_reads(stored_json.summary), "what a run did", Mend.DROP),
        "checksum": _checksum(Mend.DROP),
    },
    # One table an encoder. `repair.Checks` looks at their vectors further, many at a time.
    "embeddings": {
        "content_id": Rule(_is_id, "the number of a content", Mend.READ_AGAIN),
        "vector": Rule(_is_vector, "as many float16 numbers as the model has, of length 1", Mend.READ_AGAIN),
        "checksum": _checksum(Mend.READ_AGAIN),
    },
}

# The columns that tell a row of each table from the others.
KEYS: dict[str, tuple[str, ...]] = {
    "migrations": ("version",),
    "meta": ("key",),
    "failures": ("folder_id", "name"),
    "released": ("content_id",),
    "vector_files": ("encoder_id", "part"),
    "embeddings": ("content_id",),
}


def key_of(table: str) -> tuple[str, ...]:
    """The columns that tell a row of a table from the others."""
    return KEYS.get(table, ("id",))
