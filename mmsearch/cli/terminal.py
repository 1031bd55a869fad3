"""Thumbnails of results in the terminal: a grid of pictures with rank, score and name below each."""

from __future__ import annotations

import os
import select
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmsearch.base.errors import UsageError
from mmsearch.cli.console import say, terminal_width, wants_colour
from mmsearch.rendering.terminal_pictures import (
    LAST_ANSWER,
    PROTOCOLS,
    QUESTIONS,
    Answers,
    Protocol,
    choose,
    parse_answers,
)
from mmsearch.rendering.text import printable, shortened

if TYPE_CHECKING:
    from mmsearch.rendering.thumbnails import Entry, Thumbnail

# Names a protocol, where the terminal's own answers are not to be trusted.
VARIABLE = "MMSEARCH_PICTURES"

# Characters. A tile is at least so wide; a character is about twice as high as wide.
_TILE_COLUMNS, _GAP = 22, 2
_HEIGHT_TO_WIDTH = 0.75

# Seconds for a terminal's answers, which come in milliseconds, or after the way there and back for one far away.
_PATIENCE = 1.0

# Terminals that show the first of our questions as text instead of passing over it, or understand none.
_SHY = {"Apple_Terminal"}
_PLAIN = {"dumb", "linux", ""}


def show(entries: Sequence[Entry]) -> None:
    """Draw the grid on stdout; where that is no terminal that can, only say so on stderr."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        say("no thumbnails: the output is not a terminal that shows pictures")
        return
    answers = ask()
    protocol = named_protocol() or choose(answers, os.environ)
    for row in grid(entries, protocol, answers.cell, terminal_width(), colour=wants_colour()):
        sys.stdout.write(row)
        sys.stdout.flush()


def named_protocol() -> Protocol | None:
    """What the user's environment asks for. Raises `UsageError` for anything else than a protocol."""
    name = os.environ.get(VARIABLE, "")
    for protocol in PROTOCOLS:
        if name == protocol:
            return protocol
    if name:
        raise UsageError(f"unknown way to draw pictures: {VARIABLE}={name}", f"choose {', '.join(PROTOCOLS)}")
    return None


def ask() -> Answers:
    """Ask the terminal what it is. Nothing is asked, and nothing known, where it could not or should not answer."""
    if os.environ.get("TERM", "") in _PLAIN or os.environ.get("TERM_PROGRAM") in _SHY or sys.platform == "win32":
        return Answers()
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return Answers()
    try:
        return _ask(terminal)
    finally:
        os.close(terminal)


def _ask(terminal: int) -> Answers:
    import termios
    import tty

    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():  # in the background, a change of its settings would stop us
            return Answers()
        before = termios.tcgetattr(terminal)
    except (OSError, termios.error):
        return Answers()
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)  # answers come without a line end, and must not show
        os.write(terminal, QUESTIONS)
        answers = parse_answers(_read_answers(terminal))
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    return answers if answers.cell else Answers(answers.kitty, answers.sixel, answers.name, _cell_of(terminal))


def _read_answers(terminal: int) -> bytes:
    data, end = b"", time.monotonic() + _PATIENCE
    while not LAST_ANSWER.search(data):
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        more = os.read(terminal, 4096) if ready else b""
        if not more:
            break
        data += more
    return data


def _cell_of(terminal: int) -> tuple[int, int] | None:
    """A character's pixels as the kernel knows them; most terminals set them."""
    import fcntl
    import struct
    import termios

    try:
        rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        return None
    if not (rows and columns and width // columns and height // rows):
        return None
    return width // columns, height // rows


def grid(
    entries: Sequence[Entry], protocol: Protocol, cell: tuple[int, int] | None, width: int, *, colour: bool
) -> Iterator[str]:
    """Text of each row of pictures with its two lines of labels. `width` is the terminal's, in characters."""
    from mmsearch.rendering.terminal_pictures import DEFAULT_CELL, picture, strip
    from mmsearch.rendering.thumbnails import thumbnails

    across = max(1, (width + _GAP - 1) // (_TILE_COLUMNS + _GAP))
    tile = max(1, min((width + _GAP - 1) // across - _GAP, 2 * _TILE_COLUMNS))
    cell_width, cell_height = cell or DEFAULT_CELL
    down = max(1, round(tile * _HEIGHT_TO_WIDTH * cell_width / cell_height))
    pixels = (tile * cell_width, down * cell_height)
    row: list[Thumbnail] = []
    for index, thumbnail in enumerate(thumbnails(entries, max(pixels)), 1):
        row.append(thumbnail)
        if len(row) == across or index == len(entries):
            columns = len(row) * (tile + _GAP) - _GAP
            whole = strip([found.image for found in row], pixels, _GAP * cell_width)
            drawn = picture(whole, columns, down, protocol, cell)
            yield f"{drawn}{_labels([found.entry for found in row], tile, colour)}\n"
            row.clear()


def _labels(entries: Sequence[Entry], tile: int, colour: bool) -> str:
    headings = (_cut(entry.heading, tile) for entry in entries)
    dim, plain = ("\x1b[36m", "\x1b[0m") if colour else ("", "")
    lines = [
        (" " * _GAP).join(f"{dim}{heading}{plain}" for heading in headings),
        (" " * _GAP).join(_cut(printable(entry.name), tile) for entry in entries),
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _cut(text: str, columns: int) -> str:
    """The text in exactly so many columns; letters of East Asia take two."""
    room = columns
    while True:
        cut = shortened(text, room)
        taken = sum(_columns(mark) for mark in cut)
        if taken <= columns or room <= 1:
            return cut + " " * (columns - taken)
        room -= 1


def _columns(mark: str) -> int:
    if unicodedata.combining(mark):
        return 0
    return 2 if unicodedata.east_asian_width(mark) in {"W", "F"} else 1
