"""The CLI reference of the README, made from the program itself.

`python -m mmsearch.cli.reference README.md` writes it between the two marks; with `--check` it only says whether the
file is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BEGIN = "<!-- CLI reference: made by `python -m mmsearch.cli.reference README.md` -->"
END = "<!-- end of the CLI reference -->"
WIDTH = 100


def reference() -> str:
    """Markdown with the help text of every command."""
    import typer

    from mmsearch.cli.app import application

    group = typer.main.get_command(application())
    context = group.make_context("mmsearch", [], resilient_parsing=True, max_content_width=WIDTH, terminal_width=WIDTH)
    return "\n\n".join(_commands(group, context))


def _commands(group: Any, context: Any) -> Iterator[str]:
    """The commands of a group, each with those below it."""
    for name, command in sorted(getattr(group, "commands", {}).items()):
        with command.make_context(name, [], parent=context, resilient_parsing=True) as inner:
            inner.terminal_width = WIDTH
            text = "\n".join(line.rstrip() for line in command.get_help(inner).splitlines())
            yield f"### {inner.command_path}\n\n```text\n{text}\n```"
            yield from _commands(command, inner)


def updated(document: str) -> str:
    """The document with the reference between the marks made anew."""
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{reference()}\n\n{END}{tail}"


def main(arguments: list[str]) -> int:
    path = Path(arguments[0])
    document = path.read_text("utf-8")
    if BEGIN not in document or END not in document:
        print(f"{path} lacks the marks of the CLI reference", file=sys.stderr)
        return 1
    fresh = updated(document)
    if "--check" in arguments:
        if fresh != document:
            print(
                f"the CLI reference in {path} is out of date: python -m mmsearch.cli.reference {path}", file=sys.stderr
            )
        return int(fresh != document)
    path.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
