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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.base.errors import MMSearchError, ModelMismatchError
from mmsearch.base.events import Breakdown, Event, Finished, Notice, Progress, Skipped, Summary
from mmsearch.base.records import Encoder, FileRecord, Preprocess
from mmsearch.base.text import unforeseen
from mmsearch.images.formats import reader
from mmsearch.images.pool import Decoded, DecodePool
from mmsearch.indexing.encode import EncodingStage
from mmsearch.indexing.passed_over import Kind, kind_of_file, ordered
from mmsearch.indexing.refresh import refresh_vectors
from mmsearch.indexing.scan_thread import Scanner, Subtree
from mmsearch.indexing.settings import RunOptions
from mmsearch.indexing.window import TICK, Window
from mmsearch.indexing.work_list import Work
from mmsearch.rendering.text import number
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.database import now
from mmsearch.store.filling import fill_small

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

# Entries (reused embeddings, failures, removals) that are stored at the latest, even if no batch is full.
_MOST_UNSTORED = 1000


@dataclass(slots=True)
class _Batch:
    """Entries to be stored together. `fresh` has the row among `pixels` of each content that is to be encoded."""

    entries: list[Work | Decoded] = field(default_factory=list)
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    fresh: dict[bytes, int] = field(default_factory=dict)
    embeddings: Future[NDArray[np.float32]] | None = None


@dataclass(slots=True)
class _Waiting:
    """A file in the decoding window; `future` is None for one that is not to be read."""

    work: Work
    future: Future[Decoded] | None
    since: float

    @property
    def path(self) -> str:
        return self.work.record.path


