"""How `mmsearch index` and `mmsearch reindex` begin and end."""

from __future__ import annotations

import json

import pytest
import typer

from mmsearch.base.events import ReindexSummary, Summary
from mmsearch.cli.running import finish, index_settings
from mmsearch.indexing.settings import IndexSettings


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
    assert index_settings(8, 2, 1000, 5.0, 300) == IndexSettings(8, 2, 1000, 5.0, 300_000_000)
    assert index_settings(0, 0, 1000, 5.0, None).decode_memory is None
