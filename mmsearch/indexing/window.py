"""The window of work in flight that every run has: files being decoded, batches being encoded, the oldest stored first.

    next -> decode (a future) -> take, into a batch -> send to the encoder -> store, in order

What a run looks at, puts into a batch and stores are its own `Steps`; how far it goes ahead, when it looks whether the
user wants to stop, and when it says which file it waits for, are the same for all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mmsearch.base.events import Event, Progress

if TYPE_CHECKING:
    from mmsearch.images.pool import Decoded
    from mmsearch.indexing.encode import EncodingStage
    from mmsearch.indexing.settings import RunOptions

# Seconds between two looks at whether the user wants to stop.
TICK = 0.1

# Seconds after which a file that the run is waiting for is named.
_SLOW_FILE = 2.0

# Batches of decoded images that wait for the encoder, beside those that it has: one is full when it asks for the next.
_BATCHES_AHEAD = 2


class Waiting(Protocol):
    """A file in the window: `future` is None where there is nothing to decode; it was handed over at `since`."""

    future: Future[Decoded] | None
    since: float

    @property
    def path(self) -> str: ...


Entry = TypeVar("Entry", bound=Waiting)
Batch = TypeVar("Batch")


class Steps(Protocol[Entry, Batch]):
    """What one kind of run does with the window's entries and batches."""

    def next(self, patience: float) -> Generator[Event, None, Entry | None]:
        """Hand the next file to the decoder; None where there is none within `patience` seconds, or no more."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there are no more files to come."""
        ...

    def take(self, entry: Entry) -> Generator[Event, None, bool]:
        """Sort what became of a file into the current batch. False where it stays in the window for another try."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether the current batch should be sent."""
        ...

    def seal(self) -> Batch | None:
        """Hand the current batch to the encoder and begin the next one; None where there is nothing to store of it."""
        ...

    def store(self, batch: Batch) -> None:
        """Wait for a batch's embeddings, and store it in one transaction."""
        ...

    def asides(self) -> Iterator[Event]:
        """What other threads have to say."""
        ...

    def progress(self, *, loading: bool, waiting_for: str | None) -> Progress:
        """How far the run has come."""
        ...

    @property
    def has_pixels(self) -> bool:
        """Whether the current batch has images for the encoder."""
        ...


class Window(Generic[Entry, Batch]):
    """Runs `steps` until there are no more files or `how.stop` is set; what has been taken is stored in either case,
    unless the model was not there yet when it was set."""

    def __init__(self, steps: Steps[Entry, Batch], encoding: EncodingStage, how: RunOptions) -> None:
        self._steps = steps
        self._encoding = encoding
        self._settings = how.settings
        self._stop = how.stop
        self._entries: deque[Entry] = deque()
        self.in_flight: deque[Batch] = deque()

    @property
    def batch_size(self) -> int:
        """Images that are encoded together."""
        return self._settings.images_in_a_batch(self._encoding.loaded)

    @property
    def most_in_flight(self) -> int:
        """Batches that the encoder works at together."""
        encoder = self._encoding.loaded
        return encoder.concurrency if encoder else 1

    def run(self) -> Iterator[Event]:
        """The events of the whole flow, from the first file to the last batch stored."""
        while not self._stop.is_set():
            yield from self._look_ahead()
            if not self._entries and self._steps.finished:
                break
            if self._entries and self._is_decoded(self._entries[0]):
                yield from self._take_oldest()
            yield from self._steps.asides()
            yield self._progress()
        self._send()
        while self.in_flight:
            self._store_oldest()
            yield self._progress()

    def _look_ahead(self) -> Iterator[Event]:
        """Have files decoded that come next, as many as fill the batches ahead."""
        while len(self._entries) < _BATCHES_AHEAD * self.batch_size:
            entry = yield from self._steps.next(0 if self._entries else TICK)
            if entry is None:
                return
            self._entries.append(entry)

    @staticmethod
    def _is_decoded(entry: Waiting) -> bool:
        return entry.future is None or bool(wait([entry.future], TICK).done)

    def _take_oldest(self) -> Iterator[Event]:
        done = yield from self._steps.take(self._entries[0])
        if not done:
            return
        self._entries.popleft()
        if self._steps.is_full:
            self._send()
            while len(self.in_flight) > self.most_in_flight:
                self._store_oldest()

    def _send(self) -> None:
        batch = self._steps.seal()
        if batch is not None:
            self.in_flight.append(batch)

    def _store_oldest(self) -> None:
        """Store the batch that was sent first; it stays in flight until it is stored."""
        self._steps.store(self.in_flight[0])
        self.in_flight.popleft()

    def _progress(self) -> Progress:
        first: Any = self._entries[0] if self._entries else None
        slow = first is not None and first.future is not None and time.monotonic() - first.since > _SLOW_FILE
        return self._steps.progress(
            loading=self._encoding.loaded is None and self._steps.has_pixels,
            waiting_for=first.path if slow else None,
        )
