"""Change a collection's model: fill in embeddings by the new one beside those of the old one, then switch.

Queries use the old embeddings until the new ones, their vector files and the export of the model are complete; the
switch is one transaction. Every batch is one too, so a run that ends early, however it does, is gone on with by the
next. What is indexed meanwhile gets old embeddings, and is filled in with the rest.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmsearch.base.errors import ModelMismatchError
from mmsearch.base.events import Event, Notice, Progress, Reindexed, ReindexSummary, Skipped
from mmsearch.base.records import Encoder, FileRecord
from mmsearch.images.pool import Decoded, DecodePool
from mmsearch.indexing.encode import EncodingStage
from mmsearch.indexing.refresh import refresh_vectors
from mmsearch.indexing.settings import RunOptions
from mmsearch.indexing.window import Window
from mmsearch.store.catalog import Catalog, StoredEncoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Contents that are looked up at a time.
_PAGE = 500

_NOT_THERE = {os.strerror(code) for code in (errno.ENOENT, errno.ENOTDIR)}


@dataclass(slots=True)
class _Waiting:
    """A content in the decoding window: `future` is of one of its files, `others` have not been tried."""

    content_id: int
    content_hash: bytes
    others: deque[FileRecord]
    future: Future[Decoded] | None
    path: str = ""
    since: float = field(default_factory=time.monotonic)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    has_changed: bool = False


@dataclass(frozen=True, slots=True)
class _Batch:
    ids: list[int]
    embeddings: Future[NDArray[np.float32]]


class Reindexer:
    """One reindex of a collection whose writer lock the caller holds."""

    def __init__(
        self,
        catalog: Catalog,
        target: StoredEncoder,
        load_encoder: Callable[[], Encoder],
        prepare: Callable[[Encoder], None],
        how: RunOptions,
        *,
        allow_missing: bool = False,
    ) -> None:
        """`target` is in the catalog already. `load_encoder` is called at most once, from a thread of its own, and not
        at all where nothing is to be encoded; `prepare` is given the encoder before queries use it. Setting `how.stop`
        ends the run after the batch in flight. With `allow_missing` it switches although some files cannot be read,
        but not where that was for want of memory, processes or open files: most of them are as they should be."""
        self._catalog = catalog
        self._target = target
        self._prepare = prepare
        self._settings = how.settings
        self._stop = how.stop
        self._allow_missing = allow_missing
        self._encoding = EncodingStage(load_encoder)
        before = catalog.encoders.current()
        assert before is not None
        self._summary = ReindexSummary(target.info.spec, before.info.spec if before != target else "")
        self.finished = False
        self._short = 0
        self._expected: set[bytes] = set()
        self._ids: list[int] = []
        self._pixels: list[NDArray[np.uint8]] = []
        self._window: Window[_Waiting, _Batch] = Window(self, self._encoding, how)
        self._stack = ExitStack()
        self._pool: DecodePool | None = None
        self._rest: Iterator[_Waiting] | None = None
        self._to_do = self._done = 0

    def run(self) -> Iterator[Event]:
        """Reindex, yielding events; the last one is `Reindexed`, unless an error is raised."""
        started = time.perf_counter()
        with self._catalog.transaction():
            self._catalog.contents.drop_released()
        self._summary.total = self._catalog.contents.count()
        self._to_do = self._catalog.embeddings.count_lacking(self._target.id)
        if 0 < self._to_do < self._summary.total:
            there = self._summary.total - self._to_do
            yield Notice(f"{there:,} of {self._summary.total:,} images already have an embedding by {self._spec}")
        try:
            with self._stack:
                yield from self._window.run()
        finally:
            self._encoding.close()
        self._summary.interrupted = self._stop.is_set()
        if self._short and self._allow_missing and not self._summary.interrupted:
            yield Notice(f"{self._short:,} of the files may be read by another try, so the model is not changed yet")
        elif not self._summary.interrupted and (self._allow_missing or not self._summary.missing):
            yield from self._switch()
        yield Reindexed(self._close(started))

    @property
    def _spec(self) -> str:
        return self._target.info.spec

    # --- decoding ---

    def next(self, patience: float) -> Generator[Event, None, _Waiting | None]:
        """Hand the next content without a new embedding to the decoder."""
        yield from ()
        self._rest = self._rest or self._wanted()
        entry = next(self._rest, None)
        self.finished = entry is None
        if entry is not None:
            self._expected.add(entry.content_hash)
            self._submit(entry)
        return entry

    def _wanted(self) -> Iterator[_Waiting]:
        """The contents without a new embedding, by id, with their files."""
        for rows in self._catalog.embeddings.lacking(self._target.id, _PAGE):
            images = self._catalog.files.of_contents([number for number, _ in rows])
            for number, content_hash in rows:
                files = [FileRecord(image.path, image.size, image.mtime_ns) for image in images.get(number, [])]
                yield _Waiting(number, content_hash, deque(files), None)

    def _is_not_awaited(self, content_hash: bytes) -> bool:
        """Whether a file's pixels can be spared: it has changed since it was indexed."""
        return content_hash not in self._expected

    def _submit(self, entry: _Waiting) -> None:
        if self._pool is None:
            preprocess, opened = self._target.info.preprocess, self._catalog.formats()
            pool = self._settings.open_pool(preprocess, self._is_not_awaited, opened)
            self._pool = self._stack.enter_context(pool)
        record = entry.others.popleft() if entry.others else None
        entry.future = self._pool.submit(record) if record else None
        entry.path, entry.since = record.path if record else "", time.monotonic()

    def take(self, entry: _Waiting) -> Generator[Event, None, bool]:
        """Put an image into the batch, or try its next file, or count it as missing."""
        decoded = entry.future.result() if entry.future else None
        if decoded and decoded.pixels is not None and decoded.content_hash == entry.content_hash:
            self._encoding.start()
            self._ids.append(entry.content_id)
            self._pixels.append(decoded.pixels)
        else:
            if decoded and decoded.reason:
                entry.reasons.append((entry.path, decoded.reason))
            entry.has_changed |= bool(decoded and not decoded.reason)
            if entry.others:
                self._submit(entry)
                return False
            yield from self._count_missing(entry)
            self._short += bool(decoded and decoded.short)
            self._done += 1
        self._expected.discard(entry.content_hash)
        return True

    @property
    def is_full(self) -> bool:
        """Whether the batch has the images that are encoded together."""
        return len(self._ids) >= self._window.batch_size

    @property
    def has_pixels(self) -> bool:
        """Whether images wait for the encoder."""
        return bool(self._pixels)

    def _count_missing(self, entry: _Waiting) -> Iterator[Event]:
        unreadable = [(path, reason) for path, reason in entry.reasons if reason not in _NOT_THERE]
        if unreadable:
            self._summary.unreadable += 1
            yield from (Skipped(path, reason) for path, reason in unreadable)
        elif entry.has_changed:
            self._summary.changed += 1
        else:
            self._summary.gone += 1

    # --- encoding and storing ---

    def seal(self) -> _Batch | None:
        """Hand the current batch to the encoder and begin the next one."""
        import numpy as np

        if not self._ids:
            return None
        _check_same_model(self._target, self._encoding.get())
        batch = _Batch(self._ids, self._encoding.submit(np.stack(self._pixels)))
        self._ids, self._pixels = [], []
        return batch

    def store(self, batch: _Batch) -> None:
        """Store a batch in one transaction, when its embeddings are there."""
        embeddings = batch.embeddings.result()
        with self._catalog.transaction():
            for content_id, embedding in zip(batch.ids, embeddings, strict=True):
                self._catalog.embeddings.put(self._target.id, content_id, embedding)
        self._summary.encoded += len(batch.ids)
        self._done += len(batch.ids)

    def asides(self) -> Iterator[Event]:
        """Nothing: no other thread has anything to say."""
        return iter(())

    # --- the end ---

    def _switch(self) -> Iterator[Event]:
        lines: list[str] = []
        refresh_vectors(self._catalog, self._target, notice=lines.append)
        yield from map(Notice, lines)
        if self._encoding.loaded:
            self._prepare(self._encoding.loaded)
        with self._catalog.transaction():
            self._catalog.encoders.switch_to(self._target.id)
        self._summary.switched = True

    def _close(self, started: float) -> ReindexSummary:
        summary = self._summary
        encoder = self._encoding.loaded
        if encoder and summary.encoded:
            summary.device, summary.precision = encoder.device, encoder.precision
        summary.seconds = time.perf_counter() - started
        summary.images_per_s = summary.encoded / summary.seconds if summary.seconds else 0.0
        return summary

    def progress(self, *, loading: bool, waiting_for: str | None) -> Progress:
        """How far the run has come."""
        return Progress(self._done, self._to_do, scanned=True, loading=loading, waiting_for=waiting_for)


def _check_same_model(target: StoredEncoder, encoder: Encoder) -> None:
    if target.info.fingerprint != encoder.info.fingerprint:
        raise ModelMismatchError(
            f"the files of model {encoder.info.spec} are not those that made its embeddings in the collection",
            "restore them, or drop these embeddings first: `mmsearch reindex --abandon` if the reindex is unfinished,"
            " otherwise --drop-old",
        )
