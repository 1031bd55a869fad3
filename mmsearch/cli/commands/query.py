"""`mmsearch query`."""

from __future__ import annotations

from typing import Any

import typer

from mmsearch.base import config
from mmsearch.cli.declared import takes
from mmsearch.cli.query.options import options


@takes(options(), {})
def query(**given: Any) -> None:
    """Find images that match words or pictures, best first.

    With filters alone, the newest images are listed.
    """
    from mmsearch.cli import trusting
    from mmsearch.cli.query import named_files, question
    from mmsearch.cli.query.actions import Actions
    from mmsearch.cli.query.outputs import Output
    from mmsearch.collection.collection import Collection

    output = Output.of(given)
    actions = Actions.of(given)
    batch, collection, session = given.get("batch"), given.get("collection"), given.get("session")
    output.check(with_batch=batch is not None)
    actions.check(given["top"] or config.DEFAULT_TOP, with_batch=batch is not None)
    words = question.words(given)
    trust_model = trusting.answer(given.get("trust_model", False))
    with Collection.open(collection, notice=_say, trust_model=trust_model) as photos:
        if batch is not None:
            from mmsearch.cli.query.batch import run

            raise typer.Exit(run(photos, batch, question.only_options(words)))
        advice = named_files.advice(given.get("text") or (), collection)
        if advice:
            _say(advice)
        asked = question.question(photos, words, session)
        originals = photos.originals()
        actions.check_originals(originals)
        hits, left_out = question.answer(photos, asked)
        question.remember(photos, asked, session, hits)
    output.print(hits, asked, left_out, originals)
    raise typer.Exit(actions.run(hits, question.label(asked.query), originals))


def _say(line: str) -> None:
    from mmsearch.rendering.text import printable

    typer.echo(f"mmsearch: {printable(line)}", err=True)
