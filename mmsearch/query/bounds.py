"""How large the words of a query may be, so that none costs more than its like, whoever wrote it.

Each word has limits of its own as well, where it is read. These are for all, and are checked before anything looks into
a value.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import Any

from mmsearch.base.errors import UsageError
from mmsearch.base.text import shown

# Characters of a text, and of all texts that one question looks for. No path that somebody uses is longer, and models
# read only the first 50 to 200 words. 10,000 take some 10 ms to become tokens; the worst that is known (`&amp;amp;...`,
# which is repaired again and again) takes a second.
LONGEST_TEXT = 10_000

# Texts, numbers and lists within one word: 100,000 folders are served, and as much again is left.
MOST_VALUES = 200_000

# Lists within each other. Pairs of a text and its weight, and terms as objects, are one list within another.
_MOST_LISTS = 3

# Bits of a whole number: SQLite's integers have one more, for the sign.
_MOST_BITS = 63


def check(name: str, value: Any) -> None:
    """Raise `UsageError` where the value of a word is too large, too deep, or holds texts that no file can be named.

    It takes a list of what is still to be seen rather than calling itself: no depth can be too much for it.
    """
    left, seen = [(value, 0)], 0
    while left:
        one, depth = left.pop()
        if isinstance(one, list | tuple | dict):
            seen += len(one)
            if seen > MOST_VALUES:
                raise UsageError(f"too many values for {name!r}", f"give at most {MOST_VALUES:,}")
            if depth == _MOST_LISTS:
                raise UsageError(f"invalid value {shown(value)} for {name!r}", "put no lists within its lists")
            parts = itertools.chain(one, one.values()) if isinstance(one, dict) else one
            left += ((part, depth + 1) for part in parts)
        elif isinstance(one, str | os.PathLike):
            _check_text(name, os.fspath(one))
        elif isinstance(one, int) and one.bit_length() > _MOST_BITS:
            raise UsageError(f"invalid value {shown(one)} for {name!r}", "give a whole number below 2^63")


def is_deep(value: Any, most: int) -> bool:
    """Whether a value in JSON's types has more than `most` lists or objects within each other."""
    level = [value]
    for _ in range(most + 1):
        level = [part for one in level if isinstance(one, list | dict) for part in _parts(one)]
        if not level:
            return False
    return True


def _parts(one: list[Any] | dict[Any, Any]) -> Iterable[Any]:
    return one.values() if isinstance(one, dict) else one


def check_length(name: str, text: Any) -> None:
    """Raise `UsageError` where a text is too long."""
    if len(text) > LONGEST_TEXT:
        raise UsageError(
            f"a text of {len(text):,} characters for {name!r} is too long", f"give at most {LONGEST_TEXT:,}"
        )


def _check_text(name: str, text: Any) -> None:
    check_length(name, text)
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise UsageError(f"invalid value {shown(text)} for {name!r}", "give texts in valid Unicode") from error
