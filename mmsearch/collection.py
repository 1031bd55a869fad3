"""The public class: one collection of images on disk."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mmsearch import config
from mmsearch.errors import (
    CollectionEmptyError,
    CollectionNotFoundError,
    ModelError,
    ModelMismatchError,
    SourceError,
)
from mmsearch.query import Query, from_words
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.connection import CATALOG_NAME
from mmsearch.types import CollectionInfo, Encoder, EncoderInfo, Hit, Preprocess, ScanOptions

if TYPE_CHECKING:
    from mmsearch.doctor import Finding
    from mmsearch.events import Event, ReindexSummary, Summary
    from mmsearch.ingest import IndexSettings
    from mmsearch.measure import Measured
    from mmsearch.search import Searcher
    from mmsearch.vectors.kinds import KindName

AnyPath = str | os.PathLike[str]


class Collection:
    """A collection: index folders into it, search it. Use as a context manager, or call `close`.

    One object may be used by one thread at a time; any number of processes may search a collection at once.
    """

    def __init__(self, path: Path, *, notice: Callable[[str], None]) -> None:
        """Use `Collection.open`."""
        self._path = path
        self._notice = notice
        self._reader: Catalog | None = None
        self._searcher: Searcher | None = None
        self._encoder: tuple[str, Encoder] | None = None

    @classmethod
    def open(cls, path: AnyPath | None = None, *, notice: Callable[[str], None] | None = None) -> Self:
        """A collection by path or name (None: `MMSEARCH_COLLECTION`, else the default one).

        Nothing is read or written until the first call of a method; a collection that does not exist is made by `add`.
        `notice` is given single lines that a user should see (the model that was chosen, a vector file that is amiss).
        """
        return cls(config.collection_path(os.fspath(path) if path is not None else None), notice=notice or _drop)

    @property
    def path(self) -> Path:
        """The folder that holds the collection."""
        return self._path

    def close(self) -> None:
        """Release files and the model. The object can be used again."""
        if self._searcher is not None:
            self._searcher.close()
        if self._reader is not None:
            self._reader.close()
        self._reader = self._searcher = self._encoder = None

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
        device: str = "auto",
        precision: str = "auto",
        options: ScanOptions | None = None,
        settings: IndexSettings | None = None,
        wait: float = 0.0,
    ) -> Summary:
        """Index folders, recursively; None refreshes all known ones. Only what changed is encoded.

        `model` (an alias or any other form of `--model`) counts for a new collection and must agree with an old one's.
        `options` None keeps those that a root was last indexed with. Returns the counts; files that cannot be read are
        counted in `skipped` and listed by `info`. A known folder that is missing, or empty all of a sudden, is marked
        offline and keeps its images. `wait` is how many seconds to wait for another process that writes. Raises
        `SourceError` for a new folder that is missing, `ModelMismatchError`, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.events import Finished, Notice

        summary: Summary | None = None
        for event in self.add_events(
            dirs, model=model, device=device, precision=precision, options=options, settings=settings, wait=wait
        ):
            if isinstance(event, Notice):
                self._notice(event.text)
            elif isinstance(event, Finished):
                summary = event.summary
        assert summary is not None
        return summary

    def add_events(
        self,
        dirs: Iterable[AnyPath] | None = None,
        *,
        model: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        options: ScanOptions | None = None,
        settings: IndexSettings | None = None,
        wait: float = 0.0,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """`add` as a stream of events (see `mmsearch.events`); setting `stop` ends it early, losing nothing."""
        from mmsearch import roots
        from mmsearch.events import Finished, Notice
        from mmsearch.ingest import Indexer, IndexSettings
        from mmsearch.store import lock

        sources = self._sources(dirs)
        notices: deque[Notice] = deque()
        patience = lock.Patience(wait, stop, self._notice)
        with lock.writer(self._path, "index", patience), Catalog(self._path, write=True) as catalog:
            self._check_model(catalog.encoder(), model)
            planned = roots.plan(catalog, sources, options, lambda line: notices.append(Notice(line)))
            choice = _ModelChoice(catalog, model, notices)

            def load() -> Encoder:
                return self._load_encoder(choice.spec(), choice.stored, device=device, precision=precision)

            with catalog.transaction():
                planned.store(catalog)
            indexer = Indexer(
                catalog,
                planned.places,
                load,
                choice.preprocess,
                settings or IndexSettings(),
                stop or threading.Event(),
                notices,
            )
            for event in indexer.run():
                if isinstance(event, Finished):
                    finished = event
                else:
                    yield event
            if sources:
                roots.check_found(catalog, planned, finished.summary)
        # The lock is free again: others may write while the model is prepared.
        if finished.summary.encoded and not finished.summary.interrupted:
            self._prepare_queries()
        yield finished

    def forget(self, folder: AnyPath, *, wait: float = 0.0) -> int:
        """Drop all images at and below a folder from the collection (files are not touched); returns how many.

        `wait` is how many seconds to wait for another process that writes. Raises `SourceError` where nothing of the
        folder is known, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.store import lock

        path = config.absolute(folder)
        self._require()
        patience = lock.Patience(wait, None, self._notice)
        with (
            lock.writer(self._path, "forget", patience),
            Catalog(self._path, write=True) as catalog,
            catalog.transaction(),
        ):
            known = path in {root.path for root in catalog.roots()} or any(True for _ in catalog.folders_at(path))
            if not known:
                raise SourceError(f"{path} is not in the collection", "`mmsearch info` lists the indexed folders")
            catalog.remove_roots(path)
            removed = catalog.remove_below(path)
            catalog.drop_released()
        return removed

    # --- searching ---

    def search(self, text: str | None = None, *, k: int = config.DEFAULT_TOP, **words: Any) -> list[Hit]:
        """The `k` best matches, best first; with filters alone the newest images, without scores.

        Terms, which add up as `mmsearch.embedding_queries` says: `text`; `plus` and `minus`, texts; `image`, an image
        by path, URL or bytes; `like`, an indexed image by path or id; `expr`, all in one (`"2*beach - people"`).
        All but `text` and `expr` may be lists, in which a pair has a weight: `plus=[("sunset", 0.5)]`, as has a string
        such as `"sunset:0.5"`. `more` and `less` are indexed images that the results should resemble more, or less.

        Filters, of which all must hold (see `mmsearch.filters.Filters`): `below` (or `in`), `glob`, `after`, `before`,
        `min_size`, `max_size`, `min_width`, `min_height`, `orientation`, `image_format`, `camera`, `near`, `has_gps`,
        `where`.

        Options: `min_score`, a least cosine; `min_confidence`, a least confidence, 0 to 1 (see `mmsearch.confidence`);
        `diverse`, show near-duplicates once, which are images with a cosine of `diverse_at` or more; `include_self`,
        also files with the bytes of an image among the terms; `exact`, compare with every image; `offline`, also images
        in folders that are offline; `templates`, put short texts in templates or do not; `allow_private_urls`.

        Raises `UsageError`, `DecodeError`, `SourceError`, `CollectionNotFoundError`, `CollectionEmptyError`,
        `ModelError`.
        """
        return self.search_many([self.query(text=text, top=k, **words)])[0]

    def query(self, **words: Any) -> Query:
        """A `Query` from words as `search`, the command line and batch lines name them. Raises `UsageError`."""
        return from_words(words)

    def search_many(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """The answers to several queries, in order: texts are encoded together, vectors searched together."""
        return self._open_searcher().search_many(queries)

    # --- looking and tuning ---

    def measure(self) -> Measured:
        """How well and how fast the vector files find this collection's own images (see `mmsearch.measure`)."""
        from mmsearch.measure import measure

        catalog = self._open_reader()
        return measure(catalog, self._require_encoder(catalog), self._notice)

    def optimize(self, kind: KindName | None = None, *, wait: float = 0.0) -> None:
        """Build the vector file anew, of the `kind` that suits the size or of the one given. Queries go on meanwhile.

        `wait` is how many seconds to wait for another process that writes. Raises `CollectionNotFoundError`,
        `CollectionEmptyError`, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.refresh import refresh_vectors
        from mmsearch.store import lock

        self._require()
        patience = lock.Patience(wait, None, self._notice)
        with lock.writer(self._path, "optimize", patience), Catalog(self._path, write=True) as catalog:
            refresh_vectors(catalog, self._require_encoder(catalog), force=True, kind=kind)

    def reindex(
        self,
        model: str | None = None,
        *,
        drop_old: bool = False,
        allow_missing: bool = False,
        device: str = "auto",
        precision: str = "auto",
        settings: IndexSettings | None = None,
        wait: float = 0.0,
    ) -> ReindexSummary:
        """Change the model: fill in embeddings by `model` beside the old ones, and switch when they are complete.

        Searches use the old model until then. What an earlier call left undone is gone on with, and `model` may then be
        None. Where files cannot be read it does not switch, unless `allow_missing`; the next `add` that can read them
        encodes them. The old embeddings are kept, so that changing back takes no time, unless `drop_old`. `wait` is how
        many seconds to wait for another process that writes. Raises `ReindexError`, `CollectionNotFoundError`,
        `CollectionEmptyError`, `CollectionBusyError`, `ModelError`, `ModelMismatchError`, `StorageError`.
        """
        from mmsearch.events import Notice, Reindexed

        summary: ReindexSummary | None = None
        for event in self.reindex_events(
            model,
            drop_old=drop_old,
            allow_missing=allow_missing,
            device=device,
            precision=precision,
            settings=settings,
            wait=wait,
        ):
            if isinstance(event, Notice):
                self._notice(event.text)
            elif isinstance(event, Reindexed):
                summary = event.summary
        assert summary is not None
        return summary

    def reindex_events(
        self,
        model: str | None = None,
        *,
        drop_old: bool = False,
        allow_missing: bool = False,
        device: str = "auto",
        precision: str = "auto",
        settings: IndexSettings | None = None,
        wait: float = 0.0,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """`reindex` as a stream of events (see `mmsearch.events`); setting `stop` ends it early, losing nothing."""
        from mmsearch import model_change
        from mmsearch.encoders import ensure_export, resolve
        from mmsearch.events import Reindexed, ReindexSummary
        from mmsearch.ingest import IndexSettings
        from mmsearch.reindex import Reindexer

        spec = resolve(model).spec if model else None
        stop = stop or threading.Event()
        with self._writing("reindex", wait, stop) as catalog:
            current = self._require_encoder(catalog)
            target = model_change.choose(catalog, spec, lambda spec: self._identify(spec, device, precision), stop)
            if target is None:
                yield Reindexed(ReindexSummary(spec or "", current.info.spec, interrupted=True))
                return
            info = target.info

            def load() -> Encoder:
                return self._load_encoder(info.spec, info, device=device, precision=precision)

            def prepare(encoder: Encoder) -> None:
                ensure_export(encoder, self._notice)

            run = Reindexer(
                catalog, target, load, prepare, settings or IndexSettings(), stop, allow_missing=allow_missing
            )
            for event in run.run():
                if isinstance(event, Reindexed) and event.summary.switched and drop_old:
                    event.summary.dropped = model_change.drop_old(catalog, self._notice)
                yield event

    def abandon_reindex(self, *, wait: float = 0.0) -> str:
        """Drop what a reindex that was not finished has done; returns its model. Searches never used it.

        Raises `ReindexError` where there is none, `CollectionNotFoundError`, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch import model_change

        with self._writing("reindex", wait) as catalog:
            return model_change.abandon(catalog)

    def drop_old_models(self, *, wait: float = 0.0) -> list[str]:
        """Drop the embeddings of models that were the collection's before, and free their room; returns the models.

        Raises `ReindexError` while a reindex to another model is not finished, `CollectionNotFoundError`,
        `CollectionBusyError`, `StorageError`.
        """
        from mmsearch import model_change

        with self._writing("reindex", wait) as catalog:
            return model_change.drop_old(catalog, self._notice)

    def doctor(self, *, repair: bool = False, wait: float = 0.0) -> Iterator[Finding]:
        """Check the collection, and with `repair` mend what can be mended (see `mmsearch.doctor`).

        `wait` is how many seconds to wait for another process that writes. Raises `CollectionNotFoundError`,
        `CollectionBusyError`, `CollectionVersionError`, `StorageError`.
        """
        from mmsearch.doctor import examine
        from mmsearch.store import lock

        self._require()
        return examine(self._path, repair=repair, patience=lock.Patience(wait, None, self._notice))

    def info(self) -> CollectionInfo:
        """What the collection holds. Raises `CollectionNotFoundError`."""
        catalog = self._open_reader()
        from mmsearch.model_change import others

        encoder = catalog.encoder()
        vectors = catalog.vector_files(encoder.id) if encoder else []
        last = catalog.last_run()
        return CollectionInfo(
            path=str(self._path),
            roots=catalog.roots(),
            images=catalog.count_images(),
            embeddings=catalog.count_contents(),
            model=encoder.info.spec if encoder else None,
            dim=encoder.info.dim if encoder else None,
            fingerprint=encoder.info.fingerprint if encoder else None,
            catalog_bytes=sum(path.stat().st_size for path in self._path.glob(f"{CATALOG_NAME}*")),
            vectors_bytes=sum(_size(self._path / name) for name in catalog.all_vector_files()),
            vectors_kind=vectors[0].kind if vectors else None,
            last_run={"started_at": last[0], **last[1]} if last else None,
            failures=catalog.failures(),
            other_models=others(catalog),
        )

    # --- inside ---

    def _sources(self, dirs: Iterable[AnyPath] | None) -> list[str] | None:
        """The folders to index, as absolute paths; None for all known ones.

        A new collection knows of no disk that may be away: its folders are looked at before anything is made.
        """
        if dirs is not None:
            from mmsearch.roots import existing_folder

            return [config.absolute(path) if self._exists() else existing_folder(path) for path in dirs]
        if not self._exists():
            raise CollectionNotFoundError(f"no collection at {self._path}", "name a folder: `mmsearch index DIR`")
        return None

    def _exists(self) -> bool:
        return (self._path / CATALOG_NAME).exists()

    def _require(self) -> None:
        if not self._exists():
            raise CollectionNotFoundError(f"no collection at {self._path}", "run `mmsearch index DIR` first")

    def _require_encoder(self, catalog: Catalog) -> StoredEncoder:
        encoder = catalog.encoder()
        if encoder is None or not catalog.last_embedded(encoder.id):
            raise CollectionEmptyError(
                f"the collection at {self._path} has no images", "run `mmsearch index DIR` first"
            )
        return encoder

    @contextmanager
    def _writing(self, command: str, wait: float, stop: threading.Event | None = None) -> Iterator[Catalog]:
        """The catalog of a collection that exists, as its only writer."""
        from mmsearch.store import lock

        self._require()
        patience = lock.Patience(wait, stop, self._notice)
        with lock.writer(self._path, command, patience), Catalog(self._path, write=True) as catalog:
            yield catalog

    def _open_reader(self) -> Catalog:
        if self._reader is None:
            self._require()
            self._reader = Catalog(self._path, write=False)
        return self._reader

    def _open_searcher(self) -> Searcher:
        if self._searcher is None:
            from mmsearch.search import Searcher

            self._searcher = Searcher(self._open_reader(), self._load_query_encoder, self._notice)
        return self._searcher

    def _load_encoder(self, spec: str, stored: EncoderInfo | None, *, device: str, precision: str) -> Encoder:
        """The encoder of an index run: an export where that is as good, since it is open in no time; else all of it."""
        from mmsearch.encoders import identify, load_encoder, load_export

        if self._encoder is None or self._encoder[0] != spec:
            known = stored or identify(spec, self._notice)
            encoder = load_export(known, device=device, precision=precision) if known else None
            if encoder is None:
                encoder = load_encoder(spec, device=device, precision=precision, notice=self._notice)
            self._encoder = (spec, encoder)
        return self._encoder[1]

    def _identify(self, spec: str, device: str, precision: str) -> EncoderInfo:
        """What the model is, which some can only tell when they are loaded."""
        from mmsearch.encoders import identify

        found = identify(spec, self._notice)
        return found or self._load_encoder(spec, None, device=device, precision=precision).info

    def _prepare_queries(self) -> None:
        """Do what is done once for a model while it is loaded, so that the first query does not have to."""
        from mmsearch.encoders import ensure_export
        from mmsearch.unrelated import caption_vectors

        if self._encoder is not None:
            encoder = self._encoder[1]
            ensure_export(encoder, self._notice)
            with suppress(ModelError):  # the query tells it, if it is still so
                caption_vectors(encoder.info.fingerprint, encoder.info.dim, lambda: encoder)

    def _load_query_encoder(self, stored: EncoderInfo) -> Encoder:
        """The encoder of an index run by this object, if there was one; else one that is quick to open."""
        from mmsearch.encoders import load_query_encoder

        if self._encoder is not None and self._encoder[0] == stored.spec:
            return self._encoder[1]
        return load_query_encoder(stored, notice=self._notice)

    def _check_model(self, stored: StoredEncoder | None, model: str | None) -> None:
        """A model that the user names must exist, and be the collection's."""
        if model in (None, "auto"):
            return
        from mmsearch.encoders import resolve

        assert model is not None
        spec = resolve(model).spec
        if stored is not None and stored.info.spec != spec:
            raise ModelMismatchError(
                f"the collection at {self._path} was built with {stored.info.spec}, not {spec}",
                f"leave out --model, or change the collection's model: `mmsearch reindex --model {model}`",
            )


class _ModelChoice:
    """The model of an index run: the collection's, or the one named, or the default. Asked from two threads."""

    def __init__(self, catalog: Catalog, model: str | None, notices: deque[Any]) -> None:
        stored = catalog.encoder()
        self.stored = stored.info if stored else None
        named = model if model != "auto" else None
        self._spec = stored.info.spec if stored else named
        self._notices = notices
        self._lock = threading.Lock()

    def spec(self) -> str:
        """The model; choosing the default may ask the model hub."""
        from mmsearch.encoders import choose_default
        from mmsearch.events import Notice

        with self._lock:
            if self._spec is None:
                self._spec = choose_default(lambda line: self._notices.append(Notice(line)))
            return self._spec

    def preprocess(self) -> Preprocess | None:
        """How it takes its images, if that can be told without loading it."""
        from mmsearch.encoders import expected_preprocess

        return expected_preprocess(self.spec())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _drop(line: str) -> None:
    """The default for `notice`."""
