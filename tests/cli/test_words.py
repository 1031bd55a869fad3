"""Help and errors read at once: whole summaries, options in groups, the help to see, no `is no`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from command import Command

import mmsearch
from mmsearch.cli import help_text
from mmsearch.cli.app import COMMANDS, application
from mmsearch.cli.reference import reference
from mmsearch.query import value_types

PACKAGE = Path(mmsearch.__file__).parent
GROUPS = ["Asking", "Filters", "Results", "Output", "Actions", "Other"]


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("group", [[], ["models"]])
def test_summaries_end_before_the_column_does(command: Command, group: list[str]) -> None:
    listed = command(*group, "--help").out.partition("\nCommands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) >= 4
    for line in listed:
        assert re.fullmatch(r"  [a-z]+ +[A-Z].*[^.]\.", line) and len(line) <= 80, line


def test_options_of_query_stand_in_groups(command: Command) -> None:
    sections = re.split(r"^(\w+):$", command("query", "--help").out, flags=re.MULTILINE)
    assert sections[1::2] == GROUPS
    found = [re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", text, flags=re.MULTILINE) for text in sections[2::2]]
    query = typer.main.get_command(application()).commands["query"]  # type: ignore[attr-defined]
    wanted = {option.opts[0] for option in query.params if option.opts[0].startswith("--") and not option.hidden}
    listed = [name for group in found for name in group]
    assert len(listed) == len(set(listed)) and wanted | {"--help"} == set(listed)
    for options, one in zip(found, ["--plus", "--below", "--top", "--jsonl", "--open", "--collection"], strict=True):
        assert one in options


@pytest.mark.parametrize(
    "named", [[], *([name] for name in COMMANDS), ["models"], *(["models", name] for name in ("list", "pull"))]
)
def test_usage_errors_name_the_help_of_their_command(command: Command, named: list[str]) -> None:
    refused = command(*named, "--bogus")
    assert refused.code == 2 and refused.err.startswith("mmsearch: no such option: --bogus")
    assert refused.err.endswith(f"; see `{' '.join(['mmsearch', *named])} --help`\n")


def test_defaults_limits_and_arguments_are_in_words() -> None:
    told = reference()
    assert not re.search(r"Usage:.*\{|default: \(|>=|<=|\d\.0\b|[^ ] \[default|\]  \[", told)
    assert "mmsearch forget [OPTIONS] DIR\n" in told and "[default: 20; at least 1]" in told
    assert help_text.in_words("Wait.  [default: (not at all); x>=0.0]") == "Wait.  [default: not at all]"
    assert help_text.in_words("Wait.  [x>=0]") == "Wait."
    assert help_text.in_words("Skip.  [default: 60.0; x>=1]") == "Skip.  [default: 60; at least 1]"
    assert help_text.in_words("At most.  [x>=0.5]") == "At most.  [at least 0.5]"
    assert help_text.in_words("A folder.  [required]") == "A folder.  [required]"
    assert help_text.in_words("Files that match [a-z]") == "Files that match [a-z]"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["index", "--workers", "-1"], "invalid value for '--workers': -1 is less than 0"),
        (["index", "--time-limit", "0.5"], "invalid value for '--time-limit': 0.5 is less than 1"),
        (["query", "x", "--min-width", "wide"], "invalid value for '--min-width': 'wide' is not a whole number"),
        (["query", "x", "--min-score", "low"], "invalid value for '--min-score': 'low' is not a number"),
        (["forget"], "missing argument 'DIR'"),
    ],
)
def test_wrong_values_are_told_in_words(command: Command, arguments: list[str], told: str) -> None:
    assert command(*arguments).err == f"mmsearch: {told}; see `mmsearch {arguments[0]} --help`\n"


def test_what_a_value_may_be_is_told() -> None:
    assert value_types.told((int,)) == "a whole number"
    assert value_types.told((int, float)) == "a number"
    assert value_types.told((list, tuple, str)) == "a text or a list"


def _messages(file: Path) -> Iterator[str]:
    """The texts of a module, but for its docstrings."""
    tree = ast.parse(file.read_text("utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
            yield node.value


def test_nothing_is_no_something() -> None:
    """`'wide' is no orientation` reads as a translation."""
    said = {text: file.name for file in PACKAGE.rglob("*.py") for text in _messages(file)}
    assert len(said) > 1000
    assert not {text: name for text, name in said.items() if re.search(r"(?<!there )\b(is|are) (no|none)\b", text)}
