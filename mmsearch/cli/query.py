"""`mmsearch query`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch import config
from mmsearch.cli.options import CollectionOption
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.types import Hit


def query(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to look for, in words.")] = None,
    image: Annotated[
        str | None, typer.Option(metavar="PATH", help="Look for images like this one; - reads it from standard input.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="PATH_OR_ID", help="Look for images like an indexed one; loads no model."),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Answer a query a line (text, or a JSON object), as JSON lines; - is stdin."),
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", metavar="N", help="How many results.")] = config.DEFAULT_TOP,
    below: Annotated[
        Path | None, typer.Option("--in", metavar="DIR", readable=False, help="Only results in this folder.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(metavar="COSINE", help="Only results with at least this cosine.")
    ] = None,
    include_self: Annotated[bool, typer.Option("--include-self", help="Also show the query image itself.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every image, however many there are.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Also show images in folders that are offline.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print a JSON object a line.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print only paths, one a line.")] = False,
    print0: Annotated[bool, typer.Option("--print0", "-0", help="Print only paths, each ended by a NUL byte.")] = False,
    collection: CollectionOption = None,
) -> None:
    """Find the images that match words, or that resemble a picture, best first."""
    from mmsearch.collection import Collection

    if sum((json_output, jsonl, paths, print0)) > 1:
        raise UsageError("--json, --jsonl, --paths and -0 exclude each other", "give one of them")
    options = {"top": top, "below": below, "min_score": min_score, "include_self": include_self, "exact": exact}
    options["offline"] = offline
    with Collection.open(collection, notice=_say) as photos:
        if batch is not None:
            if text is not None or image is not None or like is not None:
                raise UsageError("--batch reads its queries from a file", "leave out TEXT, --image and --like")
            from mmsearch.cli.batch import run

            raise typer.Exit(run(photos, batch, options))
        picture = sys.stdin.buffer.read() if image == "-" else image
        chosen = int(like) if like is not None and like.isdigit() and not Path(like).exists() else like
        hits = photos.search_many([photos.query(text=text, image=picture, like=chosen, **options)])[0]
    if json_output:
        _print_json(hits, {"text": text, "image": image, "like": like})
    elif jsonl:
        _print_lines(hits)
    elif paths or print0:
        _print_paths(hits, b"\0" if print0 else b"\n")
    else:
        _print_table(hits)


def _print_json(hits: Sequence[Hit], asked: dict[str, str | None]) -> None:
    from mmsearch.cli.render import dumps, hit_to_json

    typer.echo(dumps({"query": asked, "count": len(hits), "results": [hit_to_json(hit) for hit in hits]}, indent=2))


def _print_lines(hits: Sequence[Hit]) -> None:
    from mmsearch.cli.render import dumps, hit_to_json

    for hit in hits:
        typer.echo(dumps(hit_to_json(hit)))


def _print_paths(hits: Sequence[Hit], end: bytes) -> None:
    if end == b"\n" and sys.stdout.isatty():
        from mmsearch.cli.render import printable

        for hit in hits:
            typer.echo(printable(hit.path))
        return
    for hit in hits:
        sys.stdout.buffer.write(os.fsencode(hit.path) + end)


def _print_table(hits: Sequence[Hit]) -> None:
    from mmsearch.cli.render import table, wants_colour

    for line in table(hits, colour=wants_colour()):
        typer.echo(line)
    if not hits:
        _say("nothing found")


def _say(line: str) -> None:
    from mmsearch.cli.render import printable

    typer.echo(f"mmsearch: {printable(line)}", err=True)
