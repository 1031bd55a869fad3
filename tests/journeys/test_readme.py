"""The sessions shown in the README are run, command by command, in a terminal."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from console import commands, matches, put_on_path, run_commands

README = Path(__file__).resolve().parents[2] / "README.md"
SESSION = re.compile(r"<!-- session -->\n```console\n(.*?)```", re.DOTALL)


def test_sessions_are_what_a_user_sees(tmp_path: Path, sample_data: Path) -> None:
    shown = [command for block in SESSION.findall(README.read_text("utf-8")) for command in commands(block)]
    assert len(shown) >= 10
    shutil.copytree(sample_data, tmp_path / "sample_data")
    environment = {"PATH": put_on_path(tmp_path / "bin"), "TERM_PROGRAM": "", "COLORTERM": ""}
    outcomes = run_commands([command.command for command in shown], tmp_path, environment)
    assert len(outcomes) == len(shown)
    for command, (code, printed) in zip(shown, outcomes, strict=True):
        assert code == 0, f"{command.command} ended with {code}:\n{printed}"
        wanted = "\n".join(command.lines)
        assert matches(command.lines, printed), f"{command.command} shows\n{wanted}\nbut prints\n{printed}"
