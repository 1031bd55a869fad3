"""Help of a command with many options: in named groups, in the order in which they are declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperCommand


class GroupedCommand(TyperCommand):
    """A command whose `--help` has a section for each group of its options.

    `groups` has the title of each parameter's section; those without one stand in the last.
    """

    groups: ClassVar[dict[str, str]] = {}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        title, sections = "Options", dict[str, list[tuple[str, str]]]()
        for parameter in self.get_params(ctx):
            title = self.groups.get(parameter.name or "", title)
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def in_sections(sections: Mapping[str, type]) -> type[GroupedCommand]:
    """The class of a command whose options stand in these sections, each the keys of a TypedDict."""
    titles = {name: title for title, options in sections.items() for name in options.__annotations__}
    return type("SectionedCommand", (GroupedCommand,), {"groups": titles})
