"""The lines of a batch: read in a thread, bounded, and handed on in groups that are answered together."""

from __future__ import annotations

import io
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TextIO, TypeVar

from mmsearch.base.errors import SourceError

# Characters of a line: enough for 100,000 folders. JSON of so many takes up to 50 times the memory.
LONGEST_LINE = 16_000_000

# Characters of all lines that are read and not answered yet.
_MOST_WAITING = 4 * LONGEST_LINE

# Queries that are encoded and searched together: few at first, so that there soon is an answer; past 256, each takes no
# less time.
_FIRST_AT_ONCE = 32
_MOST_AT_ONCE = 256

# Results that are asked for by lines that are answered together, of about 1 kB each.
_MOST_RESULTS = 100_000

# Characters that are read at a time of what is left of a line that is too long.
_PART = 1 << 20

Line = TypeVar("Line")


def read(source: str) -> Iterator[str]:
    """The lines of a file (- is standard input) that are not blank. Raises `SourceError`.

    Whatever the locale, they are read as UTF-8, and bytes that are not cost their line; a mark at the start (Windows)
    is no text. Of a line that is too long there come only `LONGEST_LINE` characters and one more.
    """
    if source == "-":
        yield from _bounded(io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape"))
        return
    try:
        with open(source, encoding="utf-8-sig", errors="surrogateescape") as file:  # noqa: PTH123
            yield from _bounded(file)
    except OSError as error:
        raise SourceError(f"cannot read {source}: {error.strerror or error}", "check the path after --batch") from error


def _bounded(file: TextIO) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE + 1):
        if line.strip() or len(line) > LONGEST_LINE:
            yield line.removesuffix("\n")
        while line and not line.endswith("\n"):
            line = file.readline(_PART)


class _Room:
    """How much may be in memory at a time. What is too large for all of it is let in alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify()


class Arrived(Generic[Line]):
    """Lines that a thread reads and parses, while others are answered."""

    def __init__(self, texts: Iterator[str], parse: Callable[[str], Line], results: Callable[[Line], int]) -> None:
        """`results` tells how many results a line asks for."""
        self._texts = texts
        self._parse = parse
        self._results = results
        self._queue: queue.Queue[tuple[Line, int] | None] = queue.Queue(maxsize=4 * _MOST_AT_ONCE)
        self._room = _Room(_MOST_WAITING)
        self._error: BaseException | None = None
        self._ended = False
        threading.Thread(target=self._read, name="lines", daemon=True).start()

    def _read(self) -> None:
        try:
            for text in self._texts:
                self._room.take(len(text))
                self._queue.put((self._parse(text), len(text)))
        except BaseException as error:  # raised again where the lines are used
            self._error = error
        self._queue.put(None)

    def groups(self) -> Iterator[tuple[list[Line], list[Line]]]:
        """What has arrived, up to `_MOST_AT_ONCE` lines at a time, so that a program that waits for each answer gets
        it; and the lines after them that have arrived too. Raises what reading raised, after the lines before.
        """
        most = _FIRST_AT_ONCE
        group, size = self._take(most, wait=True)
        while group:
            most = min(2 * most, _MOST_AT_ONCE)
            following, size_of_following = self._take(most, wait=False)
            yield group, following
            self._room.give_back(size)
            group, size = (following, size_of_following) if following else self._take(most, wait=True)
        if self._error:
            raise self._error

    def _take(self, most: int, *, wait: bool) -> tuple[list[Line], int]:
        """Up to `most` lines that are there, and their characters; with `wait`, one at least, unless there are no more.

        They end with the line by which they ask for too many results.
        """
        taken: list[Line] = []
        size = results = 0
        while len(taken) < most and results < _MOST_RESULTS and not self._ended:
            try:
                arrived = self._queue.get(block=wait and not taken)
            except queue.Empty:
                break
            if arrived is None:
                self._ended = True
            else:
                taken.append(arrived[0])
                size += arrived[1]
                results += self._results(arrived[0])
        return taken, size
