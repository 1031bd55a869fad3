"""`mmsearch models`."""

from __future__ import annotations

import typer

from mmsearch.cli.options import JsonOption


def models(json_output: JsonOption = False) -> None:
    """List the models that have a short name: what each is good at, size, licence, languages, whether it is here."""
    from dataclasses import asdict

    from mmsearch.cli.render import dumps
    from mmsearch.encoders.models import ALIASES, is_cached

    cards = [(card, is_cached(card)) for card in ALIASES.values()]
    if json_output:
        listed = [{**asdict(card), "source": card.source, "cached": cached} for card, cached in cards]
        typer.echo(dumps({"models": listed}, indent=2))
        return
    for card, cached in cards:
        state = "here" if cached else f"{card.download_mb} MB to download"
        typer.echo(f"{card.alias:<11} {card.good_for}")
        facts = (card.spec, f"{card.dim} dimensions", f"{card.pixels} px", card.languages, card.licence, state)
        typer.echo(f"{'':<11} {', '.join(facts)}")
    typer.echo("\nAny open_clip model works too: --model ARCH/TAG, hf-hub:ORG/REPO, local-dir:PATH or ARCH:CHECKPOINT.")
