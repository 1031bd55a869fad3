"""Results as a table for people."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmsearch.base.records import Hit
from mmsearch.rendering import marks
from mmsearch.rendering.text import printable, shortened

_GAP = "  "
_RULE, _PLAIN_RULE = "─", "-"
_OFFLINE = f"{_GAP}(offline)"

# Where stdout's encoding lacks one of these, a table is drawn in ASCII.
DRAWN_WITH = f"{_RULE}{marks.FULL}{marks.EMPTY}"

# Characters. A path is not cut to less, however narrow the terminal: it wraps.
_LEAST_PATH = 8

_DIM, _CYAN, _PLAIN = "\x1b[2m", "\x1b[36m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class _Row:
    """The texts of a line, padded but for the path, and what stands behind the path."""

    rank: str
    measure: str
    mark: str
    path: str
    more: str = ""

    def __str__(self) -> str:
        return f"{self.rank}{_GAP}{self.measure}{_GAP}{self.mark}{self.path}{self.more}"

    def coloured(self) -> str:
        """The line with what tells results apart set off: rank and folder dim, the score or date in cyan."""
        folder, name = os.path.split(self.path)
        rank, measure = _dim(self.rank), f"{_CYAN}{self.measure}{_PLAIN}"
        path = f"{_dim(os.path.join(folder, ''))}{name}" if folder else name
        return f"{rank}{_GAP}{measure}{_GAP}{self.mark}{path}{self.more}"


def table(hits: Sequence[Hit], *, width: int | None = None, colour: bool = False, plain: bool = False) -> list[str]:
    """Lines of rank, score (in a list by date the date), mark (see `marks`) and path, which is relative to the working
    directory where that is shorter. Without any confidence there is no column for marks.

    A terminal, `width` characters wide, gets a line with the names of the columns first, paths cut to fit, and a rule
    above the results from which on all are weak; with `colour` weak ones are dim. In a pipe there are rows alone.
    `plain` draws in ASCII.
    """
    if not hits:
        return []
    head, *rows = _rows(hits, width, plain=plain)
    if width is None:
        return [str(row) for row in rows]
    weak = marks.weaker(hits)
    lines = [_dim(str(head)) if colour else str(head)]
    for row, is_weak in zip(rows, weak, strict=True):
        lines.append(str(row) if not colour else _dim(str(row)) if is_weak else row.coloured())
    first = marks.first_of_the_rest(weak)
    if first < len(rows):
        rule = _rule(min(width, max(len(str(row)) for row in rows)), plain=plain)
        lines.insert(1 + first, _dim(rule) if colour else rule)
    return lines


def _rows(hits: Sequence[Hit], width: int | None, *, plain: bool) -> Iterator[_Row]:
    """The row of names, and one for each hit."""
    dated = all(hit.score is None for hit in hits)
    measures = [date(hit) if dated else "" if hit.score is None else f"{hit.score:.3f}" for hit in hits]
    told = any(hit.confidence is not None for hit in hits)
    signs = [marks.mark(hit.confidence, plain=plain) if told else "" for hit in hits]
    name, sign = "date" if dated else "score", "match" if told else ""
    size = max(map(len, [name, *measures]))
    room = None if width is None else width - len(str(_row("rank", "", size, sign, "")))
    yield _row("rank", name if dated else name.rjust(size), size, sign, "path")
    for hit, measure, mark in zip(hits, measures, signs, strict=True):
        more = f"{_GAP}(+{hit.duplicates} similar)" if hit.duplicates else ""
        more += _OFFLINE if hit.offline else ""
        path = printable(_familiar(hit.path))
        if room is not None:
            path = shortened(path, max(_LEAST_PATH, room - len(more)))
        yield _row(str(hit.rank), measure.rjust(size), size, mark.ljust(len(sign)), path, more)


def _row(rank: str, measure: str, size: int, mark: str, path: str, more: str = "") -> _Row:
    return _Row(f"{rank:>4}", measure.ljust(size), f"{mark}{_GAP}" if mark else "", path, more)


def _rule(width: int, *, plain: bool) -> str:
    """A line that says that weaker matches follow."""
    line = _PLAIN_RULE if plain else _RULE
    return f"{line * 2} weaker matches ".ljust(width, line)[:width]


def _dim(text: str) -> str:
    return f"{_DIM}{text}{_PLAIN}"


def date(hit: Hit) -> str:
    """When the photo was taken, else when its file was changed, as lists by date count it: in local time."""
    taken = hit.image.facts.taken_at
    return printable(taken[:10]) if taken else time.strftime("%Y-%m-%d", time.localtime(hit.image.mtime_ns // 10**9))


def _familiar(path: str) -> str:
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if relative.startswith("..") or len(relative) >= len(path) else relative
