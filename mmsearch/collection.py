"""The public class: one collection of images on disk."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mmsearch import config
from mmsearch.errors import (
    CollectionNotFoundError,
    ModelMismatchError,
    SourceError,
    UsageError,
)
from mmsearch.query import Query
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.connection import CATALOG_NAME
from mmsearch.types import Encoder, Hit, Preprocess, RootRecord, ScanOptions

if TYPE_CHECKING:
    from mmsearch.events import Event, Summary
    from mmsearch.ingest import IndexSettings
    from mmsearch.scanner import Place
    from mmsearch.search import Searcher

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection holds. Sizes are in bytes; `failures` are (path, reason)."""

    path: str
    roots: list[RootRecord]
    images: int
    embeddings: int
    model: str | None
    dim: int | None
    fingerprint: str | None
    catalog_bytes: int
    vectors_bytes: int
    vectors_kind: str | None
    last_run: dict[str, Any] | None
    failures: list[tuple[str, str]]


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
    ) -> Summary:
        """Index folders, recursively; None refreshes all known ones. Only what changed is encoded.

        `model` (an alias or any other form of `--model`) counts for a new collection and must agree with an old one's.
        `options` None keeps those that a root was last indexed with. Returns the counts; files that cannot be read are
        counted in `skipped` and listed by `info`. Raises `SourceError` for a folder that is missing,
        `ModelMismatchError`, `CollectionBusyError`, `StorageError`.
        """
        from mmsearch.events import Finished, Notice

        summary: Summary | None = None
        for event in self.add_events(
            dirs, model=model, device=device, precision=precision, options=options, settings=settings
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
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """`add` as a stream of events (see `mmsearch.events`); setting `stop` ends it early, losing nothing."""
        from mmsearch.events import Finished, Notice
        from mmsearch.ingest import Indexer, IndexSettings
        from mmsearch.store import lock

        sources = [_existing_folder(path) for path in dirs] if dirs is not None else None
        if sources is None and not self._exists():
            raise CollectionNotFoundError(f"no collection at {self._path}", "name a folder: `mmsearch index DIR`")
        notices: deque[Notice] = deque()
        with lock.writer(self._path), Catalog(self._path, write=True) as catalog:
            self._check_model(catalog.encoder(), model)
            new_roots, places = _plan(catalog, sources, options, notices)

            choice = _ModelChoice(catalog, model, notices)

            def load() -> Encoder:
                return self._load_encoder(choice.spec(), device=device, precision=precision)

            with catalog.transaction():
                for root in new_roots:
                    catalog.put_root(root.path, root.options)
            indexer = Indexer(
                catalog,
                places,
                load,
                choice.preprocess,
                settings or IndexSettings(),
                stop or threading.Event(),
                notices,
            )
            for event in indexer.run():
                if isinstance(event, Finished) and sources:
                    _check_found(catalog, sources, event.summary)
                yield event

    def forget(self, folder: AnyPath) -> int:
        """Drop all images at and below a folder from the collection (files are not touched); returns how many.

        Raises `SourceError` where nothing of it is known.
        """
        from mmsearch.store import lock

        path = _absolute(folder)
        self._require()
        with lock.writer(self._path), Catalog(self._path, write=True) as catalog, catalog.transaction():
            known = path in {root.path for root in catalog.roots()} or any(True for _ in catalog.folders_at(path))
            if not known:
                raise SourceError(f"{path} is not in the collection", "`mmsearch info` lists the indexed folders")
            catalog.remove_roots(path)
            removed = catalog.remove_below(path)
            catalog.drop_released()
        return removed

    # --- searching ---

    def search(
        self,
        *,
        text: str | None = None,
        image: AnyPath | bytes | None = None,
        k: int = config.DEFAULT_TOP,
        below: AnyPath | None = None,
        min_score: float | None = None,
        include_self: bool = False,
    ) -> list[Hit]:
        """The `k` best matches for a text or an image (a path, or an image file's bytes), best first.

        `below` keeps results to one folder, `min_score` to a least cosine. Files with the same bytes as the query image
        are left out unless `include_self`. Raises `UsageError`, `DecodeError`, `SourceError`,
        `CollectionNotFoundError`, `CollectionEmptyError`, `ModelError`.
        """
        query = Query(text, image, k, _absolute(below) if below is not None else None, min_score, include_self)
        return self._open_searcher().search(query)

    # --- looking ---

    def info(self) -> CollectionInfo:
        """What the collection holds. Raises `CollectionNotFoundError`."""
        catalog = self._open_reader()
        encoder = catalog.encoder()
        vectors = catalog.vector_file(encoder.id) if encoder else None
        last = catalog.last_run()
        return CollectionInfo(
            path=str(self._path),
            roots=catalog.roots(),
            images=catalog.count_images(),
            embeddings=catalog.count_embeddings(encoder.id) if encoder else 0,
            model=encoder.info.spec if encoder else None,
            dim=encoder.info.dim if encoder else None,
            fingerprint=encoder.info.fingerprint if encoder else None,
            catalog_bytes=sum(path.stat().st_size for path in self._path.glob(f"{CATALOG_NAME}*")),
            vectors_bytes=_size(self._path / vectors.name) if vectors else 0,
            vectors_kind=vectors.kind if vectors else None,
            last_run={"started_at": last[0], **last[1]} if last else None,
            failures=catalog.failures(),
        )

    # --- inside ---

    def _exists(self) -> bool:
        return (self._path / CATALOG_NAME).exists()

    def _require(self) -> None:
        if not self._exists():
            raise CollectionNotFoundError(f"no collection at {self._path}", "run `mmsearch index DIR` first")

    def _open_reader(self) -> Catalog:
        if self._reader is None:
            self._require()
            self._reader = Catalog(self._path, write=False)
        return self._reader

    def _open_searcher(self) -> Searcher:
        if self._searcher is None:
            from mmsearch.search import Searcher

            self._searcher = Searcher(self._open_reader(), self._load_encoder, self._notice)
        return self._searcher

    def _load_encoder(self, spec: str, *, device: str = "auto", precision: str = "auto") -> Encoder:
        from mmsearch.encoders import load_encoder

        if self._encoder is None or self._encoder[0] != spec:
            self._encoder = (spec, load_encoder(spec, device=device, precision=precision, notice=self._notice))
        return self._encoder[1]

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
                f"leave out --model, or index into another collection: -C {self._path.name}-{model.split('/')[0]}",
            )


