"""`mmsearch help`: the chapters of the guide, and the JSON Schemas of what `--json` prints."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from mmsearch.base.errors import UsageError
from mmsearch.cli import guide, schemas

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown, MarkdownElement

# Other words for chapters: those of the topics that they took in.
_ALSO = {"query": "asking", "output": "answering"}

# Longer lines are hard to read, however wide the terminal is.
_WIDEST = 100


def help_topics(
    chapter: Annotated[
        str | None, typer.Argument(metavar="CHAPTER", help="Chapter of the guide; omit to list all.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="With `schema`: the output, such as `query`.")
    ] = None,
) -> None:
    """Read a chapter of the guide, or print a JSON Schema."""
    if chapter is None:
        _list_chapters()
    elif chapter == "schema":
        _print_schema("-".join(names or []))
    elif names:
        raise UsageError(f"a chapter's name is one word, not {' '.join([chapter, *names])!r}", _offer())
    else:
        _print_chapter(_ALSO.get(chapter, chapter))


def _list_chapters() -> None:
    typer.echo("The guide, for `mmsearch help CHAPTER`:\n")
    for name in guide.CHAPTERS:
        typer.echo(f"  {name:<15}  {guide.subject(name)}")
    typer.echo("\nOptions of a command: mmsearch COMMAND --help\nJSON Schemas: mmsearch help schema [NAME]")


def _offer() -> str:
    return f"choose {', '.join(guide.CHAPTERS)}"


def _print_schema(name: str) -> None:
    known = schemas.names()
    if not name:
        typer.echo("\n".join(known))
    elif name in known:
        typer.echo(schemas.text(name), nl=False)
    else:
        raise UsageError(f"unknown schema {name!r}", f"choose {', '.join(known)}")


def _print_chapter(name: str) -> None:
    """A chapter, for a person page by page; a pipe gets its Markdown."""
    if name not in guide.CHAPTERS:
        raise UsageError(f"unknown chapter {name!r}", _offer())
    if sys.stdout.isatty():
        _show(guide.readable(name))
    else:
        typer.echo(guide.readable(name))


def _show(text: str) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST)
    page = _page(text)
    if not sys.stdin.isatty():
        console.print(page, crop=False)
        return
    os.environ.setdefault("LESS", "FRX")  # as git: colours pass, and what fits the screen is not paged
    with console.pager(styles=not console.no_color):
        console.print(page, crop=False)


def _page(text: str) -> Markdown:
    """Markdown for Rich. Its own blocks of code wrap, and a command copied from two lines would be two commands."""
    from rich.markdown import CodeBlock, Markdown
    from rich.text import Text

    class Unwrapped(CodeBlock):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            lines = str(self.text).rstrip().splitlines()
            yield Text("\n".join(f"  {line}" for line in lines), style="cyan", no_wrap=True, overflow="ignore")

    class Page(Markdown):
        elements: ClassVar[dict[str, type[MarkdownElement]]] = {
            **Markdown.elements,
            "fence": Unwrapped,
            "code_block": Unwrapped,
        }

    return Page(text, hyperlinks=False, justify="left")
