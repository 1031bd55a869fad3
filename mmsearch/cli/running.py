"""Run what takes long: its events on the terminal, Ctrl-C that ends it in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.progress import ProgressBar

if TYPE_CHECKING:
    from mmsearch.collection import Collection
    from mmsearch.events import Event


def run(
    collection: str | None, start: Callable[[Collection, threading.Event], Iterator[Event]], doing: str = "indexing"
) -> Event:
    """Show the events that `start` gives for a collection; returns the last one.

    The first Ctrl-C sets the event that `start` is given, the second raises KeyboardInterrupt.
    """
    from mmsearch.collection import Collection
    from mmsearch.errors import CollectionBusyError

    stop = threading.Event()

    def interrupt(*_: object) -> None:
        if stop.is_set():  # the second time the user means it
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, interrupt)
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
