"""The parts of a question: texts and images, each with a weight, as the command line and batch lines write them."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmsearch.base.errors import UsageError
from mmsearch.base.paths import absolute
from mmsearch.base.text import shown
from mmsearch.query.bounds import check_length

TermKind = Literal["text", "image", "like"]

# A weight at the end of a term. Words such as `nan` and `inf` are text.
_WEIGHTED = re.compile(r"(?P<value>.+):(?P<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)", re.DOTALL)

_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query and its weight, which is finite, not 0, and negative for what shall be avoided.

    `value` is a text; or the absolute path, the URL or the bytes of an image file; or the absolute path or the id of an
    indexed image.
    """

    kind: TermKind
    value: str | bytes | int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or not self.weight:
            raise UsageError(f"invalid weight {self.weight:g} for {self.label}", "give a number other than 0")
        if self.kind == "text":
            _check_text(str(self.value))

    @property
    def label(self) -> str:
        """The value in words for people."""
        return "the image given as bytes" if isinstance(self.value, bytes) else shown(self.value)

    def to_json(self) -> dict[str, Any]:
        """`kind`, `value` and `weight` as JSON types; the bytes of an image are null."""
        value = None if isinstance(self.value, bytes) else self.value
        return {"kind": self.kind, "value": value, "weight": self.weight}


def _check_text(text: str) -> None:
    if not text.strip():
        raise UsageError("the query text is empty", "say what to look for, for example `a cat`")
    check_length("text", text)
    if "\0" in text:
        raise UsageError(
            f"the query text {shown(text)} has a NUL character", "give it in UTF-8, without NUL characters"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the query text {shown(text)} is not valid Unicode", "give it in UTF-8") from error


def is_url(value: Any) -> bool:
    """Whether an image is to be fetched from the network: http and https only."""
    return isinstance(value, str) and _URL.match(value) is not None


def split_weight(text: str) -> tuple[str, float | None]:
    """`sunset:0.5` as (`sunset`, 0.5); the weight is None where the last colon is not followed by a number.

    The port of a URL is no weight.
    """
    found = _WEIGHTED.fullmatch(text)
    if not found or (is_url(text) and "/" not in found["value"].split("//", 1)[1]):
        return text, None
    return found["value"], float(found["weight"])


def checked_id(number: int) -> int:
    """An id, which is one of SQLite's integers. Raises `UsageError`."""
    if not 0 < number < 2**63:
        raise UsageError(f"invalid image id {shown(number)}", "the JSON of an answer has the ids")
    return number


def from_json(fields: Any) -> Term:
    """The inverse of `Term.to_json`."""
    try:
        kind, value, weight = fields["kind"], fields["value"], float(fields["weight"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"cannot read {shown(fields)} as a term", "a term has kind, value and weight") from error
    if kind == "text":
        return Term("text", checked(value, "text", str), weight)
    if kind in ("image", "like"):
        return (image_term if kind == "image" else like_term)(value, weight)
    raise UsageError(f"unknown kind of term {shown(kind)}", "choose text, image or like")


def image_term(value: Any, weight: float | None = None) -> Term:
    """An image by path, URL or bytes; a text may end in its weight, unless a file has that very name."""
    checked(value, "image", str, bytes, os.PathLike)
    if isinstance(value, bytes):
        return Term("image", value, 1.0 if weight is None else weight)
    if isinstance(value, str) and weight is None and not _is_there(value):
        value, weight = split_weight(value)
    source = value if is_url(value) and not _is_there(value) else absolute(value)
    return Term("image", source, 1.0 if weight is None else weight)


def like_term(value: Any, weight: float | None = None) -> Term:
    """An indexed image by its id or its path; a text may end in its weight, unless a file has that very name."""
    checked(value, "like", str, int, os.PathLike)
    if isinstance(value, int):
        return Term("like", checked_id(value), 1.0 if weight is None else weight)
    if isinstance(value, str) and not _is_there(value):
        if weight is None:
            value, weight = split_weight(value)
        if value.isascii() and value.isdigit() and len(value) <= 18:  # SQLite's ids have 63 bits
            return Term("like", checked_id(int(value)), 1.0 if weight is None else weight)
    return Term("like", absolute(value), 1.0 if weight is None else weight)


def checked(value: Any, name: str, *kinds: type) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise UsageError(
            f"invalid value {shown(value)} for {name}", "`mmsearch query --help` shows what each option takes"
        )
    return value


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(Path(path).expanduser())
    except (OSError, ValueError, RuntimeError):  # a NUL character, or a user that there is not
        return False
