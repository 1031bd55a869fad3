"""The public class: one collection of images on disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from mmsearch.base import config
from mmsearch.base.errors import CollectionNotFoundError, MMSearchError
from mmsearch.base.paths import AnyPath, absolute
from mmsearch.base.records import CollectionInfo, Hit, ScanOptions
from mmsearch.collection.held_encoder import HeldEncoder
from mmsearch.query.parse import from_words
from mmsearch.query.query import Query
from mmsearch.query.words import SearchWords, Words
from mmsearch.store.catalog import Catalog
from mmsearch.store.connection import CATALOG_NAME

if TYPE_CHECKING:
    from mmsearch.base.events import Event, ReindexSummary, Summary
    from mmsearch.collection.findings import Finding
    from mmsearch.collection.originals import Originals
    from mmsearch.collection.recall import Measured
    from mmsearch.indexing.settings import RunWords
    from mmsearch.searching.search import Searcher
    from mmsearch.vectors.kinds import KindName


class Collection:
    """A collection: index folders into it, search it. Use as a context manager, or call `close`.

    One object may be used by one thread at a time; any number of processes may search a collection at once.
    """

    def __init__(self, path: Path, *, notice: Callable[[str], None], may_trust: Callable[[str], bool]) -> None:
        """Use `Collection.open`."""
        self._path = path
        self._notice = notice
        self._reader: Catalog | None = None
        self._searcher: Searcher | None = None
        self._may_trust = may_trust
        self._encoder = HeldEncoder(notice, may_trust)

    @classmethod
    def open(
        cls,
        path: AnyPath | None = None,
        *,
        notice: Callable[[str], None] | None = None,
        trust_model: bool | Callable[[str], bool] = False,
    ) -> Self:
        """Open a collection by path or name (None: `MMSEARCH_COLLECTION`, else the default one).

        Nothing is read or written until a method is called; `add` creates a collection that does not exist.
        `notice` is called with single lines that a user should see (the model that was chosen, a damaged vector file).
        `trust_model` says whether to load a model that the collection names (a folder, a checkpoint, a repository of
        the hub) and that nobody has named on this account before; a function is asked with its name. Else `ModelError`.
        """
        may_trust = trust_model if callable(trust_model) else lambda spec: trust_model
        place = config.collection_path(os.fspath(path) if path is not None else None)
        return cls(place, notice=notice or _drop, may_trust=may_trust)

    @property
    def path(self) -> Path:
        """The folder that holds the collection."""
        return self._path

    @property
    def formats(self) -> str:
        """The image formats that it opens, as `index --formats` lists them. Raises `CollectionNotFoundError`."""
        return self._open_reader().formats()

    def close(self) -> None:
        """Release files and the model. The object can be used again afterwards."""
        if self._searcher is not None:
            self._searcher.close()
        if self._reader is not None:
            self._reader.close()
        self._reader = self._searcher = None
        self._encoder.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- indexing ---

    def add(
        self,
        dirs: Iterable[AnyPath] | None = None,
        *,
        model: str | None = None,
        options: ScanOptions | None = None,
        formats: str | None = None,
        verify: bool = False,
        retry_failed: bool = False,
        force: bool = False,
        **run: Unpack[RunWords],
    ) -> Summary:
        """Index folders, recursively; None refreshes all known ones. Only what changed is encoded.

        A file is read where its size, mtime, ctime or inode is not what it was; with `verify` every file is, with
        `force` every file is encoded again too, and with `retry_failed` those are tried that could not be indexed.
        `model` (an alias or any other form of `--model`) is for a new collection; for an existing one it must name its
        model. With `options` None each folder keeps the options it was last indexed with; with `formats` None the
        collection opens the image formats that it has opened (see `mmsearch.images.formats.parse`). Returns the counts;
        files that cannot be read are counted in `skipped` and listed by `info`. A known folder that is missing, or
        suddenly empty, is marked offline and keeps its images. `run` are the keywords of
        `mmsearch.indexing.settings.RunOptions`: `device`, `precision`, `settings`, `wait` and `stop`.

        Raises `SourceError` for a new folder that is missing, `ModelMismatchError`, `CollectionBusyError`,
        `StorageError`.
        """
        from mmsearch.base.events import Finished

        again = {"verify": verify, "retry_failed": retry_failed, "force": force}
        events = self.add_events(dirs, model=model, options=options, formats=formats, **again, **run)
        last = self._exhaust(events)
        assert isinstance(last, Finished)
        return last.summary

    def add_events(
        self,
        dirs: Iterable[AnyPath] | None = None,
        *,
        model: str | None = None,
        options: ScanOptions | None = None,
        formats: str | None = None,
        verify: bool = False,
        retry_failed: bool = False,
        force: bool = False,
        **run: Unpack[RunWords],
    ) -> Iterator[Event]:
        """`add` as a stream of events (see `mmsearch.base.events`); setting `stop` ends it early, losing nothing."""
        from mmsearch.base.events import Finished
        from mmsearch.indexing import run as index_run
        from mmsearch.indexing.settings import RunOptions

        sources, how = self._sources(dirs), RunOptions.of(run)
        load = partial(self._encoder.for_indexing, device=how.device, precision=how.precision)
        again = {"verify": verify, "retry_failed": retry_failed, "force": force}
        with self._writing("index", how.wait, how.stop, may_be_new=True) as catalog:
            for event in index_run.run(catalog, sources, model, options, how, load, formats=formats, **again):
                if isinstance(event, Finished):
                    finished = event
                else:
                    yield event
        # The lock is free again: others may write while the model is prepared.
        if finished.summary.encoded and not finished.summary.interrupted:
            self._encoder.prepare_queries()
        yield finished

    def forget(self, folder: AnyPath, *, wait: float = 0.0) -> int:
        """Drop all images in and below a folder from the collection (files are not touched); returns how many.

        `wait` is how many seconds to wait for another process that is writing. Raises `SourceError` if nothing is known
        of the folder, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.indexing import roots

        path = absolute(folder)
        with self._writing("forget", wait) as catalog:
            return roots.forget(catalog, path)

    # --- searching ---

    def search(self, text: str | None = None, *, k: int | None = None, **words: Unpack[SearchWords]) -> list[Hit]:
        """Find the `top` best matches, best first; with filters alone the newest images, without scores.

        All words are explained where they are declared, in `mmsearch.query.words`; `mmsearch query --help` says the
        same. Terms add up as `mmsearch.searching.embed` says. All but `text` and `expr` may be lists, in which a pair
        has a weight: `plus=[("sunset", 0.5)]`, as has a string such as `"sunset:0.5"`. `image` may also be the bytes of
        a file. Filters must all hold; of a list of folders, patterns or formats, one must. A word that is None is not
        given; `k` is an earlier name of `top`.

        Raises `UsageError`, `DecodeError`, `SourceError`, `CollectionNotFoundError`, `CollectionEmptyError`,
        `ModelError`.
        """
        return self.search_many([from_words({"text": text, "k": k, **words})])[0]

    def query(self, **words: Unpack[Words]) -> Query:
        """Make a `Query` from words as `search`, the command line and batch lines name them. Raises `UsageError`."""
        return from_words(words)

    def search_many(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Answer several queries, in order: texts are encoded together, vectors searched together."""
        return self._open_searcher().search_many(queries)

    def search_each(self, queries: Sequence[Query]) -> list[list[Hit] | MMSearchError]:
        """Answer several queries as `search_many` does; where one cannot be answered, its error stands for its hits.

        Raises what is wrong with the collection or the model, and `UsageError` where filters are too much for SQLite.
        """
        return self._open_searcher().search_each(queries)

    def expect(self, queries: Sequence[Query]) -> None:
        """Start to embed the texts of queries that `search_many` will be given next, together, in a thread.

        This saves time while other queries are being answered. Before the first search it does nothing.
        """
        self._open_searcher().expect(queries)

    # --- looking and tuning ---

    def settle_trust(self) -> None:
        """Ask `trust_model` now about the models that the collection names, where that has to be done at all.

        An index run would ask from a thread of its own.
        """
        if not self._exists():
            return
        from mmsearch.encoders import trusted

        encoders = self._open_reader().encoders
        for stored in (encoders.current(), encoders.unfinished()):
            if stored is not None and not trusted.is_trusted(stored.info.spec) and self._may_trust(stored.info.spec):
                trusted.remember(stored.info.spec)

    def measure(self) -> Measured:
        """Measure how well and how fast the vector files find the collection's own images (see `collection.recall`)."""
        from mmsearch.collection.recall import measure

        catalog = self._open_reader()
        return measure(catalog, catalog.require_encoder(), self._notice)

    def optimize(self, kind: KindName | None = None, *, wait: float = 0.0) -> None:
        """Rebuild the vector file, as `kind` or as the kind that suits the size. Queries keep working meanwhile.

        `wait` is how many seconds to wait for another process that is writing. Raises `CollectionNotFoundError`,
        `CollectionEmptyError`, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.indexing.refresh import refresh_vectors

        with self._writing("optimize", wait) as catalog:
            refresh_vectors(catalog, catalog.require_encoder(), force=True, kind=kind)

    def reindex(
        self,
        model: str | None = None,
        *,
        drop_old: bool = False,
        allow_missing: bool = False,
        **run: Unpack[RunWords],
    ) -> ReindexSummary:
        """Change the model: add embeddings by `model` beside the old ones, and switch when they are complete.

        Searches use the old model until then. An unfinished earlier call is resumed, and `model` may then be None. If
        some files cannot be read it does not switch, unless `allow_missing`; the next `add` that can read them encodes
        them. The old embeddings are kept, so that changing back takes no time, unless `drop_old`. `run` are the
        keywords of `add` of that name. Raises `ReindexError`, `CollectionNotFoundError`,
        `CollectionEmptyError`, `CollectionBusyError`, `ModelError`, `ModelMismatchError`, `StorageError`.
        """
        from mmsearch.base.events import Reindexed

        last = self._exhaust(self.reindex_events(model, drop_old=drop_old, allow_missing=allow_missing, **run))
        assert isinstance(last, Reindexed)
        return last.summary

    def reindex_events(
        self,
        model: str | None = None,
        *,
        drop_old: bool = False,
        allow_missing: bool = False,
        **run: Unpack[RunWords],
    ) -> Iterator[Event]:
        """`reindex` as a stream of events (`mmsearch.base.events`); setting `stop` ends it early, losing nothing."""
        from mmsearch.base.events import Reindexed, ReindexSummary
        from mmsearch.encoders import ensure_export, resolve
        from mmsearch.indexing import model_change
        from mmsearch.indexing.reindex import Reindexer
        from mmsearch.indexing.settings import RunOptions

        spec, how = resolve(model).spec if model else None, RunOptions.of(run)
        where = {"device": how.device, "precision": how.precision}
        with self._writing("reindex", how.wait, how.stop) as catalog:
            current = catalog.require_encoder()
            target = model_change.choose(catalog, spec, partial(self._encoder.identify, **where), how.stop)
            if target is None:
                yield Reindexed(ReindexSummary(spec or "", current.info.spec, interrupted=True))
                return
            reindexer = Reindexer(
                catalog,
                target,
                partial(self._encoder.for_indexing, target.info.spec, target.info, **where),
                lambda encoder: ensure_export(encoder, self._notice),
                how,
                allow_missing=allow_missing,
            )
            for event in reindexer.run():
                if isinstance(event, Reindexed) and event.summary.switched and drop_old:
                    event.summary.dropped = model_change.drop_old(catalog, self._notice)
                yield event

    def abandon_reindex(self, *, wait: float = 0.0) -> str:
        """Discard an unfinished reindex; returns its model. Searches have never used it.

        Raises `ReindexError` if there is none, `CollectionNotFoundError`, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.indexing import model_change

        with self._writing("reindex", wait) as catalog:
            return model_change.abandon(catalog)

    def drop_old_models(self, *, wait: float = 0.0) -> list[str]:
        """Drop the embeddings of the collection's previous models, and free their space; returns the models.

        Raises `ReindexError` while a reindex to another model is not finished, `CollectionNotFoundError`,
        `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.indexing import model_change

        with self._writing("reindex", wait) as catalog:
            return model_change.drop_old(catalog, self._notice)

    def doctor(self, *, repair: bool = False, verify: bool = False, wait: float = 0.0) -> Iterator[Finding]:
        """Check the collection, and with `repair` repair what can be repaired (see `mmsearch.collection.doctor`).

        With `verify` all indexed files are read again and compared with what was indexed. `wait` is how many seconds
        to wait for another process that is writing. Raises `CollectionNotFoundError`, `CollectionBusyError`,
        `CollectionVersionError`, `StorageError`.
        """
        from mmsearch.collection.doctor import examine
        from mmsearch.store import lock

        self._require()
        patience = lock.Patience(wait, None, self._notice)
        return examine(self._path, repair=repair, verify=verify, patience=patience, notice=self._notice)

    def originals(self) -> Originals:
        """Tell how the indexed files may be read again, and which files they are. Raises `CollectionNotFoundError`."""
        from mmsearch.collection.originals import Originals

        return Originals(self._open_reader())

    def info(self) -> CollectionInfo:
        """Tell what the collection holds. Raises `CollectionNotFoundError`."""
        from mmsearch.collection.info import overview

        return overview(self._open_reader())

    # --- inside ---

    def _sources(self, dirs: Iterable[AnyPath] | None) -> list[str] | None:
        """The folders to index, as absolute paths; None for all known ones.

        A new collection knows of no disk that may be away: its folders are looked at before anything is made.
        """
        if dirs is not None:
            from mmsearch.indexing.roots import existing_folder

            return [absolute(path) if self._exists() else existing_folder(path) for path in dirs]
        if not self._exists():
            raise CollectionNotFoundError(f"no collection at {self._path}", "name a folder: `mmsearch index DIR`")
        return None

    def _exists(self) -> bool:
        return (self._path / CATALOG_NAME).exists()

    def _require(self) -> None:
        if not self._exists():
            raise CollectionNotFoundError(f"no collection at {self._path}", "run `mmsearch index DIR` first")

    @contextmanager
    def _writing(
        self, command: str, wait: float, stop: threading.Event | None = None, *, may_be_new: bool = False
    ) -> Iterator[Catalog]:
        """The catalog as its only writer; it is made where it `may_be_new`, else it must exist.

        One that was made and got neither a folder nor a model is taken away again.
        """
        from mmsearch.store import lock

        if not may_be_new:
            self._require()
        patience = lock.Patience(wait, stop, self._notice)
        with lock.writer(self._path, command, patience) as taken:
            is_new, stays = not self._exists(), True
            try:
                with Catalog(self._path, write=True) as catalog:
                    try:
                        yield catalog
                    finally:
                        stays = not is_new or bool(catalog.roots.all()) or catalog.encoders.current() is not None
            finally:
                if not stays:
                    taken.discard()

    def _exhaust(self, events: Iterator[Event]) -> Event:
        """Let a run come to its end, passing its notices on; returns the last event."""
        from mmsearch.base.events import Notice

        for event in events:
            if isinstance(event, Notice):
                self._notice(event.text)
        return event

    def _open_reader(self) -> Catalog:
        if self._reader is None:
            self._require()
            self._reader = Catalog(self._path, write=False)
        return self._reader

    def _open_searcher(self) -> Searcher:
        if self._searcher is None:
            from mmsearch.searching.search import Searcher

            self._searcher = Searcher(self._open_reader(), self._encoder.for_queries, self._notice)
        return self._searcher


def _drop(line: str) -> None:
    """The default for `notice`."""
