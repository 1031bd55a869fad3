"""`mmsearch help` and `mmsearch completion`: every command that a topic shows is run, every script sourced."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from command import Command
from console import commands, put_on_path, run_commands

from mmsearch.cli.help import topics

# Programs that a command needs beside the shell's usual ones; each command is in the group of the first it names.
TOOLS = ("jq", "fzf", "feh")


def groups() -> list[object]:
    """Each topic's commands by the tool that they need. The longest ones run with the slow tests."""
    found: dict[tuple[str, str], list[str]] = {}
    for topic, text in topics().items():
        for shown in commands(text, "  $ "):
            tool = next((tool for tool in TOOLS if f"{tool} " in shown.command), "")
            found.setdefault((topic, tool), []).append(shown.command)
    slow = {"output", "filters", "query"}
    return [
        pytest.param(tool, lines, id=f"{topic}-{tool or 'shell'}", marks=[pytest.mark.slow] * (topic in slow))
        for (topic, tool), lines in found.items()
    ]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Path:
    """A folder with a folder `photos`, and a collection of them."""
    from mmsearch import Collection

    folder = tmp_path_factory.mktemp("topics")
    shutil.copytree(sample_data, folder / "photos")
    with Collection.open(folder / "collection") as collection:
        collection.add([folder / "photos"], model="starter")
    return folder


@pytest.fixture
def place(known: Path) -> dict[str, str]:
    """An environment in which `mmsearch` is on the path and knows the photos."""
    environment = {"PATH": put_on_path(known / "bin"), "MMSEARCH_COLLECTION": str(known / "collection")}
    return environment | {"FZF_DEFAULT_OPTS": "--filter=cat"}  # which asks nobody


@pytest.mark.parametrize(("tool", "lines"), groups())
def test_every_command_of_the_topics_works(tool: str, lines: list[str], place: dict[str, str], known: Path) -> None:
    if tool and not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    if tool == "feh":
        _show_feh_nowhere(known / "bin")
    outcomes = run_commands(lines, known, place)
    assert [(line, *outcome) for line, outcome in zip(lines, outcomes, strict=True) if outcome[0]] == []
    for line, (_, output) in zip(lines, outcomes, strict=True):
        quiet = any(part in line for part in (" cp ", " tar ", "feh", "> dogs.csv"))
        assert bool(output.strip()) or quiet, line
        assert "Traceback" not in output


def _show_feh_nowhere(folder: Path) -> None:
    """A `feh` that shows its pictures for two seconds on a screen that nobody sees; without one the test is skipped."""
    xvfb, feh = shutil.which("xvfb-run"), shutil.which("feh")
    if not xvfb or not shutil.which("xauth"):
        pytest.skip("xvfb-run is not installed")
    script = f'timeout 2 {feh} "$@"; test $? = 124'
    (folder / "feh").write_text(f"#!/bin/sh\nexec {xvfb} -a sh -c '{script}' feh \"$@\"\n")
    (folder / "feh").chmod(0o755)


def test_pipelines_do_what_they_say(place: dict[str, str], known: Path) -> None:
    lines = [shown.command for shown in commands(topics()["pipelines"], "  $ ")]
    copies = next(line for line in lines if " cp " in line)
    sheet = next(line for line in lines if "--csv" in line)
    run_commands([copies, sheet], known, place)
    assert (known / "flowers" / "sunflower.jpg").is_file() and len(list((known / "flowers").iterdir())) == 20
    assert len((known / "dogs.csv").read_text().splitlines()) == 25


def test_topics_are_listed_and_printed(command: Command) -> None:
    listed = command("help")
    assert listed.code == 0 and all(f"  {name} " in listed.out for name in topics())
    assert set(topics()) == {"pipelines", "query", "filters", "output", "models"}
    printed = command("help", "pipelines")
    assert printed.out == topics()["pipelines"].rstrip() + "\n"
    unknown = command("help", "pipeline")
    assert unknown.code == 2 and "pipelines" in unknown.err and unknown.err.count("\n") == 1
    assert max(len(line) for text in topics().values() for line in text.splitlines() if "$" not in line) <= 120


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
