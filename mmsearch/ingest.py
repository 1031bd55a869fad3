"""The index flow: scan -> decode -> encode -> store. Yields events, prints nothing.

A scanner thread walks the roots and lists what is to do; worker processes hash, decode and preprocess; other threads
encode batches; this one collects them and stores each in one transaction, in the order of the scan, so that the same
photos always give the same catalog.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch import config
from mmsearch.decode_pool import Decoded, DecodePool
from mmsearch.encoding import EncodingStage
from mmsearch.errors import ModelMismatchError
from mmsearch.events import Breakdown, Event, Finished, Notice, Progress, Skipped, Summary
from mmsearch.passed_over import Kind, kind_of_file, ordered
from mmsearch.refresh import refresh_vectors
from mmsearch.scanner import Place, Scanner
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.database import now
from mmsearch.types import Encoder, Preprocess
from mmsearch.work_list import Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seconds between two looks at whether the user wants to stop.
_TICK = 0.1

# Seconds after which a file that the run is waiting for is named.
_SLOW_FILE = 2.0

# Entries (reused embeddings, failures, removals) that are stored at the latest, even if no batch is full.
_MOST_UNSTORED = 1000

# Batches of decoded images that wait for the encoder, beside those that it has: one is full when it asks for the next.
_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How to index. 0 lets mmsearch choose: `workers` one a core, `batch_size` (in images) what suits the device.

    `decode_memory` is in bytes, for all workers together; None sets no bound on the sum.
    At most `2 x batch_size x (1 + devices)` decoded images (0.2 MB each at 256 pixels) are held at a time.
    """

    batch_size: int = 0
    workers: int = 0
    max_pixels: int = config.DEFAULT_MAX_PIXELS
    time_limit: float = config.DEFAULT_TIME_LIMIT
    decode_memory: int | None = None

    @property
    def processes(self) -> int:
        """How many worker processes are wanted."""
        return self.workers or config.available_cpus()

    def images_in_a_batch(self, encoder: Encoder | None) -> int:
        """How many images are encoded together, where this encoder is loaded or none is yet."""
        return self.batch_size or (encoder.batch_size if encoder else config.DEFAULT_BATCH_SIZE)

    def open_pool(self, how: Preprocess, known: Callable[[bytes], bool]) -> DecodePool:
        """The workers that decode images and prepare them as `how` says; `known` as `DecodePool` takes it."""
        return DecodePool(
            how,
            workers=self.processes,
            max_pixels=self.max_pixels,
            known=known,
            time_limit=self.time_limit,
            memory=self.decode_memory,
        )


@dataclass(slots=True)
class _Batch:
    """Entries to be stored together. `fresh` has the place among `pixels` of each content that is to be encoded."""

    entries: list[Work | Decoded] = field(default_factory=list)
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    fresh: dict[bytes, int] = field(default_factory=dict)
    embeddings: Future[NDArray[np.float32]] | None = None


@dataclass(slots=True)
class _Waiting:
    """A file in the decoding window; `future` is None for one that is gone."""

    work: Work
    future: Future[Decoded] | None
    since: float


