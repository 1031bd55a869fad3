"""Results as CSV: a first line with the names of the fields, then a line for each result.

Quotes are RFC 4180's, the text is UTF-8, lines end with \\n. To a spreadsheet a cell that begins with `=`, `+`, `-` or
`@` is a formula, which may run programs, or send somebody what other cells hold (OWASP, "CSV Injection"); names of
files and of cameras are other people's words.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

from mmsearch.base.records import Hit
from mmsearch.cli.console import dumps, say, write_bytes
from mmsearch.rendering.fields import EXAMPLE, hit_to_json
from mmsearch.rendering.text import number, printable

# How a formula begins, in ASCII or in the wide forms of East Asia, after blanks; and what a spreadsheet may drop before
# it looks. In a cell without quotes one may also follow a `;` or a tab, which some spreadsheets take for a cell's end.
_MARK = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_BEGINS = re.compile(rf"[\t\r\n]|\s*{_MARK}")
_HIDDEN = re.compile(rf"[;\t\r\n]\s*{_MARK}")

# With this end of a line a writer quotes cells that have either of its characters.
_END = "\r\n"

# What makes a cell a text for a spreadsheet.
_TEXT = "'"


def print_csv(hits: Sequence[Hit], *, safe: bool) -> None:
    """Write all results to stdout. With `safe`, no cell is a formula; without it, stderr says whether any is one."""
    names, rows = list(hit_to_json(EXAMPLE)), [hit_to_json(hit) for hit in hits]
    cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
    formulas = sum(_is_formula(value) for row in cells for value in row.values())
    if safe:
        cells = [{name: _as_text(value) for name, value in row.items()} for row in cells]
    if sys.stdout.isatty():
        cells = [{name: _shown(value) for name, value in row.items()} for row in cells]
    lines = _Lines()
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if safe else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(lines, names, restval="", lineterminator=_END, quoting=quoting)
    writer.writeheader()
    writer.writerows(cells)
    write_bytes("".join(lines.written).encode("utf-8", "replace"))
    if formulas and not safe:
        verb = "is a formula" if formulas == 1 else "are formulas"
        say(f"{number(formulas, 'cell')} {verb} to a spreadsheet; --csv-safe makes them texts")


class _Lines:
    """What a writer of CSV writes to, a line at a time."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(f"{line.removesuffix(_END)}\n")


def _cell(value: Any) -> Any:
    """Booleans, lists and objects as JSON writes them; null as nothing."""
    if value is None:
        return ""
    return dumps(value) if isinstance(value, bool | list | dict) else value


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and bool(_BEGINS.match(value) or _HIDDEN.search(value))


def _as_text(value: Any) -> Any:
    """A cell that is quoted, and begins with an apostrophe where it would be a formula. Numbers are none."""
    return f"{_TEXT}{value}" if isinstance(value, str) and _BEGINS.match(value) else value


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
