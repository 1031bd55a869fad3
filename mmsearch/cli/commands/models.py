"""`mmsearch models`: which there are, what is on this disk; bring one, remove one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.base.errors import UsageError
from mmsearch.cli.help_text import PlainCommand
from mmsearch.cli.options import JsonOption

if TYPE_CHECKING:
    from mmsearch.encoders.inventory import Holding, Inventory, Item
    from mmsearch.encoders.names import ModelCard

models = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

# Characters of the column with names: the longest is siglip2-large, and a space.
_NAME = 14

_ANY = "Any open_clip model works too: --model ARCH/TAG, hf-hub:ORG/REPO, local-dir:PATH or ARCH:CHECKPOINT."

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Model, in any form that --model accepts.")]


@models.callback(invoke_without_command=True)
def _models(context: typer.Context, json_output: JsonOption = False) -> None:
    """List models; show, download or remove one."""
    if context.invoked_subcommand is None:
        list_models(json_output)


@models.command("list", cls=PlainCommand)
def list_models(json_output: JsonOption = False) -> None:
    """List models, and which are on this disk.

    Lists those with a short name, others that are on this disk, and the space that all of it takes.
    """
    from mmsearch.cli.console import tell
    from mmsearch.encoders import inventory
    from mmsearch.encoders.names import ALIASES, is_cached, parse

    found = inventory.inventory()
    here = {holding.spec: holding for holding in found.holdings}
    cards = [(card, is_cached(card)) for card in ALIASES.values()]
    others = [inventory.card_of(parse(spec)) for spec in here if spec not in {card.spec for card, _ in cards}]
    if json_output:
        listed = [{**_card_to_json(card), "cached": cached} for card, cached in cards]
        listed += [{**_card_to_json(card), "cached": here[card.spec].is_complete} for card in others]
        _print_json({"models": listed, "disk": _inventory_to_json(found)})
        return
    lines = [*_comparison([card for card, _ in cards]), ""]
    for card, cached in cards:
        state = "here" if cached else f"{card.download_mb} MB to download"
        lines.append(f"{card.alias:<{_NAME}} {card.good_for}")
        lines.append(f"{'':<{_NAME}} {', '.join([*_facts(card), state])}")
    for card in others:
        missing = f"partly downloaded: `mmsearch models pull {card.alias or card.spec}` resumes"
        state = "here" if here[card.spec].is_complete else missing
        lines.append(f"{card.alias:<{_NAME}} {', '.join([*_facts(card), state])}")
    lines += [
        "",
        "Any open_clip model works too: --model ARCH/TAG, hf-hub:ORG/REPO, local-dir:PATH or ARCH:CHECKPOINT.",
    ]
    tell([*lines, *_accounts(found)])


@models.command("show", cls=PlainCommand)
def show(model: ModelArgument, json_output: JsonOption = False) -> None:
    """Show details of a model, and its files on this disk."""
    from mmsearch.cli.console import tell
    from mmsearch.encoders import inventory, resolve
    from mmsearch.rendering.text import columns, size

    source = resolve(model)
    card, held = inventory.card_of(source), inventory.holding(source)
    if json_output:
        _print_json({**_card_to_json(card), "cached": held.is_complete, **_holding_to_json(held)})
        return
    rows = [("model", f"{card.spec}{f' ({card.alias})' if card.alias != card.spec and card.alias else ''}")]
    rows += [("good for", card.good_for)] if card.good_for else []
    rows += [
        ("embedding", f"{card.dim} dimensions" if card.dim else "unknown until pulled"),
        ("input", f"{card.pixels} x {card.pixels} pixels" if card.pixels else "unknown until pulled"),
        ("languages", _languages(card)),
        ("licence", card.licence),
        ("source", card.source),
        *(("published", line) for line in _published(card)),
        *(("costs", line) for line in [_costs(card)] if line),
        ("download", _download_state(card, held)),
        (
            "export",
            f"here, {size(_total(held.exports))}" if held.has_export else "none yet; a pull or a query makes it",
        ),
    ]
    lines = columns(rows[:-1] if card.spec == "starter" else rows)
    lines += [f"  {item.path}: {size(item.bytes)}" for item in [*held.own, *held.shared]]
    tell(lines)


@models.command("pull", cls=PlainCommand)
def pull(model: ModelArgument, json_output: JsonOption = False) -> None:
    """Download a model and prepare it for queries.

    Verifies existing files and resumes interrupted downloads.

    Checksums are those of the model hub. Preparing takes about a minute and space for a second copy of the weights.
    """
    from mmsearch.cli.console import say, tell
    from mmsearch.encoders import inventory, resolve
    from mmsearch.rendering.text import size

    held = inventory.pull(resolve(model), say)
    if json_output:
        _print_json({"spec": held.spec, "cached": held.is_complete, **_holding_to_json(held)})
        return
    ready = "ready for queries" if held.has_export else "but queries need torch for it"
    tell([f"{held.spec} is on this disk, {ready} ({size(held.bytes)})"], to_stderr=True)


@models.command("remove", cls=PlainCommand)
def remove(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Model, in any form that --model accepts.")
    ] = None,
    leftovers: Annotated[
        bool, typer.Option("--leftovers", help="Remove files that belong to no model; see the end of `models list`.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Delete a model's files from this disk.

    Removes its downloads, exports and digests. Collections, and checkpoints or folders of your own, stay as they are;
    the next query of a collection that was built with the model downloads it again.
    """
    from mmsearch.cli.console import say, tell
    from mmsearch.encoders import inventory
    from mmsearch.rendering.text import number, size

    items = _to_remove(model, leftovers)
    total = _total(items)
    if items and not yes:
        for item in items:
            say(f"{item.path}: {size(item.bytes)}")
        typer.echo(f"Delete {number(len(items), 'item')} ({size(total)})? [y/N] ", nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):  # Typer's own prompt writes to stdout
            raise typer.Abort
    inventory.remove(items)
    if json_output:
        _print_json({"removed": [item.to_json() for item in items], "bytes": total})
    else:
        said = f"removed {number(len(items), 'item')} ({size(total)})" if items else "nothing to remove"
        tell([said], to_stderr=True)


