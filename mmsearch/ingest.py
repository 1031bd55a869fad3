"""The index flow: scan -> decode -> encode -> store. Yields events, prints nothing.

A scanner thread walks the roots and lists what is to do; worker processes hash, decode and preprocess; this thread
encodes batches and stores each in one transaction, in the order of the scan, so that the same photos always give the
same catalog.
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

from mmsearch import config, scan
from mmsearch.decode_pool import Decoded, DecodePool
from mmsearch.errors import ModelMismatchError
from mmsearch.events import Event, Finished, Notice, Progress, Skipped, Summary
from mmsearch.refresh import refresh_vectors
from mmsearch.store.catalog import Catalog, StoredEncoder, now
from mmsearch.types import Encoder, FileRecord, Preprocess, ScanOptions
from mmsearch.work_list import Work, WorkList

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seconds between two looks at whether the user wants to stop.
_TICK = 0.1

# Entries (reused embeddings, failures, removals) that are stored at the latest, even if no batch is full.
_MOST_UNSTORED = 1000


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How to index. `workers` 0 means one for each core; `batch_size` is in images, `time_limit` in seconds a file."""

    batch_size: int = config.DEFAULT_BATCH_SIZE
    workers: int = 0
    max_pixels: int = config.DEFAULT_MAX_PIXELS
    time_limit: float = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to scan: `path` is `root` or lies below it; patterns of `options` are relative to `root`. Absolute."""

    path: str
    root: str
    options: ScanOptions


@dataclass(slots=True)
class _Scanned:
    """What the scanner has found so far (written by its thread alone)."""

    to_do: int = 0
    unchanged: int = 0
    skipped: deque[Skipped] = field(default_factory=deque)
    error: BaseException | None = None


class Indexer:
    """One index run over some roots of a collection whose writer lock the caller holds."""

    def __init__(
        self,
        catalog: Catalog,
        places: Sequence[Place],
        load_encoder: Callable[[], Encoder],
        settings: IndexSettings,
        stop: threading.Event,
        notices: deque[Notice],
    ) -> None:
        """`load_encoder` is called at most once, from a thread of its own, and not at all where nothing needs encoding;
        setting `stop` ends the run after the batch in flight; what is put into `notices` meanwhile becomes events."""
        self._catalog = catalog
        self._places = places
        self._notices = notices
        self._settings = settings
        self._stop = stop
        self._encoder = _LazyEncoder(load_encoder)
        self._stored = catalog.encoder()
        self._lookup = _Lookup(catalog.folder)
        self._scanned = _Scanned()
        self._work = WorkList()
        self._batch: list[Work | Decoded] = []
        self._fresh: dict[bytes, int] = {}
        self._summary = Summary()
        self._arrived: Counter[int] = Counter()
        self._left: Counter[int] = Counter()
        self._done = 0

    def run(self) -> Iterator[Event]:
        """Index, yielding events; the last one is `Finished`, unless an error is raised."""
        started, started_at = time.perf_counter(), now()
        scanner = threading.Thread(target=self._scan, name="scan", daemon=True)
        scanner.start()
        try:
            yield from self._index()
        finally:
            self._stop_scanner(scanner)
            self._lookup.close()
        if self._scanned.error:
            raise self._scanned.error
        yield from self._asides()
        yield Finished(self._close(started, started_at))

    # --- scanning (in its own thread) ---

    def _scan(self) -> None:
        try:
            with Catalog(self._catalog.folder, write=False) as catalog:
                for place in self._places:
                    self._scan_place(catalog, place)
        except BaseException as error:  # handed over to the main thread
            self._scanned.error = error
        finally:
            self._work.close()

    def _scan_place(self, catalog: Catalog, place: Place) -> None:
        unreadable: list[str] = []

        def report(path: str, error: OSError) -> None:
            unreadable.append(path)
            self._scanned.skipped.append(Skipped(path, error.strerror or str(error)))

        seen: set[int] = set()
        for folder in scan.walk(place.path, place.root, place.options, report):
            if self._stop.is_set():
                return
            number = catalog.folder_id(folder.path)
            if number is None:
                changes = scan.compare(folder.files, {})
            else:
                seen.add(number)
                known, failed = catalog.known_files(number), catalog.failed_files(number)
                changes = scan.compare(folder.files, known, failed=failed, unreadable=folder.unreadable)
            self._list(folder, changes)
        for number, path in catalog.folders_at(place.path):
            if number not in seen and not any(_is_within(path, failed) for failed in unreadable):
                self._list(scan.Folder(path, {}), scan.compare({}, catalog.known_files(number)))

    def _list(self, folder: scan.Folder, changes: scan.FolderChanges) -> None:
        self._scanned.unchanged += changes.unchanged
        self._scanned.to_do += len(changes.new) + len(changes.changed) + len(changes.gone)
        for name in sorted([*changes.new, *changes.changed]):
            path = os.path.join(folder.path, os.fsdecode(name))
            self._work.put(Work("file", FileRecord(path, *folder.files[name])))
        for name in changes.gone:
            self._work.put(Work("gone", FileRecord(os.path.join(folder.path, os.fsdecode(name)), 0, 0)))

    def _stop_scanner(self, scanner: threading.Thread) -> None:
        if not self._work.finished:
            self._stop.set()
        scanner.join()
        self._work.discard()

    # --- decoding, encoding, storing ---

    def _index(self) -> Iterator[Event]:
        waiting: deque[tuple[Work, Future[Decoded] | None]] = deque()
        window = 2 * self._settings.batch_size
        with ExitStack() as stack:
            pool: DecodePool | None = None
            while not self._stop.is_set():
                while len(waiting) < window and (work := self._work.get(0 if waiting else _TICK)):
                    if work.kind == "file" and pool is None:
                        pool = stack.enter_context(self._open_pool())
                    waiting.append((work, pool.submit(work.record) if pool and work.kind == "file" else None))
                if not waiting and self._work.finished:
                    break
                yield from self._asides()
                if waiting and self._is_ready(waiting[0][1]):
                    yield from self._take(*waiting.popleft())
                yield Progress(self._done, self._scanned.to_do, self._summary.encoded, self._work.finished)
        yield from self._flush()

    def _is_ready(self, future: Future[Decoded] | None) -> bool:
        return future is None or bool(wait([future], timeout=_TICK).done)

    def _open_pool(self) -> DecodePool:
        return DecodePool(
            self._preprocess(),
            workers=self._settings.workers or _cores(),
            max_pixels=self._settings.max_pixels,
            known=self._lookup.knows,
            time_limit=self._settings.time_limit,
        )

    def _preprocess(self) -> Preprocess:
        """A collection knows how its images are prepared; a new one has to wait for its encoder."""
        return self._stored.info.preprocess if self._stored else self._encoder.get().info.preprocess

    def _take(self, work: Work, future: Future[Decoded] | None) -> Iterator[Event]:
        if future is None:
            self._batch.append(work)
        else:
            decoded = future.result()
            if decoded.reason and not decoded.ignored:
                yield Skipped(decoded.record.path, decoded.reason)
            if decoded.pixels is not None:
                self._encoder.start()
                if decoded.content_hash in self._fresh or self._lookup.knows(decoded.content_hash):
                    decoded = Decoded(decoded.record, decoded.content_hash)
                else:
                    self._fresh[decoded.content_hash] = len(self._fresh)
            self._batch.append(decoded)
        if len(self._fresh) >= self._settings.batch_size or len(self._batch) >= _MOST_UNSTORED:
            yield from self._flush()

    def _flush(self) -> Iterator[Event]:
        """Encode what is waiting and store it, in one transaction."""
        if not self._batch:
            return
        pixels = [entry.pixels for entry in self._batch if isinstance(entry, Decoded) and entry.pixels is not None]
        embeddings = self._encode(pixels) if pixels else None
        counts = Summary()
        arrived: list[int] = []
        left: list[int] = []
        with self._catalog.transaction():
            for entry in self._batch:
                if isinstance(entry, Work):
                    content = self._catalog.remove_file(entry.record.path)
                    left += [content] if content is not None else []
                    counts.removed += content is not None
                elif entry.reason:
                    self._catalog.put_failure(entry.record, entry.reason, ignored=entry.ignored, retry=entry.retry)
                    counts.skipped += not entry.ignored
                else:
                    self._store(entry, embeddings, counts, arrived)
        self._count(counts, len(pixels), arrived, left)
        yield Progress(self._done, self._scanned.to_do, self._summary.encoded, self._work.finished)

    def _encode(self, pixels: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        import numpy as np

        encoder = self._encoder.get()
        if self._stored is None:
            with self._catalog.transaction():
                self._stored = self._catalog.set_encoder(encoder.info)
        _check_same_model(self._stored, encoder)
        return encoder.encode_images(np.stack(pixels))

    def _store(
        self, entry: Decoded, embeddings: NDArray[np.float32] | None, counts: Summary, arrived: list[int]
    ) -> None:
        content = self._catalog.content_id(entry.content_hash)
        reused = content is not None
        if content is None:
            assert entry.facts is not None and embeddings is not None and self._stored is not None
            content = self._catalog.add_content(entry.content_hash, entry.facts)
            self._catalog.put_embedding(self._stored.id, content, embeddings[self._fresh[entry.content_hash]])
        before = self._catalog.put_image(entry.record, content)
        if before is None:
            counts.new += 1
            arrived += [content] if reused else []
        elif before == content:
            counts.unchanged += 1
        else:
            counts.changed += 1

    def _count(self, counts: Summary, encoded: int, arrived: list[int], left: list[int]) -> None:
        """What is stored counts; called after the transaction."""
        for name in ("new", "changed", "unchanged", "removed", "skipped"):
            setattr(self._summary, name, getattr(self._summary, name) + getattr(counts, name))
        self._summary.encoded += encoded
        self._arrived.update(arrived)
        self._left.update(left)
        self._done += len(self._batch)
        self._batch, self._fresh = [], {}

    def _asides(self) -> Iterator[Event]:
        """What other threads have to say."""
        while self._notices:
            yield self._notices.popleft()
        while self._scanned.skipped:
            self._summary.skipped += 1
            yield self._scanned.skipped.popleft()

    # --- closing ---

    def _close(self, started: float, started_at: str) -> Summary:
        summary = self._summary
        summary.moved = (self._arrived & self._left).total()
        summary.new -= summary.moved
        summary.removed -= summary.moved
        summary.unchanged += self._scanned.unchanged
        summary.interrupted = self._stop.is_set()
        if self._stored:
            summary.model = self._stored.info.spec
        if self._encoder.loaded:
            summary.device, summary.precision = self._encoder.get().device, self._encoder.get().precision
        summary.total = self._catalog.count_images()
        summary.known_failures = max(0, self._catalog.count_failures() - summary.skipped)
        summary.seconds = time.perf_counter() - started
        summary.images_per_s = summary.encoded / summary.seconds if summary.seconds else 0.0
        with self._catalog.transaction():
            self._catalog.drop_released()
            self._catalog.add_run(started_at, summary.to_json())
        if self._stored and not summary.interrupted:
            refresh_vectors(self._catalog, self._stored)
        return summary


class _LazyEncoder:
    """Loads the encoder in a thread of its own when it is first wanted."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._future: Future[Encoder] | None = None

    @property
    def loaded(self) -> bool:
        return self._future is not None and self._future.done()

    def start(self) -> None:
        if self._future is None:
            future: Future[Encoder] = Future()
            threading.Thread(target=self._fill, args=(future,), name="load", daemon=True).start()
            self._future = future

    def get(self) -> Encoder:
        self.start()
        assert self._future is not None
        return self._future.result()

    def _fill(self, future: Future[Encoder]) -> None:
        try:
            future.set_result(self._load())
        except BaseException as error:  # raised again in the thread that asks
            future.set_exception(error)


class _Lookup:
    """Which contents are stored already, for the decoding threads."""

    def __init__(self, folder: Path) -> None:
        self._catalog = Catalog(folder, write=False)
        self._lock = threading.Lock()

    def knows(self, content_hash: bytes) -> bool:
        with self._lock:
            return self._catalog.content_id(content_hash) is not None

    def close(self) -> None:
        with self._lock:
            self._catalog.close()


def _check_same_model(stored: StoredEncoder, encoder: Encoder) -> None:
    if stored.info.fingerprint != encoder.info.fingerprint:
        raise ModelMismatchError(
            f"the files of model {encoder.info.spec} are not those that the collection was built with",
            "restore them, or index into another collection with -C",
        )


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _is_within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip(os.sep) + os.sep)
