"""The CLI reference: a chapter of the guide, made from the program itself.

`python -m mmsearch.cli.reference` writes it; with `--check` it only says whether the file is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmsearch.cli import guide

HEAD = """\
# Reference: every command and option, as `--help` prints them

<!-- Made by `python -m mmsearch.cli.reference`; edit the help texts instead. -->

"""
WIDTH = 100


def reference() -> str:
    """Markdown with the help text of every command."""
    import typer

    from mmsearch.cli.app import application

    group = typer.main.get_command(application())
    context = group.make_context("mmsearch", [], resilient_parsing=True, max_content_width=WIDTH, terminal_width=WIDTH)
    return HEAD + "\n\n".join(_commands(group, context)) + "\n"


def _commands(group: Any, context: Any) -> Iterator[str]:
    """The commands of a group, each with those below it."""
    for name, command in sorted(getattr(group, "commands", {}).items()):
        with command.make_context(name, [], parent=context, resilient_parsing=True) as inner:
            inner.terminal_width = WIDTH
            text = "\n".join(line.rstrip() for line in command.get_help(inner).splitlines())
            yield f"## {inner.command_path}\n\n```text\n{text}\n```"
            yield from _commands(command, inner)


def main(arguments: list[str]) -> int:
    path = Path(guide.__file__).with_name("reference.md")
    fresh = reference()
    if "--check" not in arguments:
        path.write_text(fresh, "utf-8")
    elif not path.is_file() or path.read_text("utf-8") != fresh:
        print(f"{path} is out of date: python -m mmsearch.cli.reference writes it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
