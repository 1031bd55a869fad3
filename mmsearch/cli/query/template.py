"""Results in a template of the user's own, as bytes: paths come out as they are on disk."""

from __future__ import annotations

import os
import re
import string
import sys
from collections.abc import Sequence
from typing import Any

from mmsearch.base.errors import UsageError
from mmsearch.base.records import Hit
from mmsearch.cli.console import write_bytes
from mmsearch.rendering.fields import EXAMPLE, hit_to_json
from mmsearch.rendering.text import printable

_ESCAPES = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\"}

# [[fill]align][sign][0][width][,][.precision][type] of Python's formats. Three digits: no line of gigabytes by a slip.
_SPEC = re.compile(r"(?:.?([<>=^]))?[-+ ]?0?(\d{0,3})[,_]?(?:\.\d{1,3})?[a-zA-Z%]?", re.DOTALL)


class Template:
    """A line for each result, such as `{score:.3f} {path}`.

    A placeholder names a field of the JSON contract, `name` or `folder`, with a format as Python's; nothing else can be
    reached. `\\n`, `\\t`, `\\0` and `\\\\` are escapes, `{{` and `}}` are braces. A result ends with a newline unless
    the template itself ends with `\\n` or `\\0`. A field without a value is empty. Anything else is a `UsageError`.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        try:
            parts = list(string.Formatter().parse(source))
        except ValueError as error:
            raise self._wrong(str(error)) from error
        self._parts = [(self._plain(text), name, spec or "") for text, name, spec, _ in parts]
        if any(conversion for *_, conversion in parts):
            raise self._wrong("`!` has no meaning here")
        example = _fields(EXAMPLE)
        for _, name, spec in self._parts:
            if name is not None:
                self._check(name, spec, example)
        if not self._parts or self._parts[-1][1] is not None or not self._parts[-1][0].endswith(("\n", "\0")):
            self._parts.append(("\n", None, ""))

    def print(self, hits: Sequence[Hit]) -> None:
        """Write all results to stdout; on a terminal, control characters of names are shown, not sent."""
        show = sys.stdout.isatty()
        write_bytes(b"".join(self.fill(hit, show=show) for hit in hits))

    def fill(self, hit: Hit, *, show: bool = False) -> bytes:
        """The bytes of one result. With `show`, what a terminal would act on in a field is escaped."""
        fields = _fields(hit)
        pieces = []
        for text, name, spec in self._parts:
            pieces.append(text.encode("utf-8", "surrogateescape"))
            if name is not None:
                value = _formatted(fields.get(name), spec)
                pieces.append(printable(value).encode() if show else os.fsencode(value))
        return b"".join(pieces)

    def _plain(self, text: str) -> str:
        def meaning(match: re.Match[str]) -> str:
            mark = match[1]
            if mark not in _ESCAPES:
                raise self._wrong(f"unknown escape \\{mark}", "use \\n, \\t, \\0 or \\\\")
            return _ESCAPES[mark]

        return re.sub(r"\\(.?)", meaning, text, flags=re.DOTALL)

    def _check(self, name: str, spec: str, example: dict[str, Any]) -> None:
        if name not in example:
            raise self._wrong(f"unknown field {{{name}}}", f"choose {', '.join(example)}")
        try:
            if not _SPEC.fullmatch(spec):
                raise ValueError
            format(0.5 if example[name] is None else example[name], spec)
        except ValueError as error:
            raise self._wrong(
                f"{{{name}}} cannot be formatted as `{spec}`", "use Python's formats, such as .3f"
            ) from error

    def _wrong(self, reason: str, hint: str = "write it like '{score:.3f} {path}'") -> UsageError:
        return UsageError(f"--format {printable(self._source)}: {reason}", hint)


def _fields(hit: Hit) -> dict[str, Any]:
    """The JSON contract, but for the path's exact characters, and the two parts of the path."""
    folder, name = os.path.split(hit.path)
    return hit_to_json(hit) | {"path": hit.path, "name": name, "folder": folder}


def _formatted(value: Any, spec: str) -> str:
    if value is None:
        found = _SPEC.fullmatch(spec)
        align, width = found.groups("") if found else ("", "")
        return format("", f"{align.replace('=', '>')}{width}")  # nothing, as wide as a value would be
    if isinstance(value, bool):
        value = str(value).lower()  # as JSON writes it
    try:
        return format(value, spec)
    except ValueError:  # an empty or a longer kind of value than the example's
        return str(value)
