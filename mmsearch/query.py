"""What a user asks: the words of a command line, of an API call or of a batch line, as one frozen record."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmsearch import config
from mmsearch.errors import UsageError, one_line
from mmsearch.filters import FILTER_WORDS, NO_FILTERS, Filters
from mmsearch.terms import Term, checked_id, gather

# What words may be given, and their types. They are the same in `Collection.search`, in a batch line's JSON object and,
# with - for _, on the command line.
_PATH = (str, os.PathLike)
TERM_WORDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "plus": (str, list, tuple),
    "minus": (str, list, tuple),
    "image": (*_PATH, bytes, list, tuple),
    "like": (*_PATH, int, list, tuple),
    "expr": (str,),
    "terms": (list, tuple),
    "more": (*_PATH, int, list, tuple),
    "less": (*_PATH, int, list, tuple),
}
OPTION_WORDS: dict[str, tuple[type, ...]] = {
    "top": (int,),
    "min_score": (int, float),
    "min_confidence": (int, float),
    "likely": (bool,),
    "diverse": (bool,),
    "diverse_at": (int, float),
    "include_self": (bool,),
    "exact": (bool,),
    "offline": (bool,),
    "templates": (bool,),
    "centring": (bool,),
    "allow_private_urls": (bool,),
}
WORDS = TERM_WORDS | FILTER_WORDS | OPTION_WORDS

# Two ways to say one thing: `likely` is the least confidence `config.LIKELY`.
_HOW_SURE = {"likely", "min_confidence"}

_NOTHING = "give TEXT, --image PATH, --like PATH_OR_ID, or a filter such as --in DIR"


@dataclass(frozen=True, slots=True)
class Query:
    """One question: terms, of which there may be none where there are filters.

    `more` and `less` are indexed images, by absolute path or id, that the results should resemble more, and less.
    `min_score` is the least cosine, `min_confidence` the least confidence; `diverse` shows near-duplicates, which are
    images with a cosine of `diverse_at` or more, once; with `include_self` files of the same bytes as an image among
    the terms may be results too; `exact` compares with every image; `offline` includes images in folders that are
    offline; `templates` puts short texts into an ensemble of templates or does not, `centring` takes off them what all
    have in common or does not (None: as is best for the model, but no centring where `templates` is False);
    `allow_private_urls` fetches query images from this machine's own network too.
    """

    terms: tuple[Term, ...] = ()
    more: tuple[int | str, ...] = ()
    less: tuple[int | str, ...] = ()
    filters: Filters = NO_FILTERS
    top: int = config.DEFAULT_TOP
    min_score: float | None = None
    min_confidence: float | None = None
    diverse: bool = False
    diverse_at: float = config.NEAR_DUPLICATE
    include_self: bool = False
    exact: bool = False
    offline: bool = False
    templates: bool | None = None
    centring: bool | None = None
    allow_private_urls: bool = False

    def __post_init__(self) -> None:
        if not self.has_subject and not self.filters:
            raise UsageError("a query needs a text, an image or a filter", _NOTHING)
        if self.top < 1:
            raise UsageError(f"cannot return {self.top} results", "-k/--top takes a number from 1")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise UsageError(f"{self.min_score} is no score", "--min-score takes a cosine from -1 to 1")
        if self.min_score is not None and not self.has_subject:
            raise UsageError("--min-score without a text or an image", "a list by date has no scores: leave it out")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise UsageError(f"{self.min_confidence} is no confidence", "--min-confidence takes a number from 0 to 1")
        if self.min_confidence is not None and not self.has_subject:
            raise UsageError(
                "--likely or --min-confidence without a text or an image", "a list by date has no scores: leave it out"
            )
        if not 0 < self.diverse_at <= 1:
            raise UsageError(
                f"{self.diverse_at} is no limit for near-duplicates", "--diverse-at takes a cosine over 0, up to 1"
            )

    @property
    def is_words(self) -> bool:
        """Whether nothing but words says what to look for: an image always has images that are most like it."""
        return bool(self.terms) and all(term.kind == "text" for term in self.terms) and not (self.more or self.less)

    @property
    def has_subject(self) -> bool:
        """Whether images can be ranked by it; otherwise it lists by date what passes the filters."""
        return bool(self.terms or self.more or self.less)


def from_words(words: Mapping[str, Any]) -> Query:
    """A query from `WORDS`; those that are None count as not given. Raises `UsageError`."""
    given = {name: value for name, value in words.items() if value is not None}
    for name, value in given.items():
        kinds = WORDS.get(name)
        if kinds is None:
            raise UsageError(f"{name!r} is no option of a query; there are {', '.join(WORDS)}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds) or not _is_sound(value):
            raise UsageError(f"{one_line(repr(value))} is no value for {name!r}")
    if "diverse_at" in given:
        given.setdefault("diverse", True)
    if given.pop("likely", False):
        if "min_confidence" in given:
            raise UsageError("--likely and --min-confidence both say how sure results must be", "give one of them")
        given["min_confidence"] = config.LIKELY
    return Query(
        terms=gather(**{name: given[name] for name in TERM_WORDS if name in given and name not in {"more", "less"}}),
        more=_indexed(given.get("more", ()), "more"),
        less=_indexed(given.get("less", ()), "less"),
        filters=Filters.from_words({name: given[name] for name in FILTER_WORDS if name in given}),
        **{name: given[name] for name in OPTION_WORDS if name in given},
    )


def overriding(before: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """All words together; `words` win over those `before`, also where they say the least confidence in another way."""
    replaced = _HOW_SURE if _HOW_SURE & words.keys() else set()
    return {name: value for name, value in before.items() if name not in replaced} | dict(words)


def _is_sound(value: Any) -> bool:
    """Whether all texts in a value, in JSON's types, can be names of files."""
    if isinstance(value, list | tuple):
        return all(map(_is_sound, value))
    if isinstance(value, dict):
        return all(map(_is_sound, value.values()))
    try:
        return not isinstance(value, str) or os.fsencode(value) is not None
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _indexed(value: Any, name: str) -> tuple[int | str, ...]:
    """Ids or absolute paths."""
    images: list[int | str] = []
    for one in value if isinstance(value, list | tuple) else (value,):
        if isinstance(one, bool) or not isinstance(one, (*_PATH, int)):
            raise UsageError(f"{one!r} is no image for {name!r}", "it takes paths and ids")
        images.append(checked_id(one) if isinstance(one, int) else config.absolute(one))
    return tuple(dict.fromkeys(images))
