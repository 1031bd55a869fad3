"""A whole question in one string: `2*beach + 0.5*sunset - people`.

    expression = [sign] term { sign term }            sign = "+" | "-"
    term       = [ number "*" ] ( words | quoted | "image(" what ")" | "like(" what ")" )

Words go on until the next operator. A `-` between two letters or digits, as in `hot-air balloon`, is part of a word;
any other, and every `+`, `*`, `(` and `)`, must be in quotes ('...' or "...", with a backslash before a quote or a
backslash) to be one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from mmsearch.base.errors import UsageError
from mmsearch.base.text import around
from mmsearch.query.terms import Term, image_term, like_term

_NUMBER = re.compile(r"\s*((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*\*")
_QUOTED = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", re.DOTALL)
_CALL = re.compile(r"\s*(image|like)\(", re.IGNORECASE)
_INSIDE = re.compile(r"[^()\"']*")
_WORDS = re.compile(r"(?:[^+*()\"'-]|(?<=\w)['-](?=\w))+")
_SIGN = re.compile(r"\s*([+-])")
_BLANK = re.compile(r"\s*")


class _MisplacedError(UsageError):
    """An error that names its position already."""


def parse(text: str) -> list[Term]:
    """The terms of an expression, in order. Raises `UsageError`, which names the position of what is wrong."""
    reader = _Reader(text)
    terms = [reader.term(reader.sign() or 1)]
    while not reader.at_end():
        sign = reader.sign()
        if sign is None:
            reader.fail("missing + or -")
        terms.append(reader.term(sign))
    return terms


@dataclass(slots=True)
class _Reader:
    """Reads `text` from `offset` on."""

    text: str
    offset: int = 0

    def at_end(self) -> bool:
        self._take(_BLANK)
        return self.offset == len(self.text)

    def sign(self) -> int | None:
        found = self._take(_SIGN)
        return None if found is None else -1 if found[1] == "-" else 1

    def term(self, sign: int) -> Term:
        start = self.offset
        number = self._take(_NUMBER)
        weight = sign * (float(number[1]) if number else 1.0)
        try:
            if call := self._take(_CALL):
                return (image_term if call[1].lower() == "image" else like_term)(self._inside(), weight)
            if quoted := self._take(_QUOTED):
                return Term("text", _unquoted(quoted[1]), weight)
            words = self._take(_WORDS)
            if words is None or not words[0].strip():
                self.fail("missing text, image(PATH) or like(ID)")
            return Term("text", words[0].strip(), weight)
        except _MisplacedError:
            raise
        except UsageError as error:
            self.offset = start
            self.fail(error.message)

    def _inside(self) -> str:
        """What is between the parentheses of image(...) and like(...)."""
        quoted = self._take(_QUOTED)
        inside = self._take(_INSIDE)
        value = _unquoted(quoted[1]) if quoted else inside[0].strip() if inside else ""
        if self.text[self.offset : self.offset + 1] != ")" or (quoted and inside and inside[0].strip()):
            self.fail("missing )")
        self.offset += 1
        if not value:
            self.offset -= 1
            self.fail("nothing between ( and )")
        return value

    def fail(self, what: str) -> NoReturn:
        position = self.offset + len(self.text[self.offset :]) - len(self.text[self.offset :].lstrip()) + 1
        hint = "write it like `2*beach + 0.5*sunset - people`, with texts that have + * ( ) in quotes"
        near = around(self.text, self.offset)
        raise _MisplacedError(f"{what} at position {position} of the expression {near!r}", hint)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.offset)
        if found:
            self.offset = found.end()
        return found


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
