"""`--likely`, `--min-confidence` and `--min-score`: one cut for every output, and for all that acts on results."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from command import Command
from PIL import Image

from mmsearch import Collection
from mmsearch.base import config
from mmsearch.base.errors import UsageError
from mmsearch.base.records import Hit
from mmsearch.query.parse import from_words, overriding

NAMES = ("none", "all", "likely", "confidence", "score", "likely and score", "nothing left")

cut = pytest.mark.parametrize("options", NAMES, indirect=True)


@pytest.fixture
def found(collection: Collection) -> list[Hit]:
    """The whole answer to "a dog"; the first two are likely."""
    return collection.search("a dog")


@pytest.fixture
def options(request: pytest.FixtureRequest, found: list[Hit]) -> list[str]:
    """A cut of that name, between two results."""
    scores = [hit.score or 0 for hit in found]
    return {
        "none": [],
        "all": ["--all"],  # which scripts may still give
        "likely": ["--likely"],
        "confidence": ["--min-confidence", str(found[0].confidence)],
        "score": ["--min-score", str((scores[4] + scores[5]) / 2)],
        "likely and score": ["--likely", "--min-score", str((scores[0] + scores[1]) / 2)],
        "nothing left": ["--min-score", str(scores[0] + 0.01)],
    }[request.param]


@pytest.fixture
def paths(found: list[Hit], options: list[str]) -> list[str]:
    """What the cut leaves, chosen by the numbers of the whole answer."""
    numbers = dict(itertools.pairwise(options))
    least = float(numbers.get("--min-confidence", config.LIKELY if "--likely" in options else 0))
    score = float(numbers.get("--min-score", -1))
    return [hit.path for hit in found if (hit.confidence or 0) >= least and (hit.score or 0) >= score]


@pytest.mark.parametrize(
    ("options", "counts"),
    list(zip(NAMES, [{10}, {10}, {2, 3, 4}, {1, 2, 3}, {5}, {1}, {0}], strict=True)),
    indirect=["options"],
)
def test_the_cuts_differ(paths: list[str], counts: set[int]) -> None:
    """Without this, the tests below could pass because nothing is cut."""
    assert len(paths) in counts


@cut
def test_every_output_shows_the_same(command: Command, indexed: Path, options: list[str], paths: list[str]) -> None:
    asked = ("query", "a dog", "-C", indexed, *options)
    answer = command(*asked, "--json").json
    lines = [json.loads(line) for line in command(*asked, "--jsonl").out.splitlines()]
    rows = list(csv.DictReader(io.StringIO(command(*asked, "--csv").out)))
    table = command(*asked).out.splitlines()
    formatted = command(*asked, "--format", "{rank} {path}").out.splitlines()
    assert answer["count"] == len(paths) and answer["results"] == lines
    assert [line["path"] for line in lines] == [row["path"] for row in rows] == paths
    assert command(*asked, "--paths").out.splitlines() == command(*asked, "-0").out.split("\0")[:-1] == paths
    ranks = [str(rank) for rank in range(1, len(paths) + 1)]
    assert [line.split()[0] for line in table] == [str(line["rank"]) for line in lines] == ranks
    assert [os.path.abspath(line.split(maxsplit=3)[3]) for line in table] == paths
    assert formatted == [f"{rank} {path}" for rank, path in zip(ranks, paths, strict=True)]


@cut
def test_what_is_shown_is_acted_on(
    command: Command,
    indexed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    paths: list[str],
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("mmsearch.cli.viewer.open_files", lambda files: opened.extend(files) or [])
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    asked = ("query", "a dog", "-C", indexed, *options)
    done = command(*asked, "--paths", "--gallery", page, "--montage", sheet, "--copy-to", tmp_path / "copies",
                   "--link-to", tmp_path / "links", "--numbered")  # fmt: skip
    assert done.code == 0 and done.out.splitlines() == paths
    shown = command(*asked, "--open")
    assert shown.code == 0 and len(shown.out.splitlines()) == len(opened) and opened == paths
    for output in ([], ["--paths"], ["--json"]):
        assert command(*asked, *output, "--fail-empty").code == (0 if paths else 1)
    if not paths:
        assert list(tmp_path.iterdir()) == []
        return
    linked = re.findall(r'href="file://([^"]+)"', page.read_text())
    assert [unquote(path) for path in linked] == paths
    copies, links = (sorted(os.listdir(tmp_path / name)) for name in ("copies", "links"))
    digits = len(str(len(paths)))
    assert copies == links == [f"{rank:0{digits}}-{Path(path).name}" for rank, path in enumerate(paths, 1)]
    with Image.open(sheet) as drawn:
        columns, rows = (drawn.width - 2 * 28 + 20) // (256 + 20), (drawn.height - 2 * 28 + 20) // (256 + 56 + 20)
    assert (rows - 1) * columns < len(paths) <= rows * columns


@cut
def test_the_answer_that_is_kept_is_the_one_shown(
    command: Command, indexed: Path, options: list[str], paths: list[str]
) -> None:
    command("query", "a dog", "-C", indexed, *options, "--session", "s")
    beyond = command("query", "--more", len(paths) + 1, "-C", indexed, "--session", "s")
    assert beyond.code == 1 and f"has no result {len(paths) + 1}" in beyond.err
    if paths:
        last = command("query", "--more", len(paths), "-C", indexed, "--session", "s", "--json")
        assert last.json["query"]["more"] == [paths[-1]]


def test_what_was_sure_enough_still_is_until_said_otherwise(command: Command, indexed: Path) -> None:
    def ask(*arguments: object) -> list[float]:
        answer = command("query", *arguments, "-C", indexed, "--session", "s", "--json", "-k", 24)
        assert answer.code == 0, answer.err
        return [result["confidence"] for result in answer.json["results"]]

    assert 0 < len(ask("a dog", "--likely")) < 24
    assert min(ask("--more", 1)) >= config.LIKELY
    assert len(ask("--more", 1, "--min-confidence", 0)) == 24
    assert min(ask("--less", 24, "--likely")) >= config.LIKELY


def test_likely_is_a_word_of_python_and_of_batch_lines(
    command: Command, collection: Collection, indexed: Path, tmp_path: Path
) -> None:
    likely = collection.search("a dog", likely=True)
    assert likely == collection.search("a dog", min_confidence=config.LIKELY) and len(likely) == 2
    assert collection.search("a dog", likely=False) == collection.search("a dog")
    source = tmp_path / "lines"
    lines: list[dict[str, object]] = [
        {"text": "a dog"},
        {"text": "a dog", "likely": True},
        {"text": "a dog", "likely": False},
        {"text": "a dog", "min_confidence": 0},
        {"text": "a dog", "likely": True, "min_confidence": 0.5},
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def counts(*options: object) -> list[int | None]:
        answer = command("query", "--batch", source, "-C", indexed, *options)
        return [json.loads(line).get("count") for line in answer.out.splitlines()]

    assert counts() == [10, 2, 10, 10, None]
    assert counts("--likely") == [2, 2, 10, 10, None], "a line's own words win over the command line's"
    assert counts("--min-confidence", 1) == [0, 2, 10, 10, None]


def test_two_ways_to_say_it_exclude_each_other(command: Command, indexed: Path) -> None:
    refused = command("query", "a dog", "-C", indexed, "--likely", "--min-confidence", "0.5")
    assert refused.code == 2 and refused.err.count("\n") == 1 and "--likely and --min-confidence" in refused.err
    with pytest.raises(UsageError, match="--likely and --min-confidence need a text or an image"):
        from_words({"below": "/x", "likely": True})
    assert overriding({"likely": True, "top": 3}, {"top": 4}) == {"likely": True, "top": 4}
    assert overriding({"likely": True, "top": 3}, {"min_confidence": 0.5}) == {"min_confidence": 0.5, "top": 3}
