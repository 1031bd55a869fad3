"""What goes to the terminal, and what it is like: lines for the user, JSON, colours, width."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from typing import Any

from mmsearch.rendering.text import printable

# Control characters beyond ASCII's, which JSON does not escape, and those that turn the direction of writing.
_ACTED_ON = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Bytes that were not UTF-8 (PEP 383), and halves of characters from somebody's JSON: UTF-8 has neither.
_STRAY = re.compile("[\ud800-\udfff]")


def say(line: str) -> None:
    """A line for the user on stderr."""
    print(f"mmsearch: {printable(line)}", file=sys.stderr)


def write_bytes(data: bytes) -> None:
    """Bytes to stdout, after what was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


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


def wants_colour() -> bool:
    """Colours only on a terminal, and not where the user has set NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    return shutil.get_terminal_size().columns