class Indexer:
    """One index run over some places of a collection whose writer lock the caller holds."""

    def __init__(
        self,
        catalog: Catalog,
        places: Sequence[Place],
        load_encoder: Callable[[], Encoder],
        expect: Callable[[], Preprocess | None],
        settings: IndexSettings,
        stop: threading.Event,
        notices: deque[Notice],
    ) -> None:
        """`load_encoder` is called at most once, from a thread of its own, and not at all where nothing needs encoding;
        `expect` says what it will ask for, if that can be known sooner; setting `stop` ends the run after the batch in
        flight; what is put into `notices` meanwhile becomes events."""
        self._catalog = catalog
        self._settings = settings
        self._expect = expect
        self._preprocess: Preprocess | None = None
        self._stop = stop
        self._notices = notices
        self._scanner = Scanner(catalog.folder, places, stop)
        self._encoding = EncodingStage(load_encoder)
        self._stored = catalog.encoder()
        self._lookup = _Lookup(catalog.folder)
        self._batch = _Batch()
        self._in_flight: deque[_Batch] = deque()
        self._summary = Summary()
        self._arrived: Counter[int] = Counter()
        self._left: Counter[int] = Counter()
        self._passed_over: Counter[Kind] = Counter()
        self._done = 0
        self._decode_seconds = self._store_seconds = 0.0

    def run(self) -> Iterator[Event]:
        """Index, yielding events; the last one is `Finished`, unless an error is raised."""
        started, started_at = time.perf_counter(), now()
        self._scanner.start()
        try:
            yield from self._index()
        finally:
            self._encoding.close()
            self._lookup.close()
            self._scanner.close()
        yield from self._asides()
        yield Finished(self._close(started, started_at))

    # --- decoding ---

    def _index(self) -> Iterator[Event]:
        waiting: deque[_Waiting] = deque()
        with ExitStack() as stack:
            pool: DecodePool | None = None
            while not self._stop.is_set():
                while len(waiting) < self._window and (work := self._scanner.work.get(0 if waiting else _TICK)):
                    if work.kind == "file" and pool is None:
                        yield from self._wait_for_preprocess()
                        if self._preprocess is None:  # stopped meanwhile
                            break
                        pool = stack.enter_context(self._settings.open_pool(self._preprocess, self._lookup.knows))
                    future = pool.submit(work.record) if pool and work.kind == "file" else None
                    waiting.append(_Waiting(work, future, time.monotonic()))
                if not waiting and self._scanner.work.finished:
                    break
                if waiting and (waiting[0].future is None or wait([waiting[0].future], _TICK).done):
                    yield from self._take(waiting.popleft())
                yield from self._asides()
                yield self._progress(waiting)
        self._send()
        while self._in_flight:
            self._store_oldest()
            yield self._progress(waiting)

    @property
    def _batch_size(self) -> int:
        return self._settings.images_in_a_batch(self._encoding.loaded)

    @property
    def _window(self) -> int:
        return _BATCHES_AHEAD * self._batch_size

    def _wait_for_preprocess(self) -> Iterator[Event]:
        """A collection knows how its images are prepared, and most models' settings say so; else it is loaded."""
        if self._stored:
            self._preprocess = self._stored.info.preprocess
            return
        self._encoding.start()
        self._preprocess = self._expect()
        yield from self._asides()
        while self._preprocess is None and not self._stop.is_set():
            if self._encoding.ready(_TICK):
                self._preprocess = self._encoding.get().info.preprocess
            yield from self._asides()

    def _take(self, entry: _Waiting) -> Iterator[Event]:
        """Sort one file's outcome into the current batch."""
        if entry.future is None:
            self._batch.entries.append(entry.work)
        else:
            decoded = entry.future.result()
            self._decode_seconds += decoded.seconds
            if decoded.reason and not decoded.ignored:
                yield Skipped(decoded.record.path, decoded.reason)
            self._batch.entries.append(self._kept(decoded))
        if len(self._batch.pixels) >= self._batch_size or len(self._batch.entries) >= _MOST_UNSTORED:
            self._send()
            while len(self._in_flight) > self._most_in_flight:
                self._store_oldest()

    def _kept(self, decoded: Decoded) -> Decoded:
        """The outcome without its pixels, which go to the encoder unless the same content is there or on its way."""
        if decoded.pixels is None:
            return decoded
        self._encoding.start()
        content = decoded.content_hash
        batches = [self._batch, *self._in_flight]
        if not any(content in batch.fresh for batch in batches) and not self._lookup.knows(content):
            self._batch.fresh[content] = len(self._batch.pixels)
            self._batch.pixels.append(decoded.pixels)
        return Decoded(decoded.record, content, facts=decoded.facts)

    # --- encoding and storing ---

    @property
    def _most_in_flight(self) -> int:
        encoder = self._encoding.loaded
        return encoder.concurrency if encoder else 1

    def _send(self) -> None:
        """Hand the current batch to the encoder and begin the next one."""
        import numpy as np

        batch, self._batch = self._batch, _Batch()
        if not batch.entries:
            return
        if batch.pixels:
            if self._stored is None:
                with self._catalog.transaction():
                    self._stored = self._catalog.set_encoder(self._encoding.get().info)
            _check_same_model(self._stored, self._encoding.get())
            batch.embeddings = self._encoding.submit(np.stack(batch.pixels))
            self._summary.encoded += len(batch.pixels)
            batch.pixels = []
        self._in_flight.append(batch)

    def _store_oldest(self) -> None:
        """Store the batch that was sent first, in one transaction, when its embeddings are there."""
        batch = self._in_flight[0]
        embeddings = batch.embeddings.result() if batch.embeddings else None
        started = time.perf_counter()
        counts, arrived, left, passed_over = Summary(), Counter[int](), Counter[int](), Counter[Kind]()
        with self._catalog.transaction():
            for entry in batch.entries:
                if isinstance(entry, Work):
                    content = self._catalog.remove_file(entry.record.path)
                    left.update([content] if content is not None else [])
                    counts.removed += content is not None
                elif entry.reason:
                    self._catalog.put_failure(entry.record, entry.reason, ignored=entry.ignored, retry=entry.retry)
                    counts.skipped += not entry.ignored
                    passed_over.update([kind_of_file(os.fsencode(entry.record.path))] if entry.ignored else [])
                else:
                    self._store_image(entry, batch, embeddings, counts, arrived)
        self._in_flight.popleft()
        for name in ("new", "changed", "unchanged", "removed", "skipped"):
            setattr(self._summary, name, getattr(self._summary, name) + getattr(counts, name))
        self._arrived += arrived
        self._left += left
        self._passed_over += passed_over
        self._done += len(batch.entries)
        self._store_seconds += time.perf_counter() - started

    def _store_image(
        self,
        entry: Decoded,
        batch: _Batch,
        embeddings: NDArray[np.float32] | None,
        counts: Summary,
        arrived: Counter[int],
    ) -> None:
        content = self._catalog.content_id(entry.content_hash)
        reused = content is not None
        if content is None:
            assert entry.facts is not None
            content = self._catalog.add_content(entry.content_hash, entry.facts)
        place = batch.fresh.pop(entry.content_hash, None)
        if place is not None:
            assert embeddings is not None and self._stored is not None
            self._catalog.put_embedding(self._stored.id, content, embeddings[place])
        before = self._catalog.put_image(entry.record, content)
        if before is None:
            counts.new += 1
            arrived.update([content] if reused else [])
        elif before == content:
            counts.unchanged += 1
        else:
            counts.changed += 1

    # --- telling ---

    def _progress(self, waiting: deque[_Waiting]) -> Progress:
        slow = waiting and waiting[0].future is not None and time.monotonic() - waiting[0].since > _SLOW_FILE
        return Progress(
            done=self._done,
            total=self._scanner.to_do,
            scanned=self._scanner.work.finished,
            loading=self._encoding.loaded is None and bool(self._batch.pixels),
            waiting_for=waiting[0].work.record.path if slow else None,
        )

    def _asides(self) -> Iterator[Event]:
        """What other threads have to say."""
        while self._notices:
            yield self._notices.popleft()
        while self._scanner.skipped:
            self._summary.skipped += 1
            yield self._scanner.skipped.popleft()

    def _close(self, started: float, started_at: str) -> Summary:
        summary = self._summary
        summary.moved = (self._arrived & self._left).total()
        summary.new -= summary.moved
        summary.removed -= summary.moved
        summary.unchanged += self._scanner.unchanged
        summary.interrupted = self._stop.is_set()
        if self._stored:
            summary.model = self._stored.info.spec
        encoder = self._encoding.loaded
        if encoder:
            summary.device, summary.precision = encoder.device, encoder.precision
        with self._catalog.transaction():
            self._catalog.drop_released()
            if self._left:
                self._catalog.drop_empty_folders()
        if self._stored and not summary.interrupted:
            refresh_vectors(self._catalog, self._stored)
        summary.total = self._catalog.count_images()
        summary.passed_over = ordered(self._scanner.passed_over + self._passed_over)
        summary.known_failures = max(0, self._catalog.count_failures() - summary.skipped)
        summary.seconds = time.perf_counter() - started
        summary.images_per_s = summary.encoded / summary.seconds if summary.seconds else 0.0
        summary.breakdown = self._breakdown()
        with self._catalog.transaction():
            self._catalog.add_run(started_at, summary.to_json())
        return summary

    def _breakdown(self) -> Breakdown:
        return Breakdown(
            scan=self._scanner.seconds,
            decode=self._decode_seconds / self._settings.processes,
            load=self._encoding.load_seconds,
            encode=self._encoding.encode_seconds / self._most_in_flight,
            store=self._store_seconds,
        )


class _Lookup:
    """Which contents have an embedding already, for the decoding threads."""

    def __init__(self, folder: Path) -> None:
        self._catalog = Catalog(folder, write=False)
        self._encoder = self._catalog.encoder()
        self._lock = threading.Lock()

    def knows(self, content_hash: bytes) -> bool:
        with self._lock:
            self._encoder = self._encoder or self._catalog.encoder()
            return self._encoder is not None and self._catalog.has_embedding(self._encoder.id, content_hash)

    def close(self) -> None:
        with self._lock:
            self._catalog.close()


def _check_same_model(stored: StoredEncoder, encoder: Encoder) -> None:
    if stored.info.fingerprint != encoder.info.fingerprint:
        raise ModelMismatchError.of(encoder.info.spec)
