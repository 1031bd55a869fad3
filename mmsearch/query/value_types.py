"""What kinds of values the words of a query take, as errors say it."""

from __future__ import annotations

import os

# In the order in which they are listed.
_IN_WORDS = {
    str: "a text",
    os.PathLike: "a path",
    bytes: "bytes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
}


def told(kinds: tuple[type, ...]) -> str:
    """`a text, a path or a list`."""
    named = [words for kind, words in _IN_WORDS.items() if kind in kinds and not (kind is int and float in kinds)]
    return " or ".join([", ".join(named[:-1]), named[-1]] if named[1:] else named)
