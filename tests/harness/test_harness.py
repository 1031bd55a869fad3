"""Samples of the harnesses, of which the full ones are marked `slow`: kills, interrupts, crowds, lines of any kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import batch_lines
import crowd
import flips
import hypothesis
import interrupts
import kill_runs
import pool
import pytest

from mmsearch import Collection
from mmsearch.indexing import refresh
from mmsearch.store import repair


@pytest.fixture(autouse=True)
def usual_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harnesses have vector files written often; what they change is put back."""
    for name in ("MOST_DELTA", "MOST_RECENT_COUNT", "MOST_REMOVED_COUNT"):
        monkeypatch.setattr(refresh, name, getattr(refresh, name))


def test_a_dozen_kills(tmp_path: Path) -> None:
    report = kill_runs.kill_runs(tmp_path, kills=12, seed=7, images=20)
    assert report.problems == []
    assert report.kills == 12
    assert report.images_checked > 60


@pytest.mark.slow
def test_two_hundred_kills(tmp_path: Path) -> None:
    report = kill_runs.kill_runs(tmp_path, kills=200, seed=2024, images=120)
    assert report.problems == []
    assert (report.kills, report.mid_run > 20) == (200, True)


def check_interrupts(report: interrupts.Report, moments: int) -> None:
    assert report.problems == []
    assert sum(report.total(outcome) for outcome in ("interrupted", "done", "python", "loading")) == moments
    assert report.total("interrupted") > moments / 4


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
def test_a_few_interrupts(tmp_path: Path) -> None:
    check_interrupts(interrupts.interrupt(tmp_path, moments=6, seed=7, commands=["index", "query"]), 6)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no pipes as narrow as it needs")
def test_hundreds_of_interrupts(tmp_path: Path) -> None:
    commands = list(interrupts.COMMANDS)
    check_interrupts(interrupts.interrupt(tmp_path, moments=400, seed=2024, commands=commands), 400)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
def test_what_interrupts_must_not_end_in_is_seen() -> None:
    """The interrupting harness can fail."""

    def outcome(code: int, err: str, *, number: int = 2, is_outside: bool = False) -> str | None:
        ended = subprocess.CompletedProcess([], code, "", err)
        return interrupts.outcome_of(ended, number, 0, is_run=False, is_outside=is_outside)

    ours = Path(interrupts.mmsearch.__file__).parent
    lost = "Traceback (most recent call last):\n{}\nKeyboardInterrupt\n"
    assert [outcome(130, ""), outcome(143, "", number=15), outcome(0, "")] == ["interrupted", "interrupted", "done"]
    assert [outcome(1, ""), outcome(143, ""), outcome(130, "a\nb\n"), outcome(-2, "")] == [None] * 4
    assert outcome(1, "mmsearch: unexpected ImportError: initialization failed\n") is None
    assert outcome(-2, lost.format('File "site.py", line 1, in <module>'), is_outside=True) == "python"
    first, later = (f'File "{ours}/{name}", line 1, in <module>' for name in ("cli/main.py", "cli/app.py"))
    assert outcome(-2, lost.format(first), is_outside=True) == "loading"
    assert outcome(-2, lost.format(f"{first}\n{later}"), is_outside=True) is None


