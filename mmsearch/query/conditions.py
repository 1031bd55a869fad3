"""The expressions of `--where`: `width > 2000 and camera like '%Canon%'`.

    condition  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation   = "not" negation | "(" condition ")" | comparison
    comparison = operand ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") operand
               | field ["not"] "like" text | field ["not"] "in" "(" value { "," value } ")"
               | field ["not"] "between" value "and" value | field "is" ["not"] "null"
    operand    = field | value        value = number, size (10MB) or text ('...' or "...")

Words may have any case; in texts, a quote is doubled to be one. `parse` gives a tree; the store makes SQL of it, with
every value bound and every field from a list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from mmsearch.base.errors import UsageError
from mmsearch.base.text import around, one_line, shown
from mmsearch.query.sizes import parse_size

# What may be compared: the fields of a result's JSON that files and photos have by themselves, and their type.
FIELDS: dict[str, type] = {
    "path": str,
    "name": str,
    "size": float,
    "mtime": float,
    "width": float,
    "height": float,
    "format": str,
    "taken_at": str,
    "camera": str,
    "latitude": float,
    "longitude": float,
    "remark": str,
    "hash": str,
}

# SQLite evaluates trees of up to 1,000 levels; nobody writes expressions near these limits.
_MOST_COMPARISONS = 200
_MOST_DEPTH = 50
_LONGEST = 4000

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?P<unit>[a-z]*)|(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<word>[a-z_]+)|(?P<sign><=|>=|<>|!=|==|[=<>(),]))""",
    re.IGNORECASE | re.VERBOSE,
)
_SIGNS = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

Operator = Literal["=", "<>", "<", "<=", ">", ">=", "like", "in", "between", "is null"]


@dataclass(frozen=True, slots=True)
class Field:
    """One of `FIELDS`."""

    name: str


