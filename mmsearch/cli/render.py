"""Texts for people and JSON for programs: what all commands print with."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from mmsearch.types import Hit, ImageFacts, ImageRecord

# Control characters beyond ASCII's, which JSON does not escape, and those that turn the direction of writing.
_ACTED_ON = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Bytes that were not UTF-8 (PEP 383), and halves of characters from somebody's JSON: UTF-8 has neither.
_STRAY = re.compile("[\ud800-\udfff]")

_ELLIPSIS = "…"


def printable(text: str) -> str:
    """A text that is safe on a terminal: control characters and undecodable bytes are shown, not sent."""
    return "".join(mark if mark.isprintable() else _escaped(mark) for mark in text)


def say(line: str) -> None:
    """A line for the user on stderr."""
    print(f"mmsearch: {printable(line)}", file=sys.stderr)


def write_bytes(data: bytes) -> None:
    """Bytes to stdout, after what was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def _escaped(mark: str) -> str:
    code = ord(mark)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return mark.encode("unicode_escape").decode("ascii")


def shortened(path: str, width: int) -> str:
    """A path cut in the middle to `width` characters; its end, which names the file, is kept longest."""
    if len(path) <= width:
        return path
    head = max(0, (width - 1) // 3)
    return path[:head] + _ELLIPSIS + path[len(path) - (width - 1 - head) :]


def hit_to_json(hit: Hit) -> dict[str, Any]:
    """The JSON contract of one result; fields may be added, never renamed.

    `path_base64` is there only for names that are not valid UTF-8; `path` then shows U+FFFD for the stray bytes.
    """
    facts, raw = hit.image.facts, os.fsencode(hit.path)
    path = raw.decode("utf-8", "replace")
    score = None if hit.score is None else round(hit.score, 6)
    fields: dict[str, Any] = {"rank": hit.rank, "score": score, "path": path}
    if path != hit.path:
        fields["path_base64"] = base64.b64encode(raw).decode("ascii")
    return fields | {
        "id": hit.image.id,
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "size": hit.image.size,
        "mtime": hit.image.mtime_ns / 1e9,
        "taken_at": facts.taken_at,
        "camera": facts.camera,
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "hash": hit.image.content_hash,
        "offline": hit.offline,
        "confidence": None if hit.confidence is None else round(hit.confidence, 4),
        "duplicates": hit.duplicates,
    }


# A result that has every field of the contract (its path is not UTF-8) and a value of each type: from it other outputs
# know the names, and try formats before a search.
_EXAMPLE_FACTS = ImageFacts(1, 1, "JPEG", "2000-01-01T00:00:00", "camera", 0.5, 0.5)
EXAMPLE = Hit(1, 0.5, ImageRecord(1, "/\udcff", 1, 1, 1, "00", _EXAMPLE_FACTS), confidence=0.5)


def dumps(fields: Any, *, indent: int | None = None) -> str:
    """JSON text in UTF-8's own characters, but for those that a terminal would act on; stray bytes become U+FFFD."""
    ascii_only = (sys.stdout.encoding or "utf-8").lower() != "utf-8"  # then escapes, which mean the same
    text = _STRAY.sub("\ufffd", json.dumps(fields, ensure_ascii=ascii_only, indent=indent))
    return _ACTED_ON.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def can_print(text: str) -> bool:
    """Whether stdout's encoding has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names and values, the values aligned."""
    longest = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{longest}}  {value}".rstrip() for name, value in rows]


def size(count: int) -> str:
    """Bytes in the largest decimal unit that keeps the number over 1."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def number(count: int, noun: str) -> str:
    """`1 image`, `1,234 images`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def wants_colour() -> bool:
    """Colours only on a terminal, and not where the user has set NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    return shutil.get_terminal_size().columns
