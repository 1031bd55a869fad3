"""What kinds of values the words of a query take: read from their types, and as errors say it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

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


def kinds_of(hint: Any) -> tuple[type, ...]:
    """The classes whose objects are of a type; JSON has lists for all sequences, and whole numbers for any."""
    return tuple(dict.fromkeys(_kinds(hint)))


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type, without what is annotated."""
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


def _kinds(hint: Any) -> Iterator[type]:
    for member in members(hint):
        kind = get_origin(member) or member
        if kind in {Sequence, tuple}:
            yield from (list, tuple)
        elif kind is float:
            yield from (int, float)
        elif kind is not type(None):
            yield kind
