"""`mmsearch query --batch`: a query a line in, an answer a line out, in order.

A line costs itself alone, whatever is in it: what it may ask is bounded (`mmsearch.query.bounds`), and what goes wrong
with it is its answer. `lines.py` reads them.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.base import long_paths
from mmsearch.base.errors import OF_A_QUESTION, MMSearchError, UsageError
from mmsearch.base.text import first_line, one_line, shown
from mmsearch.cli import interrupts
from mmsearch.cli.query.lines import LONGEST_LINE, Arrived, read
from mmsearch.query import bounds
from mmsearch.query.parse import from_words, overriding
from mmsearch.query.query import Query
from mmsearch.query.terms import is_url

if TYPE_CHECKING:
    from mmsearch.base.records import Hit
    from mmsearch.collection.collection import Collection

# Words that are for who runs the command, not for who wrote the lines.
_NOT_FOR_LINES = {"allow_private_urls": "--allow-private-urls"}

# Characters of a line that is wrong, up to which it is repeated beside its error.
_REPEATED = 4096

# Lists and objects within each other. No query has so many; of 900, Python cannot always write again what it has read.
_MOST_DEPTH = 20

# Digits of a number: of the longest that a double needs, with room for zeros. Longer ones are nothing that is counted.
_MOST_DIGITS = 400


@dataclass(frozen=True, slots=True)
class _Line:
    """One line: what was asked, as it is echoed, and the query, or an error."""

    asked: dict[str, Any]
    query: Query | None
    error: str = ""


def run(photos: Collection, source: str, defaults: dict[str, Any]) -> int:
    """Answer every line of `source` (a path, or - for standard input); returns the exit code: 3 where some failed.

    `defaults` are the command line's options, which a line's own override.
    """
    failed = False
    arrived = Arrived(read(source), lambda text: _parse(text, defaults), _results)
    for lines, following in arrived.groups():
        photos.expect([line.query for line in following if line.query])
        for line, answer in zip(lines, _answers(photos, lines), strict=True):
            interrupts.check()  # it may be what the line's error was made of
            failed |= isinstance(answer, str)
            _write(line, answer)
        sys.stdout.flush()
    return 3 if failed else 0


def _results(line: _Line) -> int:
    """How many results a line asks for."""
    return line.query.top if line.query else 0


def _parse(text: str, defaults: dict[str, Any]) -> _Line:
    if len(text) > LONGEST_LINE:
        return _refused(text, UsageError("the line is too long", f"give at most {LONGEST_LINE:,} characters"))
    line = text.strip()
    asked: dict[str, Any] = {"text": line}
    try:
        if line.startswith("{"):
            asked = _read_object(line)
            _check_words(asked)
        query = from_words(overriding(defaults, asked))
        _check_images(query)
        return _Line(asked, query)
    except Exception as error:  # of this line alone, also where nobody has thought of it
        return _refused(line, error, asked)


def _refused(line: str, error: Exception, asked: dict[str, Any] | None = None) -> _Line:
    """A line with its error. It is repeated as far as that is of use: its words, or a long one's beginning."""
    if asked is None or len(line) > _REPEATED or isinstance(error, _NotReadError):
        asked = {"line": line if len(line) <= _REPEATED else line[:_REPEATED] + "…"}
    return _Line(asked, None, _told(error))


class _NotReadError(UsageError):
    """A line that is no JSON object, or none that could be written again."""


def _read_object(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(
            line, parse_int=_whole, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_object
        )
        if not bounds.is_deep(found, _MOST_DEPTH):
            return found
    except ValueError as error:
        raise _NotReadError(f"not a JSON object: {error}") from error
    except RecursionError:
        pass
    raise _NotReadError("its lists lie too deep within each other", "put no lists within lists")


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _NotReadError(f"a number of {len(text):,} digits is too large")
    return int(text)


def _finite(text: str) -> float:
    """A number of a line. What is none, NaN or infinite, could not be echoed in JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise _NotReadError(f"{one_line(text)} is not a finite number")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a line. Of a name that is given twice, neither value is more likely meant."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _NotReadError(f"{shown(name)} is given twice", "give it once")
        found[name] = value
    return found


def _check_words(asked: dict[str, Any]) -> None:
    for name, option in _NOT_FOR_LINES.items():
        if name in asked:
            raise UsageError(f"a line cannot set {name!r}", f"give {option} on the command line")


def _check_images(query: Query) -> None:
    """Raise `UsageError` for a query image that is a pipe or a device: reading one may wait, or take what is in it."""
    for term in query.terms:
        if term.kind == "image" and isinstance(term.value, str) and not is_url(term.value) and _is_stream(term.value):
            raise UsageError(f"{shown(term.value)} is not a regular file", "give images in lines by their files")


def _is_stream(path: str) -> bool:
    try:
        kind = long_paths.status(os.fsencode(path)).st_mode
    except (OSError, ValueError):  # where it is read, the error says more
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def _answers(photos: Collection, lines: list[_Line]) -> Iterator[list[Hit] | str]:
    """Hits, or the message of what went wrong, for each line. One bad query does not spoil the others."""
    asked = [line.query for line in lines if line.query]
    found = iter(_together(photos, asked) or (_alone(photos, query) for query in asked))
    for line in lines:
        yield line.error or next(found)


def _together(photos: Collection, queries: list[Query]) -> list[list[Hit] | str] | None:
    """The answers to several queries; None where all fail because of something that may be one's fault."""
    try:
        return [_told(one) if isinstance(one, Exception) else one for one in photos.search_each(queries)]
    except Exception:
        return None


def _alone(photos: Collection, query: Query) -> list[Hit] | str:
    try:
        return photos.search_many([query])[0]
    except Exception as error:
        if isinstance(error, MMSearchError) and not isinstance(error, OF_A_QUESTION):
            raise  # the collection or the model is at fault: no other line will do better
        return _told(error)


def _told(error: Exception) -> str:
    """An error in one line; one that nobody has thought of with its name."""
    return str(error) if isinstance(error, MMSearchError) else f"unexpected {type(error).__name__}: {first_line(error)}"


def _write(line: _Line, answer: list[Hit] | str) -> None:
    from mmsearch.cli.console import dumps
    from mmsearch.rendering.fields import hit_to_json

    if isinstance(answer, str):
        typer.echo(dumps({"query": line.asked, "error": answer}))
    else:
        results = [hit_to_json(hit) for hit in answer]
        typer.echo(dumps({"query": line.asked, "count": len(results), "results": results}))
