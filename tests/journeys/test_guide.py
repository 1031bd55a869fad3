"""Every command of the guide: its options exist, it runs in a sandbox, and it prints what is shown below it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from console import NOT_RUN, console_blocks, matches, put_on_path, run_commands

from mmsearch.cli import guide

# Programs that a command may need beside the shell's usual ones.
TOOLS = ("jq", "fzf", "feh")

# What is shown of other things than commands.
QUIET_KINDS = {"text", "python"}

# Chapters with many commands run with the slow tests; all are parsed in any case.
SLOW = {"answering", "asking", "filters"}

# Words after which a shell begins another command.
_STARTS = re.compile(r"[|&;()]+|then|do|if|!|xargs")


def invocations(line: str) -> Iterator[list[str]]:
    """The arguments of each `mmsearch` in a line of shell, those in `$(...)` too."""
    inner = re.findall(r"\$\((.*)\)", line)
    for part in inner:
        yield from invocations(part)
    for part in inner:
        line = line.replace(f'"$({part})"', "INNER")
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words, at = list(lexer), 0
    while at < len(words):
        first = at == 0 or _STARTS.fullmatch(words[at - 1])
        at += 1
        if words[at - 1] == "mmsearch" and first:
            end = next((i for i in range(at, len(words)) if re.fullmatch(r"[|&;()<>]+", words[i])), len(words))
            yield words[at:end]


def parse(arguments: list[str]) -> None:
    """Read arguments as the program does, but run nothing. Raises where an option or a value is not known."""
    import typer

    from mmsearch.cli.app import application

    command = typer.main.get_command(application())
    context = command.make_context("mmsearch", [], resilient_parsing=True)
    while hasattr(command, "commands") and arguments and arguments[0] in command.commands:
        name, *arguments = arguments
        command = command.commands[name]
        if hasattr(command, "commands") and arguments and arguments[0] in command.commands:
            context = command.make_context(name, [], parent=context, resilient_parsing=True)
        else:
            context = command.make_context(name, arguments, parent=context)
    assert not hasattr(command, "commands") or not arguments, f"no such command: {arguments}"


def test_lines_of_shell_are_taken_apart() -> None:
    line = (
        """if mmsearch query --like "$(mmsearch query "a dog" --format '{id}|x')" -k 5 | grep mmsearch; then true; fi"""
    )
    assert list(invocations(line)) == [
        ["query", "a dog", "--format", "{id}|x"],
        ["query", "--like", "INNER", "-k", "5"],
    ]
    parse(["models", "show", "clip"])
    with pytest.raises(Exception, match="no-such-option"):
        parse(["query", "a dog", "--no-such-option"])


@pytest.mark.parametrize("chapter", guide.CHAPTERS)
def test_every_command_can_be_given(chapter: str) -> None:
    for block in console_blocks(guide.text(chapter)):
        assert block.reason is None or len(block.reason) > 5
        for shown in block.commands:
            for arguments in invocations(shown.command):
                parse(arguments)


@pytest.mark.parametrize("chapter", guide.CHAPTERS)
def test_chapters_are_whole(chapter: str) -> None:
    """All code is of a known kind, every mark is before a block, links lead somewhere, nothing needs HTML."""
    text = guide.text(chapter)
    kinds = {kind for kind in re.findall(r"^```(\w*)$", text, re.MULTILINE) if kind}
    assert kinds <= QUIET_KINDS | {"console"}
    assert text.count("<!-- not run") == len(NOT_RUN.findall(text))
    prose = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->", "", text, flags=re.DOTALL)
    assert not re.search(r"<\w+>|&\w+;", prose)
    for target, anchor in re.findall(r"\]\(([^)#]*)(#[\w-]+)?\)", prose):
        if target.startswith("https:"):
            continue
        file = Path(guide.__file__).parent / (target or f"{chapter}.md")
        assert file.is_file(), target
        heads = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
        assert not anchor or anchor[1:] in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


def sandbox(folder: Path, sample_data: Path, chapter: str) -> dict[str, str]:
    """Photos, a collection of them for all chapters but the first, and an environment in which `mmsearch` knows it."""
    from mmsearch import Collection

    shutil.copytree(sample_data, folder / "photos")
    if chapter != "indexing":
        with Collection.open(folder / "collection") as collection:
            collection.add([folder / "photos"], model="starter")
    environment = {"PATH": put_on_path(folder / "bin"), "MMSEARCH_COLLECTION": str(folder / "collection")}
    return environment | {"FZF_DEFAULT_OPTS": "--filter=cat", "TERM_PROGRAM": "", "COLORTERM": ""}  # fzf asks nobody


def runnable() -> list[object]:
    """The chapters with commands that can run here, by the tool that these need."""
    found: dict[tuple[str, str], None] = {}
    for chapter in guide.CHAPTERS:
        for block in console_blocks(guide.text(chapter)):
            for shown in block.commands if block.reason is None else ():
                found[chapter, tool_of(shown.command)] = None
    return [
        pytest.param(chapter, tool, id=f"{chapter}-{tool or 'shell'}", marks=[pytest.mark.slow] * (chapter in SLOW))
        for chapter, tool in found
    ]


def tool_of(command: str) -> str:
    return next((tool for tool in TOOLS if re.search(rf"\b{tool} ", command)), "")


@pytest.mark.parametrize(("chapter", "tool"), runnable())
def test_commands_do_what_is_shown(chapter: str, tool: str, tmp_path: Path, sample_data: Path) -> None:
    if tool and not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    environment = sandbox(tmp_path, sample_data, chapter)
    if tool == "feh":
        _show_feh_nowhere(tmp_path / "bin")
    blocks = [block for block in console_blocks(guide.text(chapter)) if block.reason is None]
    shown = [line for block in blocks for line in block.commands if tool_of(line.command) == tool]
    outcomes = run_commands([line.command for line in shown], tmp_path, environment)
    assert len(outcomes) == len(shown)
    for line, (code, printed) in zip(shown, outcomes, strict=True):
        assert code == 0 and "Traceback" not in printed, f"{line.command} ended with {code}:\n{printed}"
        wanted = "\n".join(line.lines)
        assert matches(line.lines, printed), f"{line.command} shows\n{wanted}\nbut prints\n{printed}"
    if chapter == "pipelines" and not tool:
        assert (tmp_path / "flowers" / "sunflower.jpg").is_file()
        assert len(list((tmp_path / "flowers").iterdir())) == 20
        assert len((tmp_path / "dogs.csv").read_text().splitlines()) == 25


def _show_feh_nowhere(folder: Path) -> None:
    """A `feh` that shows its pictures for two seconds on a screen that nobody sees; without one the test is skipped."""
    xvfb, feh = shutil.which("xvfb-run"), shutil.which("feh")
    if not xvfb or not shutil.which("xauth"):
        pytest.skip("xvfb-run is not installed")
    script = f'timeout 2 {feh} "$@"; test $? = 124'
    (folder / "feh").write_text(f"#!/bin/sh\nexec {xvfb} -a sh -c '{script}' feh \"$@\"\n")
    (folder / "feh").chmod(0o755)


def test_programs_of_the_guide_run(tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(sample_data, tmp_path / "Pictures")
    shutil.copy(sample_data / "beach.jpg", tmp_path / "ref.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    programs = re.findall(r"```python\n(.*?)```", guide.text("python"), re.DOTALL)
    assert programs
    for program in programs:
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "cat.jpg" in done.stdout.splitlines()[0]
