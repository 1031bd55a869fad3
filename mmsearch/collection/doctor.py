"""Look a collection over: the catalog, the vector files against it, the model, leftovers and permissions; and mend.

What is derived (vector files, exports) is made anew or dropped. Of the catalog nothing goes but what no file refers to;
files whose embedding is lost or damaged are noted, so that the next index run reads them again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.base import config, ownership
from mmsearch.base.cleaning import is_ours
from mmsearch.base.errors import CollectionBusyError, CollectionVersionError, StorageError, UntrustedError
from mmsearch.indexing.refresh import refresh_vectors
from mmsearch.store import lock, trust
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.connection import CATALOG_NAME
from mmsearch.store.repair import Checks
from mmsearch.vectors import indexes

_OWNER_ONLY = 0o077


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. `check` is its name, `text` is for people; `repaired` is what was done about a problem."""

    check: str
    ok: bool
    text: str
    repaired: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to be done."""
        return self.ok or self.repaired is not None

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "ok": self.ok, "text": self.text, "repaired": self.repaired}


@dataclass(frozen=True, slots=True)
class _Result:
    """The outcome of a check before anything is done; `mend` does it and says what it was."""

    text: str
    mend: Callable[[], str] | None = None
    ok: bool = False


def examine(folder: Path, *, repair: bool = False, patience: lock.Patience | None = None) -> Iterator[Finding]:
    """Check the collection in `folder`, as its only writer; with `repair`, mend what can be mended. One finding a check
    at least. Raises `CollectionBusyError`, `CollectionVersionError`, and `StorageError` where it cannot be repaired
    because it cannot be written.
    """
    left_by = lock.holder(folder)
    with _alone(folder, repair, patience):
        doctor = _Doctor(folder, left_by, repair)
        for name, check in doctor.checks():
            for result in check:
                yield _finished(name, result, repair)


@contextmanager
def _alone(folder: Path, repair: bool, patience: lock.Patience | None) -> Iterator[None]:
    """Nobody else writes meanwhile; where nothing can be written, or is not to be, only those who may do."""
    if not repair and (not os.access(folder, os.W_OK) or trust.doubt(folder)):
        yield
        return
    with lock.writer(folder, "doctor", patience):
        yield


def _finished(name: str, result: _Result, repair: bool) -> Finding:
    if result.ok or not repair or result.mend is None:
        return Finding(name, result.ok, result.text)
    try:
        return Finding(name, False, result.text, result.mend())
    except (StorageError, OSError) as error:
        return Finding(name, False, f"{result.text}; it could not be repaired: {error}")


class _Doctor:
    """The checks, in the order in which they mend."""

    def __init__(self, folder: Path, left_by: lock.Holder | None, repair: bool) -> None:
        self._folder = folder
        self._left_by = left_by
        self._repair = repair
        self._can_be_read = True

    def checks(self) -> Iterator[tuple[str, Iterator[_Result]]]:
        """Each check with its name, to be run before the next one is asked for."""
        yield "permissions", self._permissions()
        catalog: Catalog | None = None
        try:
            yield "catalog", self._integrity()
            if not self._can_be_read:  # then nothing else that it says can be relied on
                return
            catalog = Catalog(self._folder, write=self._repair)
            encoder = catalog.encoders.current()
            yield "references", _references(catalog)
            yield "contents", _contents(catalog)
            if encoder:
                yield "embeddings", _embeddings(catalog, encoder)
                yield "vectors", _vectors(catalog, encoder)
                yield "model", _model(encoder)
            for other in [other for other in catalog.encoders.all() if other != encoder]:
                yield "other model", _other_model(catalog, other)
            yield "leftovers", self._leftovers(catalog)
        finally:
            if catalog:
                catalog.close()

    def _permissions(self) -> Iterator[_Result]:
        if os.name == "nt":
            yield _Result("the system's own permissions for the user's folders apply", ok=True)
            return
        doubt = trust.doubt(self._folder)
        if doubt:
            yield _Result(f"{doubt}; nothing is written there unless you trust it (`mmsearch trust DIR`)")
            return
        ours = [
            *self._folder.glob(f"{CATALOG_NAME}*"),
            *self._folder.glob("writer.*"),
            *indexes.of(self._folder).others(()),
        ]
        cache = [path for path in (config.cache_dir(), config.cache_dir() / "exports") if path.is_dir()]
        found = [self._folder, *cache, *sorted(path for path in ours if is_ours(path))]
        open_ones = [path for path in found if _mode(path) & _OWNER_ONLY]
        if open_ones and ownership.is_trusted(self._folder):
            yield _Result("open to other users, whom you trust (`mmsearch trust`)", ok=True)
            return
        if not open_ones:
            yield _Result("only their owner can read the collection and the cache", ok=True)
            return

        def mend() -> str:
            for path in open_ones:
                path.chmod(_mode(path) & ~_OWNER_ONLY)
            return "closed to other users"

        yield _Result(f"open to other users: {_few([str(path) for path in open_ones])}", mend)

    def _integrity(self) -> Iterator[_Result]:
        try:
            with Catalog(self._folder, write=self._repair) as catalog:
                complaints = Checks(catalog).complaints()
                images = catalog.files.count()
        except (CollectionBusyError, CollectionVersionError, UntrustedError):
            raise
        except StorageError as error:
            complaints, images = [error.message], 0
        if complaints:
            self._can_be_read = False
            yield _Result(f"the catalog is damaged: {_few(complaints)}", self._mend_catalog)
        else:
            yield _Result(f"the catalog is intact and holds {images:,} images", ok=True)

    def _mend_catalog(self) -> str:
        """First the indexes, which hold nothing of their own; then what can be read goes into a new catalog."""
        from mmsearch.store.salvage import salvage

        if self._only_indexes():
            with Catalog(self._folder, write=True) as catalog:
                with catalog.transaction():
                    Checks(catalog).rebuild_indexes()
                self._can_be_read = not Checks(catalog).complaints()
            if self._can_be_read:
                return "its indexes were rebuilt"
        try:
            images, kept = salvage(self._folder)
        except StorageError as error:
            advice = "restore the folder from a backup, or move it away and index again"
            raise StorageError(f"{error.message}; the file was left as it is", advice) from error
        self._can_be_read = True
        recovered = f"{images:,} images were recovered into a new catalog, `mmsearch index` reads the rest again"
        return f"{recovered}; the old one is kept as {kept}"

    def _only_indexes(self) -> bool:
        """Whether nothing but indexes are wrong; anything else is not to be written to."""
        try:
            with Catalog(self._folder, write=False) as catalog:
                return all(" index " in f"{line} " for line in Checks(catalog).complaints())
        except StorageError:
            return False

    def _leftovers(self, catalog: Catalog) -> Iterator[_Result]:
        named = catalog.vector_files.names()
        left = indexes.of(self._folder).others(named)

        def mend() -> str:
            indexes.of(self._folder).remove_others(named)
            return "removed"

        if left:
            yield _Result(f"files left by an interrupted run: {_few([path.name for path in left])}", mend)
        if self._left_by:
            yield _Result(f"{self._left_by} did not end properly; what it had stored is kept", ok=True)
        if not left and not self._left_by:
            yield _Result("no leftovers of interrupted runs", ok=True)


def _references(catalog: Catalog) -> Iterator[_Result]:
    broken = Checks(catalog).broken_references()
    if not broken:
        yield _Result("every file has its folder and its content", ok=True)
        return

    def mend() -> str:
        with catalog.transaction():
            Checks(catalog).mend_references()
        return "dropped; the next `mmsearch index` indexes files among them again"

    counts = [f"{count:,} in {table}" for table, count in broken.items()]
    yield _Result(f"rows that refer to nothing: {_few(counts)}", mend)


def _contents(catalog: Catalog) -> Iterator[_Result]:
    unused, released = Checks(catalog).contents_without_files(), Checks(catalog).count_released()

    def mend() -> str:
        with catalog.transaction():
            Checks(catalog).mend_contents(unused)
        return "dropped"

    if unused:
        yield _Result(f"{len(unused):,} contents have no file", mend)
    if released:
        text = f"{released:,} contents whose file is gone await cleanup; `mmsearch index` cleans them up too"
        yield _Result(text, mend)
    if not unused and not released:
        yield _Result(f"each of the {catalog.contents.count():,} contents has a file", ok=True)


def _embeddings(catalog: Catalog, encoder: StoredEncoder) -> Iterator[_Result]:
    missing = Checks(catalog).contents_without_embedding(encoder)
    damaged = list(Checks(catalog).damaged_embeddings(encoder))

    def mend() -> str:
        with catalog.transaction():
            files = Checks(catalog).mend_embeddings([*missing, *damaged])
        refresh_vectors(catalog, encoder, force=True)
        return f"the next `mmsearch index` indexes {files:,} files again"

    if missing or damaged:
        text = f"{len(missing):,} images have no embedding, {len(damaged):,} a damaged one"
        yield _Result(text, mend)
    else:
        count = catalog.embeddings.count(encoder.id)
        yield _Result(f"all {count:,} embeddings have the right size and length 1", ok=True)


def _vectors(catalog: Catalog, encoder: StoredEncoder) -> Iterator[_Result]:
    def mend() -> str:
        refresh_vectors(catalog, encoder, force=True)
        return "rebuilt"

    problem = _vector_problem(catalog, encoder)
    if problem:
        yield _Result(problem, mend)
        return
    files = catalog.vector_files.of(encoder.id)
    names = f"{len(files)} vector files agree" if len(files) > 1 else "the vector file agrees"
    text = f"{names} with the catalog" if files else "no vector file yet"
    beyond = catalog.embeddings.count(encoder.id, max((file.watermark for file in files), default=0))
    yield _Result(f"{text}; {beyond:,} newer embeddings are compared one by one", ok=True)


def _vector_problem(catalog: Catalog, encoder: StoredEncoder) -> str | None:
    """What is wrong with the first of an encoder's vector files that does not agree with the catalog."""
    reach = 0
    for file in catalog.vector_files.of(encoder.id):
        covered = Checks(catalog).embedded_ids(encoder, file.first, file.watermark)
        backend = indexes.of(catalog.folder)
        text = backend.problem(file, covered)
        if text is None and (width := backend.open(file).dim) != encoder.info.dim:
            text = f"its vectors have a width of {width:,}, those of {encoder.info.spec} {encoder.info.dim:,}"
        if text is None and (file.first != reach or file.watermark > Checks(catalog).last_content()):
            text = "it does not cover the images that the catalog says"
        if text:
            return f"{file.name}: {text}"
        reach = file.watermark
    return None