class Indexer:
    """One index run over some folders of a collection whose writer lock the caller holds."""

    def __init__(
        self,
        catalog: Catalog,
        subtrees: Sequence[Subtree],
        load_encoder: Callable[[], Encoder],
        expect: Callable[[], Preprocess | None],
        how: RunOptions,
        notices: deque[Notice],
        *,
        with_model: Callable[[], None],
        force: bool = False,
        offline: Sequence[str] = (),
    ) -> None:
        """`load_encoder` is called at most once, from a thread of its own, and not at all where nothing needs encoding;
        `expect` says what it will ask for, if that can be known sooner; setting `how.stop` ends the run after the batch
        in flight; what is put into `notices` meanwhile becomes events. `with_model` is called in the transaction that
        stores the model of a collection that has none. With `force` contents that are known are encoded again. Files of
        the roots `offline` may turn up elsewhere."""
        self._catalog = catalog
        self._settings = how.settings
        self._expect = expect
        self._preprocess: Preprocess | None = None
        self._stop = how.stop
        self._notices = notices
        self._with_model = with_model
        self._offline = offline
        self._scanner = Scanner(catalog.folder, subtrees, how.stop)
        self._encoding = EncodingStage(load_encoder)
        self._stored = catalog.encoders.current()
        self._lookup = _Lookup(catalog.folder, force=force)
        self._reader = reader()
        self._unstored: deque[Skipped] = deque()
        self._batch = _Batch()
        self._window: Window[_Waiting, _Batch] = Window(self, self._encoding, how)
        self._stack = ExitStack()
        self._pool: DecodePool | None = None
        self._summary = Summary()
        self._arrived: Counter[int] = Counter()
        self._left: Counter[int] = Counter()
        self._passed_over: Counter[Kind] = Counter()
        self._unread = self._done = 0
        self._decode_seconds = self._store_seconds = 0.0

    def run(self) -> Iterator[Event]:
        """Index, yielding events; the last one is `Finished`, unless an error is raised."""
        started, started_at = time.perf_counter(), now()
        self._scanner.start()
        try:
            with self._stack:
                yield from self._window.run()
        finally:
            self._encoding.close()
            self._lookup.close()
            self._scanner.close()
        self._find_moved()
        yield from self.asides()
        yield Finished(self._close(started, started_at))

    # --- decoding ---

    def next(self, patience: float) -> Generator[Event, None, _Waiting | None]:
        """Hand the next file of the scan to the decoder."""
        work = self._scanner.work.get(patience)
        if not work:
            return None
        if work.kind == "file" and self._pool is None:
            yield from self._wait_for_preprocess()
            if self._preprocess is None:  # stopped meanwhile
                return None
            pool = self._settings.open_pool(self._preprocess, self._lookup.knows, self._catalog.formats())
            self._pool = self._stack.enter_context(pool)
        future = self._pool.submit(work.record) if self._pool and work.kind == "file" else None
        return _Waiting(work, future, time.monotonic())

    @property
    def finished(self) -> bool:
        """Whether the scan has ended, and all that it found has been handed on."""
        return self._scanner.work.finished

    def _wait_for_preprocess(self) -> Iterator[Event]:
        """A collection knows how its images are prepared, and most models' settings say so; else it is loaded."""
        if self._stored:
            self._preprocess = self._stored.info.preprocess
            return
        self._encoding.start()
        self._preprocess = self._expect()
        yield from self.asides()
        while self._preprocess is None and not self._stop.is_set():
            if self._encoding.ready(TICK):
                self._preprocess = self._encoding.get().info.preprocess
            yield from self.asides()

    def take(self, entry: _Waiting) -> Generator[Event, None, bool]:
        """Sort one file's outcome into the current batch."""
        if entry.future is None:
            self._batch.entries.append(entry.work)
        else:
            decoded = entry.future.result()
            self._decode_seconds += decoded.seconds
            if decoded.reason and not decoded.ignored:
                yield Skipped(decoded.record.path, decoded.reason)
            self._batch.entries.append(self._kept(decoded))
        return True

    @property
    def is_full(self) -> bool:
        """Whether the batch has the images that are encoded together, or much else to be stored."""
        return len(self._batch.pixels) >= self._window.batch_size or len(self._batch.entries) >= _MOST_UNSTORED

    @property
    def has_pixels(self) -> bool:
        """Whether images wait for the encoder."""
        return bool(self._batch.pixels)

    def _kept(self, decoded: Decoded) -> Decoded:
        """The outcome without its pixels, which go to the encoder unless the same content is there or on its way."""
        if decoded.pixels is None:
            return decoded
        self._encoding.start()
        content = decoded.content_hash
        batches = [self._batch, *self._window.in_flight]
        if not any(content in batch.fresh for batch in batches) and not self._lookup.knows(content):
            self._batch.fresh[content] = len(self._batch.pixels)
            self._batch.pixels.append(decoded.pixels)
        return Decoded(decoded.record, content, facts=decoded.facts)

    # --- encoding and storing ---

    def seal(self) -> _Batch | None:
        """Hand the current batch to the encoder and begin the next one."""
        import numpy as np

        batch, self._batch = self._batch, _Batch()
        if not batch.entries:
            return None
        if batch.pixels:
            if not self._has_model():
                return None  # the next run does it
            encoder = self._encoding.get()
            if self._stored is None:
                with self._catalog.transaction():
                    self._stored = self._catalog.encoders.start_with(encoder.info)
                    self._with_model()
            _check_same_model(self._stored, encoder)
            batch.embeddings = self._encoding.submit(np.stack(batch.pixels))
            self._summary.encoded += len(batch.pixels)
            batch.pixels = []
        return batch

    def _has_model(self) -> bool:
        """Wait for the encoder, which may take a download, but no longer than until the run is stopped."""
        while not self._encoding.ready(TICK):
            if self._stop.is_set():
                return False
        return True

    def store(self, batch: _Batch) -> None:
        """Store a batch in one transaction, when its embeddings are there."""
        embeddings = batch.embeddings.result() if batch.embeddings else None
        started = time.perf_counter()
        try:
            self._store_together(batch.entries, batch.fresh, embeddings)
        except (MMSearchError, OSError):
            raise
        except Exception:  # a fault of ours over one file must cost that file alone: see which it is
            for entry in batch.entries:
                self._store_alone(entry, batch.fresh, embeddings)
        self._done += len(batch.entries)
        self._store_seconds += time.perf_counter() - started

    def _store_alone(self, entry: Work | Decoded, fresh: Mapping[bytes, int], embeddings: Vectors | None) -> None:
        record = entry.record
        try:
            self._store_together([entry], fresh, embeddings)
        except (MMSearchError, OSError):
            raise
        except Exception as error:
            reason = unforeseen(error)
            self._unstored.append(Skipped(record.path, reason))
            with suppress(ValueError, OverflowError), self._catalog.transaction():
                self._catalog.files.put_failure(FileRecord(record.path, 0, -1), reason, ignored=False, retry=True)

    def _store_together(
        self, entries: Sequence[Work | Decoded], fresh: Mapping[bytes, int], embeddings: Vectors | None
    ) -> None:
        """Store outcomes in one transaction; `fresh` are the rows of `embeddings` by content hash."""
        counts, arrived, left, passed_over = Summary(), Counter[int](), Counter[int](), Counter[Kind]()
        stored: set[bytes] = set()
        with self._catalog.transaction():
            for entry in entries:
                if isinstance(entry, Work) and entry.kind == "same":
                    self._catalog.files.note(entry.record)
                elif isinstance(entry, Work):
                    content = self._catalog.files.remove(entry.record.path)
                    left.update([content] if content is not None else [])
                    counts.removed += content is not None
                elif entry.reason:
                    counts.kept += self._store_failure(entry)
                    counts.skipped += not entry.ignored
                    passed_over.update([kind_of_file(os.fsencode(entry.record.path))] if entry.ignored else [])
                else:
                    row = None if entry.content_hash in stored else fresh.get(entry.content_hash)
                    vector = embeddings[row] if embeddings is not None and row is not None else None
                    self._store_image(entry, vector, counts, arrived)
                    stored.add(entry.content_hash)
        for name in ("new", "changed", "unchanged", "removed", "skipped", "kept", "remarked"):
            setattr(self._summary, name, getattr(self._summary, name) + getattr(counts, name))
        self._arrived += arrived
        self._left += left
        self._passed_over += passed_over
        self._lookup.add(stored & fresh.keys())

    def _store_failure(self, entry: Decoded) -> bool:
        """Whether the file is still indexed, as it was before."""
        is_kept = self._catalog.files.put_failure(
            entry.record,
            entry.reason,
            ignored=entry.ignored,
            retry=entry.retry,
            content_hash=entry.content_hash,
        )
        self._catalog.files.note_refusal(entry.record, self._reader, entry.refused_by)
        return is_kept

    def _store_image(self, entry: Decoded, vector: Vectors | None, counts: Summary, arrived: Counter[int]) -> None:
        content = self._catalog.contents.id_of(entry.content_hash)
        reused = content is not None
        if content is None:
            assert entry.facts is not None
            content = self._catalog.contents.add(entry.content_hash, entry.facts)
        elif vector is not None and entry.facts is not None:
            self._catalog.contents.renew(content, entry.facts)
        if vector is not None:
            assert self._stored is not None
            self._catalog.embeddings.put(self._stored.id, content, vector)
        before = self._catalog.files.put_image(entry.record, content)
        counts.remarked += entry.facts is not None and entry.facts.remark is not None
        if before is None:
            counts.new += 1
            arrived.update([content] if reused else [])
        elif before == content:
            counts.unchanged += 1
        else:
            counts.changed += 1

    # --- telling ---

    def progress(self, *, loading: bool, waiting_for: str | None) -> Progress:
        """How far the run has come, of what is known to be done so far."""
        return Progress(self._done, self._scanner.to_do, self._scanner.work.finished, loading, waiting_for)

    def asides(self) -> Iterator[Event]:
        """What other threads have to say."""
        while self._notices:
            yield self._notices.popleft()
        while self._unstored:
            self._summary.skipped += 1
            yield self._unstored.popleft()
        while self._scanner.skipped:
            self._summary.skipped += 1
            self._unread += 1
            yield self._scanner.skipped.popleft()

    def _find_moved(self) -> None:
        """Forget files of missing roots that this run has found elsewhere, and the roots that have none left."""
        missing = [] if self._stop.is_set() else [path for path in self._offline if not os.path.lexists(path)]
        for root in missing:
            with self._catalog.transaction():
                contents = self._catalog.files.drop_moved(root, self._offline)
                is_empty = bool(contents) and not self._catalog.files.count(root)
                if is_empty:
                    self._catalog.roots.absorb(root)
            self._left.update(contents)
            self._summary.removed += len(contents)
            if contents:
                verb = "has" if len(contents) == 1 else "have"
                end = "none is left there" if is_empty else "the others are kept"
                found = f"{number(len(contents), 'image')} of {root} {verb} been found elsewhere; {end}"
                self._notices.append(Notice(found))

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
            self._catalog.contents.drop_released()
            if self._left:
                self._catalog.files.drop_empty_folders()
        fill_small(self._catalog)
        if self._stored and not summary.interrupted:
            refresh_vectors(self._catalog, self._stored)
        summary.total = self._catalog.files.count()
        summary.passed_over = ordered(self._scanner.passed_over + self._passed_over)
        summary.known_failures = max(0, self._catalog.files.count_failures() - summary.skipped + self._unread)
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
            encode=self._encoding.encode_seconds / self._window.most_in_flight,
            store=self._store_seconds,
        )


class _Lookup:
    """Which contents have an embedding already, for the decoding threads. With `force` only those of this run count."""

    def __init__(self, folder: Path, *, force: bool) -> None:
        self._catalog = Catalog(folder, write=False)
        self._encoder = self._catalog.encoders.current()
        self._lock = threading.Lock()
        self._force = force
        self._added: set[bytes] = set()

    def knows(self, content_hash: bytes) -> bool:
        with self._lock:
            if self._force:
                return content_hash in self._added
            self._encoder = self._encoder or self._catalog.encoders.current()
            return self._encoder is not None and self._catalog.embeddings.has(self._encoder.id, content_hash)

    def add(self, content_hashes: Iterable[bytes]) -> None:
        """Contents that have been stored, with their embeddings, in this run."""
        if self._force:
            with self._lock:
                self._added.update(content_hashes)

    def close(self) -> None:
        with self._lock:
            self._catalog.close()


def _check_same_model(stored: StoredEncoder, encoder: Encoder) -> None:
    if stored.info.fingerprint != encoder.info.fingerprint:
        raise ModelMismatchError.of(encoder.info.spec)
