"""An evaluation for people: figures with intervals, what went worst, which model is better."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.evaluating.metrics import FIGURES
from mmsearch.evaluating.report import (
    DIRECTIONS,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    Comparison,
    Difference,
    Evaluation,
    Wrong,
)
from mmsearch.rendering.text import number, printable

if TYPE_CHECKING:
    from mmsearch.rendering.thumbnails import Entry

_TITLES = {TEXT_TO_IMAGE: "text to image", IMAGE_TO_TEXT: "image to text"}
_NAMES = {"median_rank": "median rank", "mrr": "MRR", "map": "mAP"}


def table(evaluations: Sequence[Evaluation], compared: Sequence[Comparison], worst: int) -> list[str]:
    """Lines for the terminal: a block for each model and each pair of models."""
    lines: list[str] = []
    for evaluation in evaluations:
        lines += [*([""] if lines else []), *_figures(evaluation)]
        for direction in DIRECTIONS if worst else ():
            lines += ["", f"worst, {_TITLES[direction]}:"]
            lines += [line for wrong in evaluation.worst(direction, worst) for line in _worst(wrong)] or ["  none"]
    for pair in compared:
        lines += ["", *_compared(pair)]
    return lines


def worst_to_json(evaluation: Evaluation, count: int) -> dict[str, Any]:
    """The worst queries of each direction; fields may be added, never renamed."""
    kinds = {TEXT_TO_IMAGE: ("caption", "path"), IMAGE_TO_TEXT: ("path", "caption")}
    return {
        direction: [_wrong_to_json(wrong, *kinds[direction]) for wrong in evaluation.worst(direction, count)]
        for direction in DIRECTIONS
    }


def gallery_entries(evaluation: Evaluation, count: int) -> Iterator[Entry]:
    """The right image and the one that came first, for each of the worst texts; then the worst images."""
    from mmsearch.rendering.thumbnails import Entry

    for wrong in evaluation.worst(TEXT_TO_IMAGE, count):
        asked = f"text: {wrong.query}"
        scores = f"cosine {wrong.right_score:.3f}; the first had {wrong.first_score:.3f}"
        yield Entry(wrong.right, f"rank {wrong.rank}: {wrong.query}", (evaluation.name, asked, scores))
        yield Entry(wrong.first, f"came first: {wrong.query}", (evaluation.name, asked, scores))
    for wrong in evaluation.worst(IMAGE_TO_TEXT, count):
        notes = (
            evaluation.name,
            f"right: {wrong.right} (cosine {wrong.right_score:.3f})",
            f"came first: {wrong.first} (cosine {wrong.first_score:.3f})",
        )
        yield Entry(wrong.query, f"its text has rank {wrong.rank}", notes)


def _figures(evaluation: Evaluation) -> list[str]:
    pairs = evaluation.matching
    counts = [number(len(pairs.contents), "image"), number(len(pairs.right_images), "different caption")]
    if pairs.classes:
        counts[1] = number(pairs.classes, "class") if pairs.classes == 1 else f"{pairs.classes:,} classes"
    if evaluation.candidates > len(pairs.contents):
        counts.append(f"searched among {number(evaluation.candidates, 'image')}")
    lines = [f"{printable(evaluation.name)}: {', '.join(counts)}; in brackets 95 % intervals"]
    lines.append(f"{'':<13}" + "".join(f"{_TITLES[direction]:<26}" for direction in DIRECTIONS).rstrip())
    for index, name in enumerate(FIGURES):
        cells = [_cell(evaluation, direction, index) for direction in DIRECTIONS]
        lines.append(f"{_NAMES.get(name, name):<13}" + "".join(f"{cell:<26}" for cell in cells).rstrip())
    if pairs.classes:
        top = evaluation.directions[IMAGE_TO_TEXT].figures
        lines.append(f"zero-shot: top-1 {top[0]:.3f}, top-5 {top[1]:.3f} (image to text, recall@1 and @5)")
    return lines


def _cell(evaluation: Evaluation, direction: str, index: int) -> str:
    found = evaluation.directions[direction]
    value, low, high = found.figures[index], found.low[index], found.high[index]
    if FIGURES[index] == "median_rank":
        return f"{value:g} ({round(low, 1):g} to {round(high, 1):g})"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _worst(wrong: Wrong) -> list[str]:
    return [
        f"  rank {wrong.rank:,}: {_short(wrong.query)}",
        f"    right: {wrong.right_score:.3f} {_short(wrong.right)}",
        f"    first: {wrong.first_score:.3f} {_short(wrong.first)}",
    ]


def _short(text: str) -> str:
    """A path relative to here where that is shorter; any text safe for a terminal."""
    if os.path.isabs(text):
        try:
            relative = os.path.relpath(text)
        except (OSError, ValueError):
            relative = text
        text = relative if len(relative) < len(text) and not relative.startswith("..") else text
    return printable(text)


def _compared(pair: Comparison) -> list[str]:
    one, other = map(printable, pair.models)
    lines = [f"{one} minus {other}: paired over the same queries; real where p < 0.05"]
    for direction, differences in pair.differences.items():
        for name, difference in differences.items():
            title = f"{_TITLES[direction]}, {_NAMES.get(name, name)}"
            lines.append(f"  {title:<26}{_difference(difference, one, other)}")
    return lines


def _difference(difference: Difference, one: str, other: str) -> str:
    better = one if difference.value > 0 else other
    verdict = f"real: {better} is better" if difference.real else "no difference shown"
    interval = f"({difference.low:+.3f} to {difference.high:+.3f})"
    return f"{difference.value:+.3f} {interval}  p {difference.p:.4f}  {verdict}"


def _wrong_to_json(wrong: Wrong, query: str, answer: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        query: wrong.query,
        "rank": wrong.rank,
        answer: wrong.right,
        "score": round(wrong.right_score, 6),
        "first": wrong.first,
        "first_score": round(wrong.first_score, 6),
    }
    return {name: _decoded(value) if isinstance(value, str) else value for name, value in fields.items()}


def _decoded(text: str) -> str:
    """U+FFFD for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