def kill_models(kills: int, tmp_path: Path) -> list[dict[str, Any]]:
    """What the harness for model files reports; it forks, and so needs a process of its own."""
    command = [
        sys.executable,
        Path(crowd.__file__).with_name("kill_models.py"),
        "--kills",
        str(kills),
        "--seed",
        "2024",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_few_kills_of_model_files(tmp_path: Path) -> None:
    reports = kill_models(2, tmp_path)
    assert [(report["what"], report["kills"], report["problems"]) for report in reports] == [
        ("download", 2, []),
        ("export", 2, []),
    ]


@pytest.mark.slow
def test_a_hundred_kills_of_model_files(tmp_path: Path) -> None:
    download, export = kill_models(100, tmp_path)
    assert (download["problems"], download["resumed"] > 10) == ([], True)
    assert (export["problems"], export["left_behind"] > 10) == ([], True)


def test_some_flipped_bits(tmp_path: Path) -> None:
    report = flips.flip_bits(tmp_path, flips=25, seed=7, images=12)
    assert report.problems == []
    assert (report.flips, report.crashed, report.silent) == (25, 0, 0)
    assert report.found >= report.repaired > 3


@pytest.mark.slow
def test_two_thousand_flipped_bits(tmp_path: Path) -> None:
    report = flips.flip_bits(tmp_path, flips=2_000, seed=2024, images=24)
    assert report.problems == []
    assert report.changed > 400


def test_the_harness_sees_flips_that_nobody_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness for flipped bits can fail."""
    harness = flips.Harness(tmp_path, seed=1, images=4)
    bit = harness.bit_of(harness.vector(), 3)
    harness.flip(bit)
    assert (harness.report.changed, harness.report.found, harness.report.problems) == (1, 1, [])
    monkeypatch.setattr(repair.Checks, "damaged_embeddings", lambda self, encoder: iter(()))
    harness.flip(bit)
    assert harness.report.silent == 1 and "embeddings_1.vector" in harness.report.problems[0]
    monkeypatch.setattr(repair.Checks, "complaints", lambda self: 1 // 0)
    harness.flip(bit)
    assert harness.report.crashed == 1 and "ZeroDivisionError" in harness.report.problems[1]


def check_crowd(report: dict[str, object]) -> None:
    assert report["problems"] == []
    assert report["fewest_queries"], "every reader has had an answer"
    assert report["runs"]


def test_a_few_readers(tmp_path: Path) -> None:
    check_crowd(crowd.crowd(tmp_path, readers=4, seconds=3, seed=7, stable=15, changing=20))


@pytest.mark.slow
def test_twenty_readers(tmp_path: Path) -> None:
    check_crowd(crowd.crowd(tmp_path, readers=20, seconds=90, seed=2024))


def test_the_judge_sees_wrong_answers(tmp_path: Path) -> None:
    """The crowd's harness can fail."""
    world = crowd.World(tmp_path)
    world.make(seed=1, stable=10, changing=4)
    judge = crowd.Judge(tmp_path)
    truth = [(path, content, judge._score(0, content)) for path, content in judge.stable.items()]
    right = sorted(truth, key=lambda row: -row[2])
    assert judge.text(0, 1000, right) == []
    (first, *others), other = right, right[1]
    assert judge.text(0, 1000, others) == [f"{first[0]} is missing"]
    assert judge.text(0, 5, right[:5]) == []
    assert judge.text(0, 5, right[1:6]) == [f"{first[0]} is missing"]
    assert judge.text(0, 1000, [first, *right]) == ["a path comes twice, or too many do"]
    assert "scores do not fall" in judge.text(0, 1000, right[::-1])
    assert len(judge.text(0, 1000, [(first[0], other[1], first[2]), *others])) == 1
    assert len(judge.text(0, 1000, [(first[0], first[1], first[2] + 0.1), *others])) == 1


def test_the_state_after_a_kill_sees_wrong_catalogs(tmp_path: Path) -> None:
    """The killing harness can fail."""
    made = pool.make_pool(tmp_path, 3, seed=1)
    one, two, three = made.files
    good = pool.State({"/a": one, "/b": two}, {one: made.embeddings[one], two: made.embeddings[two]}, [], 0)
    assert good.problems(made) == []
    mixed = {one: made.embeddings[three], two: made.embeddings[two]}
    assert pool.State({"/a": one}, mixed, [], 0).problems(made) == ["/a has another image's embedding"]
    assert pool.State({"/a": three}, good.embeddings, [], 0).problems(made) == ["/a has no embedding"]
    assert pool.State({"/a": "?"}, {}, [], 0).problems(made) == ["/a has a content that never was"]
    assert pool.State({}, {}, ["corrupt"], 0).problems(made) == ["corrupt"]


@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(batch_lines.BATCHES)
def test_lines_of_any_kind(collection: Collection, tmp_path: Path, lines: list[bytes]) -> None:
    batch_lines.answers(collection, tmp_path / "lines", lines)


@pytest.mark.slow
def test_thousands_of_lines_of_any_kind() -> None:
    command = [sys.executable, Path(crowd.__file__).with_name("batch_lines.py"), "--examples", "2000"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["lines"] > 6000
