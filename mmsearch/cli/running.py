"""Run what takes long, `index` and `reindex`: settings, events on the terminal, Ctrl-C in good order, the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.progress import ProgressBar

if TYPE_CHECKING:
    from mmsearch.base.events import Event, ReindexSummary, Summary
    from mmsearch.collection.collection import Collection
    from mmsearch.indexing.settings import IndexSettings


def index_settings(
    batch_size: int, workers: int, max_pixels: int, time_limit: float, decode_memory: int | None
) -> IndexSettings:
    """The settings that the options of these names ask for; `decode_memory` is in megabytes."""
    from mmsearch.indexing.settings import IndexSettings

    return IndexSettings(
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        time_limit=time_limit,
        decode_memory=decode_memory * 1_000_000 if decode_memory else None,
    )


def stop_on_interrupt() -> threading.Event:
    """An event that the first Ctrl-C from now on sets; the second raises KeyboardInterrupt."""
    stop = threading.Event()

    def interrupt(*_: object) -> None:
        if stop.is_set():  # the second time the user means it
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, interrupt)
    return stop


def run(
    collection: str | None, start: Callable[[Collection, threading.Event], Iterator[Event]], doing: str = "indexing"
) -> Event:
    """Show the events that `start` gives for a collection; returns the last one.

    The first Ctrl-C sets the event that `start` is given, the second raises KeyboardInterrupt.
    """
    from mmsearch.base.errors import CollectionBusyError
    from mmsearch.collection.collection import Collection

    stop = stop_on_interrupt()
    last: Event | None = None
    with ProgressBar(doing) as bar, Collection.open(collection, notice=bar.say) as photos:
        try:
            for last in start(photos, stop):
                bar.show(last)
        except CollectionBusyError:
            if stop.is_set():  # while it waited for its turn
                raise typer.Abort from None
            raise
    assert last is not None
    return last


def finish(summary: Summary | ReindexSummary, lines: Sequence[str], left_out: int, json_output: bool) -> None:
    """Tell how a run has ended: its summary as JSON on stdout, or the closing lines on stderr.

    Raises `typer.Exit` with 130 where the user has interrupted it, with 3 where `left_out` files are not in it.
    """
    if json_output:
        from mmsearch.cli.console import dumps

        typer.echo(dumps(summary.to_json()))
    else:
        for line in lines:
            typer.echo(line, err=True)
    if summary.interrupted:
        raise typer.Exit(130)
    if left_out:
        raise typer.Exit(3)
