"""Other people's words, fit for one line."""

from __future__ import annotations

# Characters of other people's words that are passed on: two lines on a terminal. Some repeat what a file holds.
_LONGEST_LINE = 160


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; the name of its class where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def one_line(text: str) -> str:
    """Words of a file or a library without line ends, control characters and undue length."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