Operand = Field | float | int | str


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operands[0] operator operands[1:]`."""

    operator: Operator
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Junction:
    """All of `parts` (`and`), any of them (`or`), or the only one denied (`not`)."""

    word: Literal["and", "or", "not"]
    parts: tuple[Condition, ...]


Condition = Comparison | Junction


def parse(text: str) -> Condition:
    """The tree of an expression. Raises `UsageError`, which names the position of what is wrong."""
    if "\0" in text or len(text) > _LONGEST:
        raise UsageError("--where has a NUL character or is too long", f"give at most {_LONGEST:,} characters")
    reader = _Reader(text)
    found = reader.condition(0)
    if reader.kind:
        reader.fail(f"unexpected {shown(reader.word)}")
    return found


@dataclass(slots=True)
class _Reader:
    """Reads `text` word by word. `kind` is of the word at hand: number, text, word, sign; empty at the end."""

    text: str
    kind: str = ""
    word: str = ""
    unit: str = ""
    start: int = 0
    end: int = 0
    comparisons: int = field(default=0)

    def __post_init__(self) -> None:
        self.next()

    def next(self) -> str:
        """Go on to the next word; returns the one left behind."""
        before = self.word
        rest = self.text[self.end :]
        self.start = self.end + len(rest) - len(rest.lstrip())
        if not rest.strip():
            self.kind = self.word = ""
            return before
        found = _TOKEN.match(self.text, self.end)
        if not found:
            self.fail(f"unexpected {self.text[self.start]!r}")
        self.kind = next(name for name in ("number", "text", "word", "sign") if found[name] is not None)
        self.word, self.unit, self.end = found[self.kind], found["unit"] or "", found.end()
        return before

    def fail(self, what: str) -> NoReturn:
        hint = f"write it like `width > 2000 and camera like '%Canon%'`; fields are {', '.join(FIELDS)}"
        raise UsageError(f"{what} at position {self.start + 1} of --where {around(self.text, self.start)!r}", hint)

    def condition(self, depth: int) -> Condition:
        return self._junction("or", depth)

    def _junction(self, word: Literal["and", "or"], depth: int) -> Condition:
        parts = []
        while True:
            parts.append(self._junction("and", depth) if word == "or" else self._negation(depth))
            if not self._takes(word):
                return parts[0] if len(parts) == 1 else Junction(word, tuple(parts))

    def _negation(self, depth: int) -> Condition:
        if depth > _MOST_DEPTH:
            self.fail("too many parentheses")
        if self._takes("not"):
            return Junction("not", (self._negation(depth + 1),))
        if self._takes("("):
            found = self.condition(depth + 1)
            self._require(")")
            return found
        return self._comparison()

    def _comparison(self) -> Condition:
        self.comparisons += 1
        if self.comparisons > _MOST_COMPARISONS:
            self.fail("too many comparisons")
        left = self._operand(None)
        if isinstance(left, Field):
            if self._takes("is"):
                denied = self._takes("not")
                self._require("null")
                return _denied(Comparison("is null", (left,)), denied)
            denied = self._takes("not")
            if self._takes("like"):
                if FIELDS[left.name] is not str:
                    self.fail(f"`like` cannot be used with the number {left.name}")
                return _denied(Comparison("like", (left, self._value(left))), denied)
            if self._takes("between"):
                least = self._value(left)
                self._require("and")
                return _denied(Comparison("between", (left, least, self._value(left))), denied)
            if self._takes("in"):
                return _denied(Comparison("in", (left, *self._list(left))), denied)
            if denied:
                self.fail("missing like, in or between")
        sign = _SIGNS.get(self.word) if self.kind == "sign" else None
        if sign is None:
            self.fail("missing comparison")
        self.next()
        return Comparison(sign, (left, self._operand(left)))  # type: ignore[arg-type]

    def _list(self, left: Field) -> list[Operand]:
        self._require("(")
        values = [self._value(left)]
        while self._takes(","):
            values.append(self._value(left))
        self._require(")")
        return values

    def _operand(self, other: Operand | None) -> Operand:
        """A field or a value; both sides of a comparison are numbers, or both are texts."""
        if self.kind == "word":
            name = self.word.lower()
            if name not in FIELDS:
                self.fail(f"unknown field {shown(self.word)}")
            if other is not None and FIELDS[name] is not _type(other):
                self.fail(_mixed(FIELDS[name] is str, name))
            self.next()
            return Field(name)
        return self._value(other)

    def _value(self, other: Operand | None) -> Operand:
        if self.kind == "word":
            self.fail(f"{shown(self.word)} needs quotes")
        if self.kind not in {"number", "text"}:
            self.fail("missing number or quoted text")
        if other is not None and (self.kind == "text") is not (_type(other) is str):
            self.fail(_mixed(self.kind == "text", self.word))
        if self.kind == "text":
            quote = self.word[0]
            value: Operand = self.word[1:-1].replace(quote * 2, quote)
        else:
            value = self._number()
        self.next()
        return value

    def _number(self) -> float | int:
        if self.unit:
            try:
                return parse_size(self.word + self.unit)
            except UsageError:
                self.fail(f"cannot read {shown(self.word + self.unit)} as a number")
        number = float(self.word)
        if abs(number) == float("inf"):
            self.fail(f"{one_line(self.word)} is too large")
        return int(number) if number.is_integer() and abs(number) < 2**53 else number

    def _takes(self, word: str) -> bool:
        if self.kind in {"word", "sign"} and self.word.lower() == word:
            self.next()
            return True
        return False

    def _require(self, word: str) -> None:
        if not self._takes(word):
            self.fail(f"missing {word!r}")


def _mixed(is_text: bool, word: str) -> str:
    """What is wrong where a text meets a number, that of the `word` first."""
    kind, other = ("text", "number") if is_text else ("number", "text")
    return f"cannot compare the {kind} {one_line(word)} with a {other}"


def _denied(comparison: Comparison, denied: bool) -> Condition:
    return Junction("not", (comparison,)) if denied else comparison


def _type(operand: Operand) -> type:
    if isinstance(operand, Field):
        return FIELDS[operand.name]
    return str if isinstance(operand, str) else float
