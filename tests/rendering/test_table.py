"""The table of `mmsearch query`: how it looks on a terminal and in a pipe, and what is said beside it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Command
from terminals import run_in_terminal

from mmsearch.base import config
from mmsearch.base.records import Hit, ImageFacts, ImageRecord
from mmsearch.rendering import marks
from mmsearch.rendering.table import table

RULE = "── weaker matches ──────"


def hits(*confidences: float | None, score: float | None = 0.5, taken_at: str | None = None) -> list[Hit]:
    facts = ImageFacts(640, 480, "JPEG", taken_at)
    return [
        Hit(rank, score, ImageRecord(rank, f"/far/photo-{rank}.jpg", 1, 86_400 * 10**9, 1, "ab", facts), False, sure)
        for rank, sure in enumerate(confidences, 1)
    ]


# --- marks ---


@pytest.mark.parametrize(
    ("confidence", "shown", "plain"),
    [
        (1.0, "●●●", "***"), (0.99, "●●●", "***"), (0.98999, "●●·", "**."), (config.LIKELY, "●●·", "**."),
        (config.LIKELY - 1e-6, "●··", "*.."), (0.5, "●··", "*.."), (0.49999, "···", "..."), (0.0, "···", "..."),
        (None, "?", "?"),
    ],
)  # fmt: skip
def test_marks_claim_no_more_than_the_number(confidence: float | None, shown: str, plain: str) -> None:
    assert marks.mark(confidence) == shown and marks.mark(confidence, plain=True) == plain


@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        (1.0, "confidence 1.00"), (0.9999, "confidence 0.99"), (0.9, "confidence 0.90"),
        (0.8999, "weak match: confidence 0.89"), (0.5, "weak match: confidence 0.50"),
        (0.2, "weak match: confidence under 0.5"), (0.0, "weak match: confidence under 0.5"),
    ],
)  # fmt: skip
def test_numbers_are_rounded_down_and_none_is_zero(confidence: float, words: str) -> None:
    assert marks.in_words(confidence) == words


# --- lines ---


def test_a_terminal_gets_names_of_columns_and_a_rule() -> None:
    assert table(hits(1.0, 0.95, 0.6, 0.1), width=80) == [
        "rank  score  match  path",
        "   1  0.500  ●●●    /far/photo-1.jpg",
        "   2  0.500  ●●·    /far/photo-2.jpg",
        "── weaker matches ──────────────────",
        "   3  0.500  ●··    /far/photo-3.jpg",
        "   4  0.500  ···    /far/photo-4.jpg",
    ]


def test_a_pipe_gets_rows_alone() -> None:
    rows = table(hits(1.0, 0.95, 0.6, 0.1))
    assert [row.split() for row in rows] == [
        [str(rank), "0.500", mark, f"/far/photo-{rank}.jpg"]
        for rank, mark in enumerate(["●●●", "●●·", "●··", "···"], 1)
    ]
    assert table([]) == table([], width=80) == []


@pytest.mark.parametrize(
    ("confidences", "place"),
    [
        ((1.0, 0.1), 1),
        ((1.0, 0.1, 0.95, 0.2), 3),  # a weak one above a likely one stays there
        ((0.1, 0.95), None),
        ((0.95, 0.95), None),
        ((0.1, 0.2), None),  # weaker than what?
        ((0.95, None, 0.1), 2),
        ((None, None), None),
        ((0.1,), None),
    ],
)
def test_the_rule_stands_before_the_first_of_those_that_are_all_weak(
    confidences: tuple[float | None, ...], place: int | None
) -> None:
    _, *lines = table(hits(*confidences), width=80)
    assert [number for number, line in enumerate(lines) if "weaker" in line] == ([] if place is None else [place])
    ranks = [line.split()[0] for line in lines if "weaker" not in line]
    assert ranks == [str(rank) for rank in range(1, len(confidences) + 1)]


def test_colours_dim_what_is_weaker_and_nothing_else() -> None:
    head, first, second, third, rule, fourth = table(hits(1.0, 0.1, 0.95, 0.2), width=80, colour=True)
    for line in (head, second, rule, fourth):
        assert re.fullmatch(r"\x1b\[2m[^\x1b]+\x1b\[0m", line), line
    for line in (first, third):
        assert not line.startswith("\x1b[2m   1  ") and "\x1b[36m0.500\x1b[0m" in line
        assert line.endswith("\x1b[2m/far/\x1b[0m" + re.findall(r"photo-\d.jpg", line)[0])
    assert not any("\x1b[2m   1  " in line for line in table(hits(0.1, 0.2), width=80, colour=True))
    shown = [re.sub(r"\x1b\[\d*m", "", line) for line in (head, first, second, third, rule, fourth)]
    assert shown == table(hits(1.0, 0.1, 0.95, 0.2), width=80), "colours move nothing"
    codes = set(re.findall(r"\x1b\[[\d;]*m", "".join((head, first, second, third, rule, fourth))))
    assert codes == {"\x1b[0m", "\x1b[2m", "\x1b[36m"}, "no fixed colours, which some background swallows"


def test_lists_by_date_show_the_date() -> None:
    taken = table(hits(None, score=None, taken_at="2021-07-31T23:59:59"), width=80)
    assert taken == ["rank  date        path", "   1  2021-07-31  /far/photo-1.jpg"]
    (changed,) = table(hits(None, score=None))
    assert changed.split() == ["1", time.strftime("%Y-%m-%d", time.localtime(86_400)), "/far/photo-1.jpg"]


def test_scores_below_zero_keep_the_columns() -> None:
    found = [*hits(1.0), *hits(0.1, score=-0.25)]
    assert table(found, width=80) == [
        "rank   score  match  path",
        "   1   0.500  ●●●    /far/photo-1.jpg",
        "── weaker matches ───────────────────",
        "   1  -0.250  ···    /far/photo-1.jpg",
    ]


@pytest.mark.parametrize("width", [30, 40, 60])
def test_it_fits_narrow_terminals(width: int) -> None:
    record = ImageRecord(
        1, "/a/very/long/folder/of/photos/with-a-long-name.jpg", 1, 1, 1, "ab", ImageFacts(1, 1, "PNG")
    )
    found = [Hit(1, 0.5, record, confidence=1.0), Hit(2, 0.4, record, confidence=0.1)]
    lines = table(found, width=width)
    assert max(map(len, lines)) <= width
    assert lines[1].endswith("name.jpg" if width > 30 else ".jpg") and "…" in lines[1]


def test_ascii_is_enough() -> None:
    assert all(line.isascii() for line in table(hits(1.0, 0.6, 0.1), width=80, plain=True))


# --- as a user sees it ---


def in_terminal(indexed: Path, *words: str, columns: int = 100, **environment: str) -> str:
    start = [sys.executable, "-m", "mmsearch", "query", *words, "-C", str(indexed)]
    plain = {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "NO_COLOR": ""}
    code, output = run_in_terminal(start, b"", columns=columns, env=plain | environment)
    assert code == 0
    return output.decode()


def test_columns_are_named_and_colours_used_only_on_a_terminal(command: Command, indexed: Path) -> None:
    coloured = in_terminal(indexed, "a", "dog")
    lines = re.sub(r"\x1b\[\d*m", "", coloured).splitlines()
    assert lines[0] == "rank  score  match  path" and "\x1b[2m" in coloured
    assert [number for number, line in enumerate(lines) if line.startswith(RULE)] == [3]
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = in_terminal(indexed, "a", "dog", **environment)
        assert "\x1b" not in plain and plain.splitlines() == lines, "the rule still separates"
    encoded = in_terminal(indexed, "a", "dog", PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert "***" in encoded and "-- weaker matches ---" in encoded
    piped = command("query", "a", "dog", "-C", indexed)
    assert piped.err == "" and len(piped.out.splitlines()) == config.DEFAULT_TOP
    assert not re.search(r"\x1b|rank|weaker", piped.out)


def test_nothing_that_stands_out_is_said_beside_the_rows(command: Command, indexed: Path) -> None:
    asked = ("query", "a washing machine", "-C", indexed)
    answer = command(*asked)
    assert answer.code == 0 and len(answer.out.splitlines()) == config.DEFAULT_TOP
    assert answer.err == "mmsearch: nothing stands out; these are the nearest\n"
    assert command(*asked, "-k", 1).err == "mmsearch: nothing stands out; this is the nearest\n"
    assert command(*asked, "--fail-empty").code == 0, "something was shown"
    for option in ("--json", "--paths", "--csv"):
        assert command(*asked, option).err == "", "programs read the confidence"
    for cut in (["--min-confidence", 0], ["--min-score", -1]):
        assert command(*asked, *cut).err == "", "users who say what is enough need no opinion"


def test_a_question_with_an_image_has_the_same_table(indexed: Path, sample_data: Path) -> None:
    shown = in_terminal(indexed, "--image", str(sample_data / "dog.jpg"), NO_COLOR="1")
    lines = shown.splitlines()
    assert lines[0].startswith("rank  score  match") and lines[1].endswith("spaniels.jpg")
    assert lines[2].startswith(RULE) and len(lines) == 2 + config.DEFAULT_TOP


@pytest.fixture
def confidence(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Make the results of every question have these confidences, best first."""
    from mmsearch.searching import judge

    def choose(chosen: list[float]) -> None:
        def judged(self: object, answers: list[judge.Answer]) -> list[list[Hit]]:
            from dataclasses import replace

            return [
                judge.sure_enough(
                    [replace(hit, confidence=sure) for hit, sure in zip(answer.hits, chosen, strict=False)],
                    answer.query.min_confidence,
                )
                for answer in answers
            ]

        monkeypatch.setattr(judge.Judge, "judged", judged)

    return choose