def _plan(
    catalog: Catalog, sources: Sequence[str] | None, options: ScanOptions | None, notices: deque[Any]
) -> tuple[list[Place], list[Place]]:
    """Roots to add or change, and what to scan: the named folders, or all known roots that are there."""
    from mmsearch.events import Notice
    from mmsearch.scanner import Place

    known = catalog.roots()
    if sources is None:
        for root in known:
            if not os.path.isdir(root.path):
                notices.append(Notice(f"{root.path} is not there; its {root.images} images are kept as they were"))
        return [], [Place(root.path, root.path, root.options) for root in known if os.path.isdir(root.path)]
    roots, places = [], []
    for path in sources:
        above = next((root for root in known if _is_at_or_below(path, root.path)), None)
        root_path = above.path if above else path
        place = Place(path, root_path, options or (above.options if above else ScanOptions()))
        places.append(place)
        if root_path == path:
            roots.append(place)

    def is_outermost(place: Place) -> bool:
        return not any(place.path != other and _is_at_or_below(place.path, other) for other in sources)

    return list(filter(is_outermost, roots)), list(filter(is_outermost, places))


def _check_found(catalog: Catalog, sources: Sequence[str], summary: Summary) -> None:
    """A folder without a single image is most likely the wrong folder; it does not become a root."""
    empty = [path for path in sources if not catalog.count_images(path)]
    if len(empty) < len(sources) or summary.skipped or summary.known_failures or summary.interrupted:
        return
    with catalog.transaction():
        for path in empty:
            catalog.remove_roots(path)
    raise SourceError(f"no images found in {', '.join(empty)}", "check the folder; --hidden looks into hidden ones")


class _ModelChoice:
    """The model of an index run: the collection's, or the one named, or the default. Asked from two threads."""

    def __init__(self, catalog: Catalog, model: str | None, notices: deque[Any]) -> None:
        stored = catalog.encoder()
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


def _existing_folder(path: AnyPath) -> str:
    folder = _absolute(path)
    if not os.path.exists(folder):
        raise SourceError(f"no such folder: {folder}", "check the spelling")
    if not os.path.isdir(folder):
        raise SourceError(f"{folder} is a file, not a folder", "name the folder that holds it")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"no permission to read {folder}", "check its permissions")
    return folder


def _absolute(path: AnyPath) -> str:
    text = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if "\0" in text:
        raise UsageError("a path contains a NUL character", "check the path")
    return text


def _is_at_or_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _drop(line: str) -> None:
    """The default for `notice`."""
