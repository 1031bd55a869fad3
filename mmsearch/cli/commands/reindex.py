"""`mmsearch reindex`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict, Unpack, get_type_hints

import typer

from mmsearch.base.errors import UsageError
from mmsearch.cli.declared import takes
from mmsearch.cli.options import RUN_DEFAULTS, Running

if TYPE_CHECKING:
    from mmsearch.base.events import Event, ReindexSummary
    from mmsearch.collection.collection import Collection
    from mmsearch.indexing.settings import RunWords


class Reindexing(TypedDict, total=False):
    """What to change."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="New model, in any form that `mmsearch index --model` accepts; omit to resume an unfinished reindex.",
        ),
    ]
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Drop the old model's embeddings once queries use the new one.")
    ]
    abandon: Annotated[bool, typer.Option("--abandon", help="Discard an unfinished reindex and exit.")]
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Switch even if some files cannot be read; `index` adds them later."),
    ]


class ReindexOptions(Reindexing, Running, total=False):
    """The options of `mmsearch reindex`."""


@takes(get_type_hints(ReindexOptions, include_extras=True), RUN_DEFAULTS)
def reindex(**given: Unpack[ReindexOptions]) -> None:
    """Switch a collection to another model.

    All images are encoded again beside the old embeddings. Queries keep using the old model until the new embeddings
    are complete. Ctrl-C keeps what is done; the same command resumes there. The old embeddings are kept until
    --drop-old, and switching back to them takes no time.
    """
    from mmsearch.base.events import Reindexed
    from mmsearch.cli.running import finish, run

    if given["abandon"] or (given["drop_old"] and given["model"] is None):
        _drop(given)
        return

    def start(photos: Collection, how: RunWords) -> Iterator[Event]:
        return photos.reindex_events(
            given["model"], drop_old=given["drop_old"], allow_missing=given["allow_missing"], **how
        )

    last = run(given, start, "reindexing")
    assert isinstance(last, Reindexed)
    finish(last.summary, describe(last.summary), last.summary.missing, given["json_output"])


def describe(summary: ReindexSummary) -> list[str]:
    """The closing lines of a reindex."""
    from mmsearch.rendering.text import number

    pace = f" ({summary.images_per_s:.1f} images/s)" if summary.encoded else ""
    if summary.switched and not summary.before and not summary.encoded and not summary.missing:
        return [f"nothing to do: queries use {summary.model}, and every image has its embedding"]
    encoded = f"{number(summary.encoded, 'image')} encoded by {summary.model} in {summary.seconds:.1f} s{pace}"
    if summary.interrupted:
        first = "interrupted; what is done is kept: the same command resumes, --abandon discards it"
        return [first, f"{encoded}; queries still use {summary.before or summary.model}"]
    lines = [f"{encoded}; {_state(summary)}"]
    if summary.missing:
        counts = {"missing": summary.gone, "changed": summary.changed, "unreadable": summary.unreadable}
        listed = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        lines.append(f"{number(summary.missing, 'image')} could not be read ({listed})")
        lines.append(_advice(summary))
    return lines


def _state(summary: ReindexSummary) -> str:
    if not summary.switched:
        return f"queries still use {summary.before or summary.model}"
    if summary.dropped:
        return f"queries use it now; the embeddings by {', '.join(summary.dropped)} were dropped"
    return (
        f"queries use it now; the embeddings by {summary.before} are kept until --drop-old"
        if summary.before
        else "all done"
    )


def _advice(summary: ReindexSummary) -> str:
    if summary.switched:
        return "searches do not find them; `mmsearch index` encodes them once they can be read again"
    return (
        "reconnect missing disks (or `mmsearch forget DIR`), run `mmsearch index` for what has changed, then run this "
        "again; or switch without them: --allow-missing"
    )


def _drop(given: ReindexOptions) -> None:
    """Drop the embeddings of an unfinished reindex, or those of the models before. Raises `UsageError`."""
    from mmsearch.cli.console import dumps, say
    from mmsearch.collection.collection import Collection

    abandon, wait = given["abandon"], given["wait"]
    if given["model"] is not None or (abandon and given["drop_old"]) or given["allow_missing"]:
        alone = "--abandon" if abandon else "--drop-old without --model"
        others = "--model, --drop-old or --allow-missing" if abandon else "--allow-missing"
        raise UsageError(f"{alone} cannot be combined with {others}", "leave the other options out")
    with Collection.open(given["collection"], notice=say) as photos:
        dropped = [photos.abandon_reindex(wait=wait)] if abandon else photos.drop_old_models(wait=wait)
    if given["json_output"]:
        typer.echo(dumps({"dropped": dropped}))
    else:
        typer.echo(
            f"dropped the embeddings by {', '.join(dropped)}" if dropped else "no old embeddings to drop", err=True
        )
