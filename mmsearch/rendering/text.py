"""Texts for people: names and numbers as they are shown, safe on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ELLIPSIS = "…"

# Characters that do something or hide something and are not seen, beside ASCII's control characters: those of Unicode,
# marks that turn the direction of writing, and all without width or ink, most of which Unicode calls default-ignorable
# (joiners, fillers, variation selectors, tags, invisible operators). Two names may differ in nothing else.
UNSEEN = re.compile(
    "[\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    """A text that is safe on a terminal: what is not seen there, and undecodable bytes, are shown as escapes."""
    if text.isprintable() and not UNSEEN.search(text):
        return text
    return "".join(_escaped(mark) if not mark.isprintable() or UNSEEN.match(mark) else mark for mark in text)


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
