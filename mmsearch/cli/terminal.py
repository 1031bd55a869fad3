"""Thumbnails of results in the terminal: a grid of pictures with rank, score and name below each."""

from __future__ import annotations

import os
import select
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mmsearch.base.errors import UsageError
from mmsearch.cli.console import say, terminal_width, wants_colour
from mmsearch.rendering.terminal_pictures import (
    LAST_ANSWER,
    PROTOCOLS,
    QUESTIONS,
    Answers,
    Protocol,
    believed_cell,
    choose,
    keys_in,
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

# Bytes of answers and keys: what Linux keeps for a terminal's reader. Answers take some hundred.
_MOST_BYTES = 4096

# Stands behind the keys that were typed ahead while they are taken.
_PROBE = b"\0"

# Columns that are filled, and pixels of a row of pictures: those of a large screen as a whole. A terminal that claims
# more would have pictures scaled up for nothing.
_MOST_COLUMNS = 500
_MOST_PIXELS = 16_000_000

# Pixels of a thumbnail's longer side: as large as a tile is on a dense screen.
_MOST_SIDE = 1024

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
    try:  # opened anew, so that it may be told not to make us wait
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return Answers()
    try:
        return _ask(terminal)
    finally:
        os.close(terminal)


def _ask(terminal: int) -> Answers:
    import fcntl  # noqa: F401  (before the terminal is changed: a signal that comes during an import ends the process)
    import termios
    import tty

    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():  # in the background, a change of its settings would stop us
            return Answers()
        before = termios.tcgetattr(terminal)
    except (OSError, termios.error):
        return Answers()
    answers = Answers()
    try:
        tty.setcbreak(terminal, termios.TCSANOW)  # answers come without a line end, and must not show
        typed = _typed_ahead(terminal)
        if typed is not None:
            answers, between = _answered(terminal)
            keys = typed + between
            if keys:  # what has come since then stays behind them
                _give_back(terminal, keys + (_typed_ahead(terminal) or b""))
    except (OSError, termios.error):  # it is gone
        pass
    finally:
        with suppress(OSError, termios.error):
            termios.tcsetattr(terminal, termios.TCSANOW, before)
    return answers if answers.cell else replace(answers, cell=_cell_of(terminal))


def _typed_ahead(terminal: int) -> bytes | None:
    """The keys that wait to be read, taken out of the answers' way; None where they could not be given back.

    Linux lets a program put bytes into its terminal's input, unless it was told not to (`dev.tty.legacy_tiocsti`, 6.2).
    One byte of ours shows whether it does, before any key is taken.
    """
    if not _is_ready(terminal, 0):
        return b""
    if not _give_back(terminal, _PROBE):
        return None
    keys = b""
    while len(keys) < _MOST_BYTES and _is_ready(terminal, 0):
        keys += os.read(terminal, _MOST_BYTES)
    return keys.replace(_PROBE, b"", 1)


def _give_back(terminal: int, keys: bytes) -> bool:
    """Put keys into the terminal's input, as if they were typed now; whether it takes them."""
    import fcntl
    import termios

    try:
        for key in keys:
            fcntl.ioctl(terminal, termios.TIOCSTI, bytes([key]))
    except (OSError, AttributeError):
        return False
    return True


def _answered(terminal: int) -> tuple[Answers, bytes]:
    """The terminal's answers, and the keys that came between them; none where it says more than any would."""
    data = b""
    with suppress(OSError):  # it is gone, or takes nothing
        os.write(terminal, QUESTIONS)
        data = _read_answers(terminal)
    return parse_answers(data), keys_in(data) if len(data) < _MOST_BYTES else b""


def _read_answers(terminal: int) -> bytes:
    """What comes until the last question is answered, and no byte after that; or for as long as patience lasts."""
    data, end = b"", time.monotonic() + _PATIENCE
    while not LAST_ANSWER.search(data) and len(data) < _MOST_BYTES:
        left = end - time.monotonic()
        more = os.read(terminal, 1) if left > 0 and _is_ready(terminal, left) else b""
        if not more:
            break
        data += more
    return data


def _is_ready(terminal: int, seconds: float) -> bool:
    return bool(select.select([terminal], [], [], seconds)[0])


def _cell_of(terminal: int) -> tuple[int, int] | None:
    """A character's pixels as the kernel knows them; most terminals set them."""
    import fcntl
    import struct
    import termios

    try:
        rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        return None
    return believed_cell(width // columns, height // rows) if rows and columns else None


def grid(
    entries: Sequence[Entry], protocol: Protocol, cell: tuple[int, int] | None, width: int, *, colour: bool
) -> Iterator[str]:
    """Text of each row of pictures with its two lines of labels. `width` is the terminal's, in characters."""
    from mmsearch.rendering.terminal_pictures import DEFAULT_CELL, picture, strip
    from mmsearch.rendering.thumbnails import thumbnails

    width = min(width, _MOST_COLUMNS)
    across = max(1, (width + _GAP - 1) // (_TILE_COLUMNS + _GAP))
    tile = max(1, min((width + _GAP - 1) // across - _GAP, 2 * _TILE_COLUMNS))
    if cell and across * (tile + _GAP) * cell[0] * tile * cell[0] > _MOST_PIXELS:
        cell = None
    cell_width, cell_height = cell or DEFAULT_CELL
    down = max(1, round(tile * _HEIGHT_TO_WIDTH * cell_width / cell_height))
    pixels = (tile * cell_width, down * cell_height)
    row: list[Thumbnail] = []
    for index, thumbnail in enumerate(thumbnails(entries, min(max(pixels), _MOST_SIDE)), 1):
        row.append(thumbnail)
        if len(row) == across or index == len(entries):
            columns = len(row) * (tile + _GAP) - _GAP
            whole = strip([found.image for found in row], pixels, _GAP * cell_width)
            drawn = picture(whole, columns, down, protocol, cell)
            yield f"{drawn}{_labels([found.entry for found in row], tile, colour)}\n"
            row.clear()


def _labels(entries: Sequence[Entry], tile: int, colour: bool) -> str:
    headings = (_cut(printable(entry.heading), tile) for entry in entries)
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
