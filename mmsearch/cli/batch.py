"""`mmsearch query --batch`: a query a line in, an answer a line out, in order."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.errors import DecodeError, MMSearchError, SourceError, UsageError

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.types import Hit

# Queries that are encoded and searched together at the most: past 64, texts take no less time each.
_MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Line:
    """One line: what was asked, as it is echoed, and the options as `Collection.query` takes them, or an error."""

    asked: dict[str, Any]
    options: dict[str, Any]
    error: str = ""


def run(photos: Collection, source: str, defaults: dict[str, Any]) -> int:
    """Answer every line of `source` (a path, or - for standard input); returns the exit code: 3 where some failed.

    `defaults` are the command line's options, which a line's own override.
    """
    failed = False
    for lines in _groups(_lines(source)):
        parsed = [_parse(line, defaults) for line in lines]
        for line, answer in zip(parsed, _answers(photos, parsed), strict=True):
            failed |= isinstance(answer, str)
            _write(line, answer)
        sys.stdout.flush()
    return 3 if failed else 0


def _lines(source: str) -> Iterator[str]:
    if source == "-":
        yield from sys.stdin
        return
    try:
        with open(source, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            yield from file
    except OSError as error:
        raise SourceError(f"cannot read {source}: {error.strerror or error}", "check the path after --batch") from error


def _groups(lines: Iterable[str]) -> Iterator[list[str]]:
    """What has arrived, up to `_MOST_AT_ONCE` lines at a time: a program that waits for each answer gets it."""
    arrived: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=4 * _MOST_AT_ONCE)

    def read() -> None:
        try:
            for line in lines:
                if line.strip():
                    arrived.put(line.strip())
            arrived.put(None)
        except BaseException as error:  # raised again where it is seen
            arrived.put(error)

    threading.Thread(target=read, name="lines", daemon=True).start()
    item = arrived.get()
    while item is not None:
        group: list[str] = []
        while item is not None and len(group) < _MOST_AT_ONCE:
            if isinstance(item, BaseException):
                raise item
            group.append(item)
            try:
                item = arrived.get_nowait()
            except queue.Empty:
                break
        else:
            yield group
            continue
        yield group
        item = arrived.get()


def _parse(line: str, defaults: dict[str, Any]) -> _Line:
    if not line.startswith("{"):
        return _Line({"text": line}, {**defaults, "text": line})
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Line({"line": line}, {}, f"not a JSON object: {error}")
    return _Line(asked, {**defaults, **asked})


def _answers(photos: Collection, lines: list[_Line]) -> list[list[Hit] | str]:
    """Hits, or the message of what went wrong, for each line. One bad query does not spoil the others."""
    good = [line for line in lines if not line.error]
    try:
        found = iter(photos.search_many([photos.query(**line.options) for line in good]))
        return [line.error or next(found) for line in lines]
    except MMSearchError:
        return [line.error or _answer(photos, line) for line in lines]


def _answer(photos: Collection, line: _Line) -> list[Hit] | str:
    try:
        return photos.search_many([photos.query(**line.options)])[0]
    except (UsageError, SourceError, DecodeError) as error:
        return str(error)  # in any other case the collection or the model is at fault: no other line will do better


def _write(line: _Line, answer: list[Hit] | str) -> None:
    from mmsearch.cli.render import dumps, hit_to_json

    if isinstance(answer, str):
        typer.echo(dumps({"query": line.asked, "error": answer}))
    else:
        results = [hit_to_json(hit) for hit in answer]
        typer.echo(dumps({"query": line.asked, "count": len(results), "results": results}))
