"""How `mmsearch index` and `mmsearch reindex` begin and end."""

from __future__ import annotations

import json
import threading

import pytest
import typer

from mmsearch.base.events import ReindexSummary, Summary
from mmsearch.cli.options import RUN_DEFAULTS, Running
from mmsearch.cli.running import finish, run_words
from mmsearch.indexing.settings import IndexSettings, RunOptions


@pytest.mark.parametrize("kind", [Summary, ReindexSummary])
@pytest.mark.parametrize("json_output", [False, True])
@pytest.mark.parametrize(
    ("interrupted", "left_out", "code"), [(False, 0, 0), (False, 2, 3), (True, 0, 130), (True, 2, 130)]
)
def test_the_end(
    capsys: pytest.CaptureFixture[str],
    kind: type[Summary | ReindexSummary],
    json_output: bool,
    interrupted: bool,
    left_out: int,
    code: int,
) -> None:
    ended = 0
    try:
        finish(kind(model="starter", interrupted=interrupted), ["a line", "another"], left_out, json_output)
    except typer.Exit as error:
        ended = error.exit_code
    out, err = capsys.readouterr()
    assert ended == code
    if json_output:
        assert json.loads(out)["interrupted"] == interrupted and out.count("\n") == 1 and err == ""
    else:
        assert (out, err) == ("", "a line\nanother\n")


def test_megabytes_are_told_in_bytes() -> None:
    given = Running(
        device="cpu", precision="fp32", batch_size=8, workers=2, max_pixels=1000, time_limit=5.0, decode_memory=300,
        wait=1.0, collection=None, json_output=False,
    )  # fmt: skip
    stop = threading.Event()
    settings = IndexSettings(8, 2, 1000, 5.0, 300_000_000)
    assert RunOptions.of(run_words(given, stop)) == RunOptions("cpu", "fp32", settings, 1.0, stop)


def test_options_that_are_not_given_are_those_of_a_program() -> None:
    stop = threading.Event()
    given = Running(**{"decode_memory": None} | RUN_DEFAULTS)  # type: ignore[typeddict-item]
    assert RunOptions.of(run_words(given, stop)) == RunOptions(stop=stop)
