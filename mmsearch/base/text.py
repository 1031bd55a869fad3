"""Other people's words and values, fit for one line."""

from __future__ import annotations

import itertools
import math
import reprlib
from typing import Any

# Characters of other people's words that are passed on: two lines on a terminal. Some repeat what a file holds.
_LONGEST_LINE = 160

# Bits of the longest whole number that is written out: 39 digits.
_LONGEST_NUMBER = 128


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; the name of its class where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def unforeseen(error: BaseException) -> str:
    """What is said of a file over which the program itself has failed."""
    return f"mmsearch failed over it, please report this: {type(error).__name__}: {one_line(first_line(error))}"


def one_line(text: str) -> str:
    """Words of a file or a library without line ends, control characters and undue length."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def shown(value: object) -> str:
    """A value as Python writes it, cut to one line; however large or deep it is, that takes no time."""
    return one_line(_SHORT.repr(value))


def around(text: str, place: int) -> str:
    """What is near a place in a text, to show what is wrong there; all of a short text."""
    if len(text) <= _LONGEST_LINE:
        return text
    start = max(0, place - _LONGEST_LINE // 2)
    near = text[start : start + _LONGEST_LINE]
    return f"{'…' if start else ''}{near}{'…' if start + len(near) < len(text) else ''}"


class _Short(reprlib.Repr):
    """Writes the beginning of a value, and of a text its end too."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = self.maxdict = 4
        self.maxlist = self.maxtuple = 8
        self.maxstring = self.maxother = _LONGEST_LINE

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() <= _LONGEST_NUMBER:
            return repr(value)
        return f"about {'-' if value < 0 else ''}10^{math.floor(value.bit_length() * math.log10(2))}"

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value[:_LONGEST_LINE])

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        first = dict(itertools.islice(value.items(), self.maxdict + 1))  # the library would sort all of them
        return super().repr_dict(first, level)


_SHORT = _Short()