def _to_remove(model: str | None, leftovers: bool) -> list[Item]:
    from mmsearch.encoders import inventory, resolve

    if (model is None) is not leftovers:
        raise UsageError("name a model, or give --leftovers", "`mmsearch models list` shows both")
    if model is None:
        return inventory.inventory().leftovers
    source = resolve(model)
    if source.kind == "starter":
        raise UsageError("the starter model is part of mmsearch", "`pip uninstall mmsearch` removes both")
    return inventory.holding(source).own


def _facts(card: ModelCard) -> tuple[str, ...]:
    return card.spec, f"{card.dim} dimensions", f"{card.pixels} px", card.languages, card.licence


def _comparison(cards: list[ModelCard]) -> list[str]:
    """The figures of several models as a table, and what its columns mean."""
    from mmsearch.rendering.text import size

    lines = [f"{'':<{_NAME}} COCO  ImageNet  GFLOP    memory  languages"]
    for card in cards:
        memory = size(card.memory_mb * 10**6) if card.memory_mb else "-"
        figures = f"{_figure(card.coco_r1):>4}  {_figure(card.imagenet_top1):>8}  {_figure(card.image_gflop):>5}"
        languages = "many" if card.languages_note else card.languages
        lines.append(f"{card.alias:<{_NAME}} {figures}  {memory:>8}  {languages}")
    return [
        *lines,
        "",
        "COCO: captions that find their photo first among 5,000, in %; ImageNet: zero-shot top-1, in %; as published.",
        "GFLOP: work per image. Memory: the peak of a first index run on a CPU; later runs and queries take less.",
        "`mmsearch models show MODEL` names the sources, and the languages in which a multilingual model is weak.",
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _languages(card: ModelCard) -> str:
    return (
        f"{card.languages}, {card.languages_note} ({card.languages_source})" if card.languages_note else card.languages
    )


def _published(card: ModelCard) -> list[str]:
    lines = []
    if card.coco_r1 is not None:
        lines.append(f"{card.coco_r1:.1f} % of COCO's captions find their photo first ({card.coco_source})")
    if card.imagenet_top1 is not None:
        lines.append(f"{card.imagenet_top1:.1f} % zero-shot top-1 on ImageNet-1k ({card.figure_source})")
    return lines or ["no figures known to mmsearch"]


def _costs(card: ModelCard) -> str:
    """What it takes to run, as far as that is known."""
    from mmsearch.rendering.text import size

    memory = (
        ("for the first index run", card.memory_mb),
        ("for later ones", card.later_memory_mb),
        ("for a query", card.query_memory_mb),
    )
    told = [f"{size(megabytes * 10**6)} of memory {what}" for what, megabytes in memory if megabytes]
    work = [f"{card.image_gflop:.1f} GFLOP per image"] if card.image_gflop else []
    return ", ".join([*work, *told])


def _download_state(card: ModelCard, held: Holding) -> str:
    from mmsearch.rendering.text import size

    if card.spec == "starter":
        return "part of mmsearch"
    taken = size(_total([*held.downloads, *held.shared]))
    if held.is_complete:
        return f"here, {taken}"
    wanted = f"{card.download_mb} MB to download" if card.download_mb else "not here"
    resume = f"`mmsearch models pull {card.alias or card.spec}` resumes"
    return f"{wanted}; {taken} of it downloaded, {resume}" if held.downloads else wanted


def _accounts(found: Inventory) -> list[str]:
    """Where the room on this disk goes."""
    from mmsearch.rendering.text import number, size

    lines = ["", f"On this disk: {size(found.bytes)}"]
    for holding in found.holdings:
        parts = f"downloads {size(_total(holding.downloads))}, exports {size(_total(holding.exports))}"
        lines.append(f"  {size(holding.bytes):>9}  {holding.spec} ({parts})")
    for items, what in (
        (found.shared, "tokenizers that several models or other programs use"),
        (found.rest, "notes and other derived files of mmsearch"),
        (found.leftovers, "leftovers: `mmsearch models remove --leftovers`"),
    ):
        if items:
            lines.append(f"  {size(_total(items)):>9}  {what} ({number(len(items), 'item')})")
    if found.others:
        repositories = f"{len(found.others):,} {'repository' if len(found.others) == 1 else 'repositories'}"
        lines.append(f"Not counted: {size(_total(found.others))} by other programs in the hub's cache ({repositories})")
    return lines


def _total(items: list[Item]) -> int:
    return sum(item.bytes for item in items)


def _card_to_json(card: ModelCard) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(card), "source": card.source}


def _holding_to_json(held: Holding) -> dict[str, Any]:
    names = ("downloads", "exports", "notes", "shared")
    parts = {name: [item.to_json() for item in getattr(held, name)] for name in names}
    return {"export": held.has_export, "bytes": held.bytes, **parts}


def _inventory_to_json(found: Inventory) -> dict[str, Any]:
    names = ("shared", "leftovers", "rest", "others")
    parts = {name: [item.to_json() for item in getattr(found, name)] for name in names}
    holdings = [{"spec": held.spec, "cached": held.is_complete, **_holding_to_json(held)} for held in found.holdings]
    return {"bytes": found.bytes, "models": holdings, **parts}


def _print_json(fields: dict[str, Any]) -> None:
    from mmsearch.cli.console import dumps

    typer.echo(dumps(fields, indent=2))
