"""How sure a result is, as people see it: three marks in place of a number that says too much."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence

from mmsearch.base import config
from mmsearch.base.records import Hit

# The confidences from which on a result has one mark, two and three. Of two questions that nothing in the collection
# answers, one has no result with a mark; of ten, nine have none with two, which `--likely` keeps; of a hundred, 99 have
# none with three.
LEVELS = (0.5, config.LIKELY, 0.99)

FULL, EMPTY = "●", "·"
_PLAIN_FULL, _PLAIN_EMPTY = "*", "."
_UNKNOWN = "?"


def mark(confidence: float | None, *, plain: bool = False) -> str:
    """`●●●`, `●●·`, `●··` or `···`, with `plain` in ASCII: `***` to `...`; `?` where it cannot be told."""
    if confidence is None:
        return _UNKNOWN
    full, empty = (_PLAIN_FULL, _PLAIN_EMPTY) if plain else (FULL, EMPTY)
    count = bisect(LEVELS, confidence)
    return full * count + empty * (len(LEVELS) - count)


def in_words(confidence: float) -> str:
    """The number, rounded down, but for those below the first level, which tell nothing; and whether it is weak."""
    told = f"confidence {math.floor(confidence * 100 + 1e-6) / 100:.2f}"
    if confidence < LEVELS[0]:
        told = f"confidence under {LEVELS[0]:g}"
    return told if confidence >= config.LIKELY else f"weak match: {told}"


def is_weak(hit: Hit) -> bool:
    """Whether a result is known to be less than likely."""
    return hit.confidence is not None and hit.confidence < config.LIKELY


def weaker(hits: Sequence[Hit]) -> list[bool]:
    """Which results are weaker than others here: the weak ones; none where all are, for then nothing is stronger."""
    weak = [is_weak(hit) for hit in hits]
    return [False] * len(weak) if all(weak) else weak


def first_of_the_rest(weak: Sequence[bool]) -> int:
    """The index from which on all are weak; their number where the last is not."""
    first = len(weak)
    while first and weak[first - 1]:
        first -= 1
    return first
