"""What a user asks, as one frozen record."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from mmsearch.base import config
from mmsearch.base.errors import UsageError
from mmsearch.base.text import shown
from mmsearch.query.bounds import LONGEST_TEXT
from mmsearch.query.filters import NO_FILTERS, Filters
from mmsearch.query.terms import Term

_LARGEST = sys.float_info.max

# Results of one query: more than any collection has images, and little enough for sums with it to stay in 64 bits.
_MOST_RESULTS = 1_000_000_000

_NOTHING = "give TEXT, --image PATH, --like PATH_OR_ID, or a filter such as --below DIR"


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
        length = sum(len(str(term.value)) for term in self.terms if term.kind == "text")
        if length > LONGEST_TEXT:
            raise UsageError(
                f"the texts of the query have {length:,} characters together", f"give at most {LONGEST_TEXT:,}"
            )
        if not self.has_subject and not self.filters:
            raise UsageError("a query needs a text, an image or a filter", _NOTHING)
        if not 1 <= self.top <= _MOST_RESULTS:
            hint = "--top must be at least 1" if self.top < 1 else f"give at most {_MOST_RESULTS:,} to --top"
            raise UsageError(f"cannot return {shown(self.top)} results", hint)
        if self.min_score is not None and not -_LARGEST <= self.min_score <= _LARGEST:
            raise UsageError(f"invalid score {shown(self.min_score)}", "--min-score takes a cosine from -1 to 1")
        if self.min_score is not None and not self.has_subject:
            raise UsageError("--min-score needs a text or an image", "leave it out: a list by date has no scores")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise UsageError(
                f"invalid confidence {shown(self.min_confidence)}", "--min-confidence takes a number from 0 to 1"
            )
        if self.min_confidence is not None and not self.has_subject:
            raise UsageError(
                "--likely and --min-confidence need a text or an image", "leave them out: a list by date has no scores"
            )
        if not 0 < self.diverse_at <= 1:
            raise UsageError(
                f"invalid limit for near-duplicates {shown(self.diverse_at)}",
                "--diverse-at takes a cosine above 0, up to 1",
            )

    @property
    def is_words(self) -> bool:
        """Whether nothing but words says what to look for: an image always has images that are most like it."""
        return bool(self.terms) and all(term.kind == "text" for term in self.terms) and not (self.more or self.less)

    @property
    def has_subject(self) -> bool:
        """Whether images can be ranked by it; otherwise it lists by date what passes the filters."""
        return bool(self.terms or self.more or self.less)