def test_ranks_skip_no_number_where_a_weak_one_stands_between(
    command: Command, indexed: Path, confidence: Callable[[list[float]], None]
) -> None:
    confidence([0.95, 0.2, 0.97, 0.1])
    everything = command("query", "a cat", "-C", indexed, "-k", 4, "--json").json["results"]
    cut = command("query", "a cat", "-C", indexed, "-k", 4, "--likely")
    assert [line.split()[0] for line in cut.out.splitlines()] == ["1", "2"]
    kept = command("query", "a cat", "-C", indexed, "-k", 4, "--likely", "--json").json["results"]
    assert [result["path"] for result in kept] == [everything[0]["path"], everything[2]["path"]]
    assert [result["rank"] for result in kept] == [1, 2]


def test_a_table_is_told_how_little_there_is(
    command: Command, indexed: Path, confidence: Callable[[list[float]], None]
) -> None:
    confidence([0.8, 0.2, 0.1])
    asked = ("query", "a cat", "-C", indexed, "-k", 3)
    assert command(*asked, "--likely").err == "mmsearch: no confident match; 3 weaker without --likely\n"
    assert command(*asked, "--min-confidence", 0.85).err == (
        "mmsearch: no match with a confidence of 0.85 or more; 3 weaker without --min-confidence\n"
    )
    assert command(*asked, "--min-score", 0.99).err == "mmsearch: nothing found with a score of 0.99 or more\n"
    assert command(*asked, "--likely", "--min-score", 0.99).err == (
        "mmsearch: nothing found with a score of 0.99 or more\n"
    )
    assert command(*asked, "--before", 1990).err == "mmsearch: nothing found\n"


def test_pages_and_sheets_mark_results_as_the_table_does() -> None:
    from mmsearch.cli.query.actions import entries

    strong, weak, weakest = entries(hits(0.997, 0.62, 0.004))
    assert (strong.heading, weak.heading, weakest.heading) == ("1 · 0.500 · ●●●", "2 · 0.500 · ●··", "3 · 0.500 · ···")
    assert [entry.weak for entry in (strong, weak, weakest)] == [False, True, True]
    assert strong.notes[-1] == "confidence 0.99" and weak.notes[-1] == "weak match: confidence 0.62"
    assert weakest.notes[-1] == "weak match: confidence under 0.5"
    assert not any(entry.weak for entry in entries(hits(0.62, 0.004))), "weaker than what?"
    (dated,) = entries(hits(None, score=None, taken_at="2021-07-31T23:59:59"))
    assert dated.heading == "1 · 2021-07-31"
