"""Run commands as they are shown in texts, in one terminal, and compare what they print with what is shown."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from terminals import run_in_terminal

# A plain terminal's answer to what it is: a VT220 without graphics.
_ANSWER = b"\x1b[?62;22c"

# How far a number with decimals may be off: cosines differ a little between processors.
_TOLERANCE = 0.02

_ELLIPSIS = re.compile(r"\.\.\.|…")
_DECIMAL = re.compile(r"-?\d+\.\d+")


@dataclass(frozen=True)
class Shown:
    """A command of a text and the lines shown below it."""

    command: str
    lines: tuple[str, ...] = ()


def commands(text: str, prompt: str = "$ ") -> list[Shown]:
    """The commands of a console block: lines that begin with the prompt, each with its output."""
    found: list[Shown] = []
    for line in text.splitlines():
        if line.startswith(prompt):
            found.append(Shown(line.removeprefix(prompt)))
        elif found:
            found[-1] = Shown(found[-1].command, (*found[-1].lines, line))
    return found


# A mark of a block that cannot run here, with the reason.
NOT_RUN = re.compile(r"<!-- not run: ([^>]+) -->\n(?=```console\n)")

_BLOCK = re.compile(rf"(?:{NOT_RUN.pattern})?```console\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A console block of a document; `reason` says why it is not run, None that it is."""

    commands: tuple[Shown, ...]
    reason: str | None


def console_blocks(document: str) -> list[Block]:
    """The console blocks of a Markdown document, in order."""
    return [Block(tuple(commands(body)), reason or None) for reason, body in _BLOCK.findall(document)]


def put_on_path(folder: Path) -> str:
    """A PATH on which `mmsearch` is the one under test; the program goes into `folder`."""
    folder.mkdir(exist_ok=True)
    program = folder / "mmsearch"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmsearch "$@"\n')
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def run_commands(shown: Sequence[str], folder: Path, env: Mapping[str, str]) -> list[tuple[int, str]]:
    """Run commands one after the other with bash, in `folder` and in one terminal; exit code and output of each."""
    lines = [f"cd '{folder}'; set -o pipefail"]
    lines += [f"{command}\nprintf '\\002%s\\003' $?" for command in shown]
    root = str(Path(__file__).resolve().parents[2])
    places = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    settings = {"TERM": "xterm", "NO_COLOR": "1", "PYTHONPATH": places, **env}
    code, output = run_in_terminal(["bash", "-c", "\n".join(lines)], _ANSWER, columns=100, env=settings)
    assert code == 0, output
    visible = re.sub(r"[^\n\x03]*\r", "", output.decode("utf-8", "replace"))  # a progress bar is written over
    parts = re.split(r"\x02(\d+)\x03", visible)
    return [(int(done), text) for text, done in zip(parts[::2], parts[1::2], strict=False)]


def matches(shown: Sequence[str], printed: str) -> bool:
    """Whether the lines are those printed: `...` stands for anything, alone on a line for any lines."""
    wanted = "\n".join(shown).strip("\n")
    if wanted == "..." or not wanted:
        return not wanted or bool(printed.strip())
    pattern, values, end = "", [], 0
    for found in re.finditer(f"{_ELLIPSIS.pattern}|{_DECIMAL.pattern}", wanted):
        pattern += re.escape(wanted[end : found.start()])
        if _ELLIPSIS.fullmatch(found[0]):
            pattern += ".*?"
        else:
            pattern += r"(-?\d+\.\d+)"
            values.append(float(found[0]))
        end = found.end()
    matched = re.fullmatch(pattern + re.escape(wanted[end:]), printed.strip("\n"), re.DOTALL)
    if not matched:
        return False
    return all(abs(float(got) - value) <= _TOLERANCE for got, value in zip(matched.groups(), values, strict=True))
