"""Help of a command with many options: in named groups, in the order in which they are declared."""

from __future__ import annotations

from typing import Any, ClassVar

from typer.core import TyperCommand


class GroupedCommand(TyperCommand):
    """A command whose `--help` has a section for each group of its options.

    `groups` names the first parameter of each group; those that follow belong to it.
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


class QueryCommand(GroupedCommand):
    """`mmsearch query`."""

    groups: ClassVar[dict[str, str]] = {
        "text": "Asking",
        "below": "Filters",
        "top": "Results",
        "json_output": "Output",
        "gallery": "Actions",
        "collection": "Other",
    }
