"""`mmsearch help`: texts with worked examples, one a topic. A test runs every command in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.errors import UsageError

_FOLDER = Path(__file__).with_name("topics")


def help_topics(
    topic: Annotated[str | None, typer.Argument(metavar="TOPIC", help="A topic; none: a list of them.")] = None,
) -> None:
    """Explain a topic with worked examples: pipelines, query, filters, output, models."""
    found = topics()
    if topic is None:
        typer.echo("Topics, for `mmsearch help TOPIC`:\n")
        for name, text in found.items():
            typer.echo(f"  {name:<10}  {text.splitlines()[0]}")
        typer.echo("\nOptions of a command: mmsearch COMMAND --help")
        return
    if topic not in found:
        raise UsageError(f"there is no topic {topic}", f"there are {', '.join(found)}")
    typer.echo(found[topic].rstrip())


def topics() -> dict[str, str]:
    """The texts by name; the first line of each says what it is about."""
    return {path.stem: path.read_text("utf-8") for path in sorted(_FOLDER.glob("*.txt"))}
