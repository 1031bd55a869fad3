"""What `--help` of a command prints: its options in named groups where it has many, each with its default in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperCommand

# What Typer says of a parameter after its help, two spaces apart: `[default: (not at all); x>=0.0]`.
_NOTES = re.compile(r"  \[(?P<notes>[^\[\]]*)\]\Z")
_IN_WORDS = (
    (re.compile(r"default: \((.*)\)"), r"default: \1"),
    (re.compile(r"(; )?x>=0(\.0)?$"), ""),  # who thinks of fewer is told in the error
    (re.compile(r"x>=(\S+)$"), r"at least \1"),
    (re.compile(r"(\d)\.0\b"), r"\1"),
)


class PlainCommand(TyperCommand):
    """A command whose help has no signs of Typer's own.

    `groups` has the title of each parameter's section, if it has such; one without is in the section before it.
    """

    groups: ClassVar[dict[str, str]] = {}

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What the first line says after the command: `DIR`, where Typer has `{DIR}`."""
        return [re.sub(r"^\{(.*)\}$", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        title, sections = "", dict[str, list[tuple[str, str]]]()
        for parameter in self.get_params(ctx):
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            title = self.groups.get(parameter.name or "", title) if self.groups else usual
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(title, []).append((record[0], in_words(record[1])))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def in_words(text: str) -> str:
    """The help of a parameter, as Typer makes it, with its default and its least value in words."""
    found = _NOTES.search(text)
    if not found:
        return text
    notes = found["notes"]
    for sign, words in _IN_WORDS:
        notes = sign.sub(words, notes)
    return text[: found.start()] + (f"  [{notes}]" if notes else "")


def in_sections(sections: Mapping[str, type]) -> type[PlainCommand]:
    """The class of a command whose options stand in these sections, each the keys of a TypedDict."""
    titles = {name: title for title, options in sections.items() for name in options.__annotations__}
    return type("SectionedCommand", (PlainCommand,), {"groups": titles})
