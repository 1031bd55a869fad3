"""`mmsearch reindex`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.base import config
from mmsearch.base.errors import UsageError
from mmsearch.cli.options import (
    BatchSizeOption,
    CollectionOption,
    DecodeMemoryOption,
    DeviceOption,
    JsonOption,
    MaxPixelsOption,
    PrecisionOption,
    TimeLimitOption,
    WaitOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from mmsearch.base.events import Event, ReindexSummary
    from mmsearch.collection.collection import Collection


def reindex(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="New model, in any form that `mmsearch index --model` accepts; omit to resume an unfinished reindex.",
        ),
    ] = None,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Drop the old model's embeddings once queries use the new one.")
    ] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Discard an unfinished reindex and exit.")] = False,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Switch even if some files cannot be read; `index` adds them later."),
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchSizeOption = 0,
    workers: WorkersOption = 0,
    max_pixels: MaxPixelsOption = config.DEFAULT_MAX_PIXELS,
    time_limit: TimeLimitOption = config.DEFAULT_TIME_LIMIT,
    decode_memory: DecodeMemoryOption = None,
    wait: WaitOption = 0.0,
    collection: CollectionOption = None,
    json_output: JsonOption = False,
) -> None:
    """Switch a collection to another model.

    All images are encoded again beside the old embeddings. Queries keep using the old model until the new embeddings
    are complete. Ctrl-C keeps what is done; the same command resumes there. The old embeddings are kept until
    --drop-old, and switching back to them takes no time.
    """
    from mmsearch.base.events import Reindexed
    from mmsearch.cli.running import finish, index_settings, run

    if abandon or (drop_old and model is None):
        if model is not None or (abandon and drop_old) or allow_missing:
            alone = "--abandon" if abandon else "--drop-old without --model"
            others = "--model, --drop-old or --allow-missing" if abandon else "--allow-missing"
            raise UsageError(f"{alone} cannot be combined with {others}", "leave the other options out")
        _drop(abandon, wait, collection, json_output)
        return
    settings = index_settings(batch_size, workers, max_pixels, time_limit, decode_memory)

    def start(photos: Collection, stop: threading.Event) -> Iterator[Event]:
        return photos.reindex_events(
            model,
            drop_old=drop_old,
            allow_missing=allow_missing,
            device=device,
            precision=precision,
            settings=settings,
            wait=wait,
            stop=stop,
        )

    last = run(collection, start, "reindexing")
    assert isinstance(last, Reindexed)
    finish(last.summary, describe(last.summary), last.summary.missing, json_output)


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


def _drop(abandon: bool, wait: float, collection: str | None, json_output: bool) -> None:
    """Drop the embeddings of an unfinished reindex, or those of the models before."""
    from mmsearch.cli.console import dumps, say
    from mmsearch.collection.collection import Collection

    with Collection.open(collection, notice=say) as photos:
        dropped = [photos.abandon_reindex(wait=wait)] if abandon else photos.drop_old_models(wait=wait)
    if json_output:
        typer.echo(dumps({"dropped": dropped}))
    else:
        typer.echo(
            f"dropped the embeddings by {', '.join(dropped)}" if dropped else "no old embeddings to drop", err=True
        )