def _other_model(catalog: Catalog, encoder: StoredEncoder) -> Iterator[_Result]:
    """The embeddings and vector files of a model that answers no queries now. What goes, a reindex makes again."""
    spec, damaged = encoder.info.spec, list(Checks(catalog).damaged_embeddings(encoder))
    problem = f"{len(damaged):,} damaged embeddings" if damaged else _vector_problem(catalog, encoder)

    def mend() -> str:
        with catalog.transaction():
            Checks(catalog).drop_embeddings(encoder, damaged)
        return "dropped; `mmsearch reindex` makes them again"

    if problem:
        yield _Result(f"{spec}: {problem}", mend)
        return
    unfinished = catalog.encoders.unfinished() == encoder
    state = "its reindex is unfinished" if unfinished else "a previous model"
    count, total = catalog.embeddings.count_covered(encoder.id), catalog.contents.count()
    yield _Result(f"{spec} ({state}): {count:,} of {total:,} embeddings, all with the right size and length 1", ok=True)


def _model(encoder: StoredEncoder) -> Iterator[_Result]:
    """Whether the model's files here are those that made the embeddings."""
    from mmsearch.encoders import health

    ok, text, mend = health.of(encoder.info)
    yield _Result(text, mend, ok=ok)


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:  # SQLite's own files come and go
        return 0


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
