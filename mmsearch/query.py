"""What a user asks: the words of a command line or an API call, as one frozen record."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from mmsearch import config
from mmsearch.errors import UsageError


@dataclass(frozen=True, slots=True)
class Query:
    """One question. Exactly one of `text`, `image` and `like` is given.

    `image` is the path of an image file, or its bytes; `like` an indexed image, by its path or its id. `below` is the
    absolute path of a folder that results must lie in; `min_score` the least cosine; with `include_self` files of the
    same bytes as `image` or `like` may be results too; `exact` compares with every image; `offline` includes images in
    folders that are offline.
    """

    text: str | None = None
    image: str | os.PathLike[str] | bytes | None = None
    like: str | int | None = None
    top: int = config.DEFAULT_TOP
    below: str | None = None
    min_score: float | None = None
    include_self: bool = False
    exact: bool = False
    offline: bool = False

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.text, self.image, self.like)) != 1:
            raise UsageError("a query needs a text or an image", "give one of TEXT, --image PATH and --like PATH_OR_ID")
        if self.text is not None and not self.text.strip():
            raise UsageError("the query text is empty", "say what to look for, for example `a cat`")
        if self.top < 1:
            raise UsageError(f"cannot return {self.top} results", "-k/--top takes a number from 1")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise UsageError(f"{self.min_score} is no score", "--min-score takes a cosine from -1 to 1")
