"""From words to a query: those of a command line, of an API call or of a batch line."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmsearch.base import config
from mmsearch.base.errors import UsageError
from mmsearch.base.paths import absolute
from mmsearch.base.text import shown
from mmsearch.query import bounds
from mmsearch.query.filters import Filters
from mmsearch.query.query import Query
from mmsearch.query.terms import Term, checked, checked_id, from_json, image_term, is_url, like_term, split_weight
from mmsearch.query.value_types import kinds_of, told
from mmsearch.query.words import EARLIER, Filtering, Options, Terms, Text, Words, current

_PATH = (str, os.PathLike)

# What values the words may have.
WORDS: dict[str, tuple[type, ...]] = {name: kinds_of(hint) for name, hint in Words.__annotations__.items()}
TERM_WORDS = frozenset(Text.__annotations__) | frozenset(Terms.__annotations__)
FILTER_WORDS = frozenset(Filtering.__annotations__)
OPTION_WORDS = frozenset(Options.__annotations__)

# Two ways to say one thing: `likely` is the least confidence `config.LIKELY`.
_HOW_SURE = {"likely", "min_confidence"}

# Terms of one query. Each may cost a model's pass or a decoder's, and no question that somebody means has so many.
MOST_TERMS = 100

# Images of one query that are fetched from the network, each of which may take half a minute.
MOST_ADDRESSES = 10

# Indexed images that results should be more like, or less, of one query. Each costs a look into the catalog.
MOST_EXAMPLES = 1000


def from_words(words: Mapping[str, Any]) -> Query:
    """A query from `WORDS`, or their earlier names; those that are None count as not given. Raises `UsageError`."""
    for name, value in words.items():
        if value is None:
            continue
        kinds = WORDS.get(EARLIER.get(name, name))
        if kinds is None:
            raise UsageError(f"unknown option {shown(name)} of a query", f"choose {', '.join(WORDS)}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"invalid value {shown(value)} for {name!r}", f"give {told(kinds)}")
        bounds.check(name, value)
    given = {name: value for name, value in current(words).items() if value is not None}
    if "diverse_at" in given:
        given.setdefault("diverse", True)
    if given.pop("likely", False):
        if "min_confidence" in given:
            raise UsageError("--likely and --min-confidence both say how sure results must be", "choose one of them")
        given["min_confidence"] = config.LIKELY
    return Query(
        terms=gather(**{name: given[name] for name in TERM_WORDS - {"more", "less"} if name in given}),
        more=_indexed(given.get("more", ()), "more"),
        less=_indexed(given.get("less", ()), "less"),
        filters=Filters.from_words({name: given[name] for name in FILTER_WORDS if name in given}),
        **{name: given[name] for name in OPTION_WORDS if name in given},
    )


def overriding(before: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """All words together; `words` win over those `before`, also where they say the same in another way."""
    before, words = current(before), current(words)
    replaced = _HOW_SURE if _HOW_SURE & words.keys() else set()
    return {name: value for name, value in before.items() if name not in replaced} | words


def _indexed(value: Any, name: str) -> tuple[int | str, ...]:
    """Ids or absolute paths."""
    values, images = _several(value), []
    if len(values) > MOST_EXAMPLES:
        raise UsageError(f"{len(values):,} images for {name!r} are too many", f"give at most {MOST_EXAMPLES:,}")
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (*_PATH, int)):
            raise UsageError(f"invalid image {shown(one)} for {name!r}", "give a path or an id")
        images.append(checked_id(one) if isinstance(one, int) else absolute(one))
    return tuple(dict.fromkeys(images))


def gather(
    *,
    text: Any = None,
    plus: Any = None,
    minus: Any = None,
    image: Any = None,
    like: Any = None,
    expr: Any = None,
    terms: Any = None,
) -> tuple[Term, ...]:
    """The terms that all these give together, in this order; see `Collection.search`. Raises `UsageError`."""
    for values in map(_several, (terms, plus, minus, image, like)):
        _check_count(len(values))
    found = [from_json(fields) for fields in terms or ()]
    if text is not None:
        found.append(Term("text", checked(text, "text", str)))
    if expr is not None:
        from mmsearch.query.expression import parse

        found += parse(checked(expr, "expr", str))
    found += [_text(value, "plus") for value in _several(plus)]
    found += [_text(value, "minus") for value in _several(minus)]
    found += [image_term(*_weighted(value, "image")) for value in _several(image)]
    found += [like_term(*_weighted(value, "like")) for value in _several(like)]
    _check_count(len(found))
    addresses = sum(term.kind == "image" and is_url(term.value) for term in found)
    if addresses > MOST_ADDRESSES:
        hint = f"give at most {MOST_ADDRESSES}, and save the other images"
        raise UsageError(f"{addresses} web addresses are too many for one query", hint)
    return tuple(found)


def _check_count(terms: int) -> None:
    if terms > MOST_TERMS:
        raise UsageError(f"{terms:,} terms are too many for one query", f"give at most {MOST_TERMS}")


def _text(value: Any, name: str) -> Term:
    """A text of `plus` or `minus`, which says the sign, so the weight must not."""
    words, weight = _weighted(value, name)
    if weight is None:
        words, weight = split_weight(checked(words, name, str))
    weight = 1.0 if weight is None else weight
    if weight < 0:
        raise UsageError(
            f"invalid weight {weight:g} for --{name}", "give a number over 0: --plus adds, --minus takes away"
        )
    return Term("text", checked(words, name, str), -weight if name == "minus" else weight)


def _several(values: Any) -> Sequence[Any]:
    """One value, or a list of them. (A pair of a value and its weight is written inside a list.)"""
    if values is None:
        return ()
    return values if isinstance(values, list | tuple) else (values,)


def _weighted(value: Any, name: str) -> tuple[Any, float | None]:
    if not isinstance(value, list | tuple):
        return value, None
    if len(value) != 2 or isinstance(value[1], bool) or not isinstance(value[1], int | float):
        raise UsageError(
            f"invalid value {shown(value)} for {name}",
            "write a value with its weight as a pair, such as ['sunset', 0.5]",
        )
    try:
        return value[0], float(value[1])
    except OverflowError:
        return value[0], math.inf
