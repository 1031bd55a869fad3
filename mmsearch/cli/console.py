"""What goes to the terminal, and what it is like: lines for the user, JSON, colours, width."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from mmsearch.rendering.text import UNSEEN, printable

# Bytes that were not UTF-8 (PEP 383), and halves of characters from somebody's JSON: UTF-8 has neither.
_STRAY = re.compile("[\ud800-\udfff]")


def say(line: str) -> None:
    """A line for the user on stderr."""
    print(f"mmsearch: {printable(line)}", file=sys.stderr)


def tell(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Lines for people that name what others have named: files, cameras, models."""
    for line in lines:
        print(printable(line), file=sys.stderr if to_stderr else sys.stdout)


def write_bytes(data: bytes) -> None:
    """Bytes to stdout, after what was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def dumps(fields: Any, *, indent: int | None = None) -> str:
    """JSON text in UTF-8's own characters, but for those that are not seen on a terminal; stray bytes become U+FFFD.

    Numbers that JSON has not (infinity, not a number) become null: a reader would refuse the whole text.
    """
    ascii_only = (sys.stdout.encoding or "utf-8").lower() != "utf-8"  # then escapes, which mean the same
    try:
        text = json.dumps(fields, ensure_ascii=ascii_only, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(fields), ensure_ascii=ascii_only, indent=indent, allow_nan=False)
    return UNSEEN.sub(lambda mark: _json_escape(mark[0]), _STRAY.sub("\ufffd", text))


def _json_escape(mark: str) -> str:
    """A character as JSON writes any: by its one or two units of UTF-16. It means the same."""
    return re.sub("(....)", r"\\u\1", mark.encode("utf-16-be").hex())


def _finite(value: Any) -> Any:
    """The same with null for every number that is infinite or none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value


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
