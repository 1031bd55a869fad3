"""`mmsearch query --batch`: a query a line in, an answer a line out, in order."""

from __future__ import annotations

import io
import json
import math
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.base.errors import DecodeError, MMSearchError, SourceError, UsageError
from mmsearch.query.parse import from_words, overriding
from mmsearch.query.query import Query

if TYPE_CHECKING:
    from mmsearch.base.records import Hit
    from mmsearch.collection.collection import Collection

# Queries that are encoded and searched together: few at first, so that there soon is an answer; past 256, each takes no
# less time.
_FIRST_AT_ONCE = 32
_MOST_AT_ONCE = 256


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
    arrived = _Arrived(_parse(line.strip(), defaults) for line in _lines(source) if line.strip())
    for lines, following in arrived.groups():
        photos.expect([line.query for line in following if line.query])
        for line, answer in zip(lines, _answers(photos, lines), strict=True):
            failed |= isinstance(answer, str)
            _write(line, answer)
        sys.stdout.flush()
    return 3 if failed else 0


def _lines(source: str) -> Iterator[str]:
    # Whatever the locale: UTF-8, and bytes that are not cost their line; a mark at the start (Windows) is no text.
    if source == "-":
        yield from io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape")
        return
    try:
        with open(source, encoding="utf-8-sig", errors="surrogateescape") as file:  # noqa: PTH123
            yield from file
    except OSError as error:
        raise SourceError(f"cannot read {source}: {error.strerror or error}", "check the path after --batch") from error


class _Arrived:
    """Lines that a thread reads, while others are answered."""

    def __init__(self, lines: Iterable[_Line]) -> None:
        self._queue: queue.Queue[_Line | None] = queue.Queue(maxsize=4 * _MOST_AT_ONCE)
        self._error: BaseException | None = None
        self._ended = False
        threading.Thread(target=self._read, args=(lines,), name="lines", daemon=True).start()

    def _read(self, lines: Iterable[_Line]) -> None:
        try:
            for line in lines:
                self._queue.put(line)
        except BaseException as error:  # raised again where the lines are used
            self._error = error
        self._queue.put(None)

    def groups(self) -> Iterator[tuple[list[_Line], list[_Line]]]:
        """What has arrived, up to `_MOST_AT_ONCE` lines at a time, so that a program that waits for each answer gets
        it; and the lines after them that have arrived too. Raises what reading raised, after the lines before.
        """
        most = _FIRST_AT_ONCE
        group = self._take(most, wait=True)
        while group:
            most = min(2 * most, _MOST_AT_ONCE)
            following = self._take(most, wait=False)
            yield group, following
            group = following or self._take(most, wait=True)
        if self._error:
            raise self._error

    def _take(self, most: int, *, wait: bool) -> list[_Line]:
        """Up to `most` lines that are there; with `wait`, one at least, unless there are no more."""
        taken: list[_Line] = []
        while len(taken) < most and not self._ended:
            try:
                line = self._queue.get(block=wait and not taken)
            except queue.Empty:
                break
            if line is None:
                self._ended = True
            else:
                taken.append(line)
        return taken


def _parse(line: str, defaults: dict[str, Any]) -> _Line:
    asked: dict[str, Any] = {"text": line}
    if line.startswith("{"):
        try:
            asked = json.loads(line, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError) as error:
            return _Line({"line": line}, None, f"not a JSON object: {error}")
    try:
        return _Line(asked, from_words(overriding(defaults, asked)))
    except UsageError as error:
        return _Line(asked, None, str(error))


def _finite(text: str) -> float:
    """A number of a line. What is none, NaN or infinite, could not be echoed in JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _answers(photos: Collection, lines: list[_Line]) -> list[list[Hit] | str]:
    """Hits, or the message of what went wrong, for each line. One bad query does not spoil the others."""
    asked = [line.query for line in lines if line.query]
    found = iter(_together(photos, asked) or _apart(photos, asked))
    return [line.error or next(found) for line in lines]


def _together(photos: Collection, queries: list[Query]) -> list[list[Hit] | str] | None:
    """The answers to several queries; None where one of them cannot be answered."""
    try:
        return list(photos.search_many(queries))
    except MMSearchError:
        return None


def _apart(photos: Collection, queries: list[Query]) -> list[list[Hit] | str]:
    """Each answered by itself, but for plain words: they are seldom at fault, and quicker together."""
    words = [query for query in queries if query.is_words]
    found = iter((_together(photos, words) if words else None) or (_answer(photos, query) for query in words))
    return [next(found) if query.is_words else _answer(photos, query) for query in queries]


def _answer(photos: Collection, query: Query) -> list[Hit] | str:
    try:
        return photos.search_many([query])[0]
    except (UsageError, SourceError, DecodeError) as error:
        return str(error)  # in any other case the collection or the model is at fault: no other line will do better


def _write(line: _Line, answer: list[Hit] | str) -> None:
    from mmsearch.cli.console import dumps
    from mmsearch.rendering.fields import hit_to_json

    if isinstance(answer, str):
        typer.echo(dumps({"query": line.asked, "error": answer}))
    else:
        results = [hit_to_json(hit) for hit in answer]
        typer.echo(dumps({"query": line.asked, "count": len(results), "results": results}))
