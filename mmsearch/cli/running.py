"""Run what takes long, `index` and `reindex`: options, events on the terminal, Ctrl-C in good order, the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from mmsearch.cli import interrupts, trusting
from mmsearch.cli.options import Running
from mmsearch.cli.progress import ProgressBar

if TYPE_CHECKING:
    from mmsearch.base.events import Event, ReindexSummary, Summary
    from mmsearch.collection.collection import Collection
    from mmsearch.indexing.settings import RunWords


def run_words(given: Running, stop: threading.Event) -> RunWords:
    """What the options ask of a run, as the methods of `Collection` take it; memory is given in megabytes."""
    from mmsearch.indexing.settings import IndexSettings

    memory = given["decode_memory"]
    settings = IndexSettings(
        batch_size=given["batch_size"],
        workers=given["workers"],
        max_pixels=given["max_pixels"],
        time_limit=given["time_limit"],
        decode_memory=memory * 1_000_000 if memory else None,
    )
    return {
        "device": given["device"],
        "precision": given["precision"],
        "settings": settings,
        "wait": given["wait"],
        "stop": stop,
    }


def run(given: Running, start: Callable[[Collection, RunWords], Iterator[Event]], doing: str = "indexing") -> Event:
    """Show the events that `start` gives for the collection, run as the options ask; returns the last one.

    Without `--trust-model` a terminal is asked whether to trust the collection's model before anything begins.
    The first Ctrl-C (or SIGTERM) sets `stop` of the words that `start` is given, the second raises KeyboardInterrupt.
    """
    from mmsearch.base.errors import CollectionBusyError
    from mmsearch.collection.collection import Collection

    with Collection.open(given["collection"], trust_model=trusting.answer(given["trust_model"])) as photos:
        photos.settle_trust()
    stop = threading.Event()
    interrupts.stop_softly(stop.set)
    words = run_words(given, stop)
    last: Event | None = None
    with ProgressBar(doing) as bar, Collection.open(given["collection"], notice=bar.say) as photos:
        try:
            for last in start(photos, words):
                bar.show(last)
        except CollectionBusyError:
            if stop.is_set():  # while it waited for its turn
                raise typer.Abort from None
            raise
    assert last is not None
    return last


def finish(summary: Summary | ReindexSummary, lines: Sequence[str], left_out: int, json_output: bool) -> None:
    """Tell how a run has ended: its summary as JSON on stdout, or the closing lines on stderr.

    Raises `typer.Exit` with `INTERRUPTED` where the user has interrupted it, with 3 where `left_out` files are not in
    it.
    """
    from mmsearch.cli.console import dumps, tell

    if json_output:
        typer.echo(dumps(summary.to_json()))
    else:
        tell(lines, to_stderr=True)
    if summary.interrupted:
        raise typer.Exit(interrupts.INTERRUPTED)
    if left_out:
        raise typer.Exit(3)
