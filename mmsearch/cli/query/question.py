"""From the options of `mmsearch query` to a question, which may refine the last answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mmsearch.base.errors import SourceError, UsageError

if TYPE_CHECKING:
    from mmsearch.base.records import Hit
    from mmsearch.collection.collection import Collection
    from mmsearch.query.query import Query
    from mmsearch.query.session import LastAnswer


@dataclass(frozen=True, slots=True)
class Question:
    """A query, how it is echoed in JSON, and the words that would ask it again."""

    query: Query
    echo: dict[str, Any]
    words: dict[str, Any]


def words(params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's options that ask, and were given."""
    from mmsearch.query.words import Words, current

    named = current({name.removesuffix("_"): value for name, value in params.items()})  # `in` cannot be a parameter
    given = {name: named[name] for name in Words.__annotations__ if named.get(name) not in (None, [], ())}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    if "text" in plain:
        plain["text"] = " ".join(plain["text"])
    return plain


def only_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The words for `--batch`, whose lines say what to look for. Raises `UsageError`."""
    from mmsearch.query.parse import TERM_WORDS

    if TERM_WORDS & given.keys():
        raise UsageError("--batch reads its queries from a file", "leave out TEXT, --image and all other terms")
    return dict(given)


def question(photos: Collection, given: Mapping[str, Any], session: str | None) -> Question:
    """What was asked; with ranks after --more or --less, the last answer's question and these. Raises `UsageError`."""
    from mmsearch.query.parse import TERM_WORDS, overriding

    asked = {**given, "image": _with_stdin(given.get("image", []))}
    echo = {name: _alone(given, name) for name in ("text", "image", "like")}
    feedback = {name: _feedback(given.get(name, []), name) for name in ("more", "less")}
    if (TERM_WORDS - {"more", "less"}) & given.keys():
        if any(isinstance(mark, int) for marks in feedback.values() for mark in marks):
            hint = "leave out the new question, or give ids such as #12"
            raise UsageError(
                "ranks after --more and --less are those of the last answer, which a new question replaces", hint
            )
    elif any(feedback.values()):
        from mmsearch.query.session import load

        last = load(photos.path, session)
        asked = overriding(last.words, {name: value for name, value in asked.items() if name != "image"})
        feedback = {name: [last.at(mark) if isinstance(mark, int) else mark for mark in marks]
                    for name, marks in feedback.items()}  # fmt: skip
        _say_what_is_refined(last, feedback)
        feedback = {name: [*last.words.get(name, []), *marks] for name, marks in feedback.items()}
    for name, marks in feedback.items():
        asked[name] = [int(mark[1:]) if isinstance(mark, str) and mark.startswith("#") else mark for mark in marks]
    query = photos.query(**{name: value for name, value in asked.items() if value != []})
    return Question(query, _echo(query, echo), _lasting(query, asked))


def answer(photos: Collection, asked: Question) -> tuple[list[Hit], int]:
    """The results, and how many more there would be if they need not be as sure as was asked for."""
    from mmsearch.searching.judge import sure_enough

    best = photos.search_many([replace(asked.query, min_confidence=None)])[0]
    hits = sure_enough(best, asked.query.min_confidence)
    return hits, len(best) - len(hits)


def remember(photos: Collection, asked: Question, session: str | None, hits: Sequence[Hit]) -> None:
    """Keep the answer for --more and --less. A question that cannot be asked again leaves the one before."""
    from mmsearch.base.errors import UntrustedError
    from mmsearch.query.session import save

    if asked.query.has_subject and not any(isinstance(term.value, bytes) for term in asked.query.terms):
        try:
            save(photos.path, session, label(asked.query), asked.words, [hit.path for hit in hits])
        except UntrustedError as error:
            from mmsearch.cli.console import say

            say(f"this answer is not kept for --more and --less; {error}")


def label(query: Query) -> str:
    """A question in a few words."""
    parts: list[str] = []
    for term in query.terms:
        value = os.path.basename(term.value) if term.kind != "text" and isinstance(term.value, str) else term.value
        text = "an image" if isinstance(value, bytes) else f"image {value}" if isinstance(value, int) else repr(value)
        sign = "-" if term.weight < 0 else "+" if parts else ""
        weight = "" if abs(term.weight) == 1 else f"{abs(term.weight):g}*"
        parts.append(f"{sign}{' ' if parts else ''}{weight}{text}")
    return " ".join(parts) or "the images chosen"


def _echo(query: Query, alone: dict[str, Any]) -> dict[str, Any]:
    """The question in JSON: `text`, `image` and `like` as they were given alone, and all terms."""
    terms = [term.to_json() for term in query.terms]
    found: dict[str, Any] = alone | {"terms": [{**term, "value": _valid(term["value"])} for term in terms]}
    for name, images in (("more", query.more), ("less", query.less)):
        if images:
            found[name] = [_valid(image) for image in images]
    return found


def _valid(value: Any) -> Any:
    """A value whose bytes that are not UTF-8 are shown as U+FFFD."""
    return os.fsencode(value).decode("utf-8", "replace") if isinstance(value, str) else value


def _lasting(query: Query, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The words that ask the same again, from any folder. Bytes cannot be kept."""
    from mmsearch.query.parse import TERM_WORDS

    kept = {name: value for name, value in asked.items() if name not in TERM_WORDS and name not in {"top", "below"}}
    kept |= {"terms": [term.to_json() for term in query.terms]}
    kept |= {"more": list(query.more), "less": list(query.less), "below": list(query.filters.below)}
    return {name: value for name, value in kept.items() if value != []}


def _say_what_is_refined(last: LastAnswer, feedback: Mapping[str, Sequence[Any]]) -> None:
    from mmsearch.cli.console import say

    named = [f"{word} like {', '.join(map(str, marks))}" for word, marks in feedback.items() if marks]
    say(f"refining {last.label} (asked {last.when}): {'; '.join(named)}")


def _feedback(values: Sequence[str], name: str) -> list[int | str]:
    """Ranks as numbers, `#ID` as texts."""
    marks: list[int | str] = []
    for part in ",".join(values).split(",") if values else []:
        mark = part.strip()
        digits = mark.removeprefix("#")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise UsageError(
                f"cannot read {part!r} as a rank for --{name}", "give ranks such as 3,5 or ids such as #12"
            )
        marks.append(mark if mark.startswith("#") else int(mark))
    return marks


def _alone(given: Mapping[str, Any], name: str) -> str | None:
    """An option's value as it was given, if it was given once."""
    value = given.get(name)
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    return None if value is None else str(_valid(value))


def _with_stdin(values: Sequence[str]) -> list[Any]:
    """Query images; `-` and `-:2` are standard input, which can be read once. Raises `UsageError`."""
    from mmsearch.query.terms import split_weight

    weights = dict(enumerate(map(split_weight, values)))
    piped = [index for index, (name, _) in weights.items() if name == "-"]
    if len(piped) > 1:
        raise UsageError("standard input can be read only once, and --image - is given twice", "save it to a file")
    images: list[Any] = list(values)
    for index in piped:
        weight = weights[index][1]
        images[index] = [_standard_input(), 1.0 if weight is None else weight]
    return images


def _standard_input() -> bytes:
    """All of it. Raises `SourceError` where that is too much."""
    from mmsearch.searching.query_images import MOST_BYTES

    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise SourceError(f"standard input gives more than {MOST_BYTES:,} bytes", "give a picture to --image -")
    return data
