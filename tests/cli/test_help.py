"""`mmsearch help` and `mmsearch completion`: chapters are listed and readable, every script is sourced."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command
from console import put_on_path
from terminals import run_in_terminal

from mmsearch.cli import guide


def test_chapters_are_listed_and_printed(command: Command) -> None:
    listed = command("help")
    assert listed.code == 0 and all(f"  {name} " in listed.out for name in guide.CHAPTERS)
    assert all(guide.subject(name) for name in guide.CHAPTERS)
    printed = command("help", "pipelines")
    assert printed.out.startswith("# Pipelines: ") and "$ mmsearch query" in printed.out
    assert command("help", "output").out == command("help", "answering").out
    for unknown in (command("help", "pipeline"), command("help", "asking", "filters")):
        assert unknown.code == 2 and "pipelines" in unknown.err and unknown.err.count("\n") == 1


def test_a_pipe_gets_markdown_with_commands_in_place_of_links(command: Command) -> None:
    printed = command("help", "models").out
    assert "<!--" not in printed and "| `clip` |" in printed
    assert "[fields](scripts.md)" in guide.text("answering")
    assert "([fields]" not in command("help", "answering").out and "`mmsearch help scripts`" in guide.readable(
        "answering"
    )


@pytest.mark.parametrize("columns", [50, 80])
def test_a_terminal_gets_wrapped_pages(columns: int) -> None:
    environment = {"PAGER": "cat", "TERM": "xterm"}
    arguments = [sys.executable, "-m", "mmsearch", "help", "asking"]
    code, output = run_in_terminal(arguments, b"", columns=columns, env=environment)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).replace("\r", "").splitlines()
    assert code == 0 and "\x1b[" in output.decode()
    assert not any(line.startswith(("#", "```", "| ---")) for line in lines)
    of_commands = [line for line in lines if line.strip().startswith("$ ")]
    assert "  $ mmsearch query --like photos/dog.jpg" in [line.rstrip() for line in of_commands]
    assert any(len(line.rstrip()) > columns for line in of_commands)  # they are whole, to be copied
    assert max(len(line.rstrip()) for line in lines if line not in of_commands) <= columns


@pytest.mark.parametrize(
    ("shell", "ask"),
    [
        ("bash", 'source "$1"; COMP_WORDS=(mmsearch que); COMP_CWORD=1; _mmsearch_completion mmsearch; '
                 'echo "${COMPREPLY[@]}"; COMP_WORDS=(mmsearch query --ga); COMP_CWORD=2; '
                 '_mmsearch_completion mmsearch; echo "${COMPREPLY[@]}"'),
        ("zsh", 'compdef() { print -r -- "$@"; }; _arguments() { print -r -- "$@"; }; source "$1"; '
                'words=(mmsearch que); CURRENT=2; _mmsearch_completion; '
                'words=(mmsearch query --ga); CURRENT=3; _mmsearch_completion'),
        ("fish", 'source $argv[1]; complete --do-complete "mmsearch que"; '
                 'complete --do-complete "mmsearch query --ga"'),
    ],
)  # fmt: skip
def test_completion_scripts_complete(command: Command, tmp_path: Path, shell: str, ask: str) -> None:
    printed = command("completion", shell)
    assert printed.code == 0 and printed.err == ""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "completion"
    script.write_text(printed.out)
    arguments = ["-c", ask, str(script)] if shell == "fish" else ["-c", ask, shell, str(script)]
    environment = {"PATH": put_on_path(tmp_path / "bin"), "HOME": str(tmp_path)}
    done = subprocess.run([shell, *arguments], capture_output=True, text=True, env=environment)
    assert "query" in done.stdout and "--gallery" in done.stdout, done


def test_only_known_shells(command: Command) -> None:
    refused = command("completion", "tcsh")
    assert refused.code == 2 and "'tcsh'" in refused.err and refused.err.count("\n") == 1
