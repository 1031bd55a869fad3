"""Look a collection over: the catalog, the vector files against it, the model, leftovers and permissions; and mend.

What is derived (vector files, exports) is made anew or dropped. A damaged row of the catalog is put right where its
checksum tells how; else it goes only if an index run makes it again from the files. Files whose embedding is lost or
damaged are noted, so that the next index run reads them again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mmsearch.base import config, ownership
from mmsearch.base.cleaning import is_ours
from mmsearch.base.errors import CollectionBusyError, CollectionVersionError, StorageError, UntrustedError
from mmsearch.collection import pictures
from mmsearch.collection.findings import Finding, Result, few
from mmsearch.encoders import health
from mmsearch.indexing.refresh import refresh_vectors
from mmsearch.store import checksums, filling, lock, rows, strangers, trust
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.store.connection import CATALOG_NAME
from mmsearch.store.mending import Mender
from mmsearch.store.repair import Checks
from mmsearch.store.rules import RULES
from mmsearch.vectors import indexes

_OWNER_ONLY = 0o077

# Tables whose rows are looked at with what they tell of.
_ELSEWHERE = ("embeddings", "vector_files")


def examine(
    folder: Path,
    *,
    repair: bool = False,
    verify: bool = False,
    patience: lock.Patience | None = None,
    notice: Callable[[str], None] = lambda line: None,
) -> Iterator[Finding]:
    """Check the collection in `folder`, as its only writer; with `repair`, mend what can be mended. One finding a check
    at least. With `verify` all indexed files are read again, and `notice` is told how far that has come.

    Raises `CollectionBusyError`, `CollectionVersionError`, and `StorageError` where it cannot be repaired because it
    cannot be written.
    """
    left_by = lock.holder(folder)
    with _alone(folder, repair, patience):
        doctor = _Doctor(folder, left_by, repair, notice if verify else None)
        for name, check in doctor.checks():
            try:
                for result in check:
                    yield _finished(name, result, repair)
            except UntrustedError:
                raise
            except StorageError as error:  # what an earlier check has told of stands in its way
                yield Finding(name, False, f"it cannot be checked: {error.message}")


@contextmanager
def _alone(folder: Path, repair: bool, patience: lock.Patience | None) -> Iterator[None]:
    """Nobody else writes meanwhile; where nothing can be written, or is not to be, only those who may do."""
    if not repair and (not os.access(folder, os.W_OK) or trust.doubt(folder)):
        yield
        return
    with lock.writer(folder, "doctor", patience):
        yield


def _finished(name: str, result: Result, repair: bool) -> Finding:
    if result.ok or not repair or result.mend is None:
        return Finding(name, result.ok, result.text)
    try:
        return Finding(name, False, result.text, result.mend())
    except (StorageError, OSError) as error:
        return Finding(name, False, f"{result.text}; it could not be repaired: {error}")


class _Doctor:
    """The checks, in the order in which they mend."""

    def __init__(
        self, folder: Path, left_by: lock.Holder | None, repair: bool, verify: Callable[[str], None] | None
    ) -> None:
        self._folder = folder
        self._left_by = left_by
        self._repair = repair
        self._verify = verify
        self._can_be_read = True

    def checks(self) -> Iterator[tuple[str, Iterator[Result]]]:
        """Each check with its name, to be run before the next one is asked for."""
        yield "permissions", self._permissions()
        catalog: Catalog | None = None
        try:
            yield "schema", self._schema()
            if self._is_refused():
                return
            yield "catalog", self._integrity()
            if not self._can_be_read:  # then nothing else that it says can be relied on
                return
            catalog = Catalog(self._folder, write=self._repair)
            yield "rows", _rows(catalog)
            yield "models", _models(catalog)
            encoder, others = _encoders(catalog)
            yield "references", _references(catalog)
            yield "contents", _contents(catalog)
            if encoder:
                yield "embeddings", _embeddings(catalog, encoder)
                yield "vectors", _vectors(catalog, encoder)
                yield "model", _model(encoder)
            for other in others:
                yield "other model", _other_model(catalog, other)
            yield "checksums", self._checksums(catalog)
            if self._verify:
                yield "pictures", pictures.verify(catalog, self._verify)
            yield "leftovers", self._leftovers(catalog)
        finally:
            if catalog:
                catalog.close()

    def _permissions(self) -> Iterator[Result]:
        if os.name == "nt":
            yield Result("the system's own permissions for the user's folders apply", ok=True)
            return
        doubt = trust.doubt(self._folder)
        if doubt:
            yield Result(f"{doubt}; nothing is written there unless you trust it (`mmsearch trust DIR`)")
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
            yield Result("open to other users, whom you trust (`mmsearch trust`)", ok=True)
            return
        if not open_ones:
            yield Result("only their owner can read the collection and the cache", ok=True)
            return

        def mend() -> str:
            for path in open_ones:
                path.chmod(_mode(path) & ~_OWNER_ONLY)
            return "closed to other users"

        yield Result(f"open to other users: {few([str(path) for path in open_ones])}", mend)

    def _schema(self) -> Iterator[Result]:
        found = strangers.find(self._folder)
        if found is not None and found.acting:
            names = [f"{kind} {name}" for kind, name in found.acting]
            text = f"not made by mmsearch, and could change what it reads or writes: {few(names)}"
            yield Result(text, partial(self._drop, found))
            found = strangers.find(self._folder) if self._repair else found
        if found is None:  # what SQLite says of that is the next finding
            return
        if found.foreign or found.altered or found.missing:
            told = [f"{kind} {name} is altered" for kind, name in found.altered]
            told += [f"{kind} {name} is not mmsearch's" for kind, name in found.foreign]
            told += [f"{kind} {name} is missing" for kind, name in found.missing]
            yield Result(few(told), partial(self._mend_schema, found))
        elif not found.are_there:
            yield Result("tables and indexes are as mmsearch makes them", ok=True)

    def _drop(self, found: strangers.Strangers) -> str:
        try:
            strangers.drop(self._folder, found)
        except StorageError:  # a virtual table of a module that is not there
            return self._salvaged()
        return "dropped"

    def _mend_schema(self, found: strangers.Strangers) -> str:
        """What is missing is made empty; beside what is altered or of others, ours is copied into a new catalog."""
        if found.foreign or found.altered:
            return self._salvaged()
        strangers.make_missing(self._folder, found)
        return "made again"

    def _is_refused(self) -> bool:
        """Whether something in the schema keeps the catalog from being opened."""
        try:
            found = strangers.find(self._folder)
        except UntrustedError:
            raise
        except StorageError:  # as the next finding says
            return False
        return found is not None and found.are_there

    def _integrity(self) -> Iterator[Result]:
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
            yield Result(f"the catalog is damaged: {few(complaints)}", self._mend_catalog)
        else:
            yield Result(f"the catalog is intact and holds {images:,} images", ok=True)

    def _mend_catalog(self) -> str:
        """First the indexes, which hold nothing of their own; then what can be read goes into a new catalog."""
        if self._only_indexes():
            with Catalog(self._folder, write=True) as catalog:
                with catalog.transaction():
                    Checks(catalog).rebuild_indexes()
                self._can_be_read = not Checks(catalog).complaints()
            if self._can_be_read:
                return "its indexes were rebuilt"
        return self._salvaged()

    def _salvaged(self) -> str:
        from mmsearch.store.salvage import salvage

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

    def _checksums(self, catalog: Catalog) -> Iterator[Result]:
        """Those that rows from before there were any lack are no damage, and given where something may be written."""
        if catalog.database.meta(checksums.PARTIAL) is None:
            return
        if self._repair:
            yield Result(f"{filling.fill_checksums(catalog):,} embeddings have been given a checksum", ok=True)
        else:
            text = "what an earlier mmsearch stored has no checksums yet; `mmsearch doctor --repair` adds them"
            yield Result(text, ok=True)

    def _leftovers(self, catalog: Catalog) -> Iterator[Result]:
        named = catalog.vector_files.names()
        left = indexes.of(self._folder).others(named)

        def mend() -> str:
            indexes.of(self._folder).remove_others(named)
            return "removed"

        if left:
            yield Result(f"files left by an interrupted run: {few([path.name for path in left])}", mend)
        if self._left_by:
            yield Result(f"{self._left_by} did not end properly; what it had stored is kept", ok=True)
        if not left and not self._left_by:
            yield Result("no leftovers of interrupted runs", ok=True)


def _rows(catalog: Catalog) -> Iterator[Result]:
    """Every column of every row against its rule, and every row against its checksum."""
    is_well = True
    for table in RULES:
        damaged = [] if table in _ELSEWHERE else rows.damages(catalog, table)
        if damaged:
            is_well = False
            yield Result(_told(damaged), partial(_mend_rows, catalog, damaged))
    wrong = Checks(catalog).wrong_notes()
    if wrong:

        def mend() -> str:
            with catalog.transaction():
                Checks(catalog).mend_notes()
            return "put right"

        yield Result(few(wrong), mend)
    elif is_well:
        yield Result("every row holds what it may, and what was written", ok=True)


def _mend_rows(catalog: Catalog, damaged: Sequence[rows.Damage]) -> str:
    with catalog.transaction():
        return ", ".join(Mender(catalog, health.known).mend(damaged))


def _told(damaged: Sequence[rows.Damage]) -> str:
    more = f" (and {len(damaged) - 1:,} more)" if len(damaged) > 1 else ""
    return f"{damaged[0]}{more}"


def _models(catalog: Catalog) -> Iterator[Result]:
    def mend() -> str:
        with catalog.transaction():
            return Checks(catalog).mend_models()

    problems = Checks(catalog).lost_models()
    if problems:
        yield Result(few(problems), mend)
    else:
        yield Result("every model has its embeddings, and one is the collection's", ok=True)


def _encoders(catalog: Catalog) -> tuple[StoredEncoder | None, list[StoredEncoder]]:
    """The collection's model and the others; none where what is known of them is damaged, as has been told."""
    try:
        current = catalog.encoders.current()
        return current, [other for other in catalog.encoders.all() if other != current]
    except StorageError:
        return None, []


def _references(catalog: Catalog) -> Iterator[Result]:
    broken = Checks(catalog).broken_references()
    if not broken:
        yield Result("every file has its folder and its content", ok=True)
        return

    def mend() -> str:
        with catalog.transaction():
            Checks(catalog).mend_references()
        return "dropped; the next `mmsearch index` indexes files among them again"

    counts = [f"{count:,} in {table}" for table, count in broken.items()]
    yield Result(f"rows that refer to nothing: {few(counts)}", mend)


def _contents(catalog: Catalog) -> Iterator[Result]:
    unused, released = Checks(catalog).contents_without_files(), Checks(catalog).count_released()

    def mend() -> str:
        with catalog.transaction():
            Checks(catalog).mend_contents(unused)
        return "dropped"

    if unused:
        yield Result(f"{len(unused):,} contents have no file", mend)
    if released:
        text = f"{released:,} contents whose file is gone await cleanup; `mmsearch index` cleans them up too"
        yield Result(text, mend)
    if not unused and not released:
        yield Result(f"each of the {catalog.contents.count():,} contents has a file", ok=True)


def _embeddings(catalog: Catalog, encoder: StoredEncoder) -> Iterator[Result]:
    missing = Checks(catalog).contents_without_embedding(encoder)
    damaged = list(Checks(catalog).damaged_embeddings(encoder))

    def mend() -> str:
        with catalog.transaction():
            left = Checks(catalog).restore_embeddings(encoder, damaged)
            files = Checks(catalog).read_again([*missing, *left])
        _rebuild_vectors(catalog, encoder)
        restored = f"a flipped bit was put right in {len(damaged) - len(left):,}; " if len(left) < len(damaged) else ""
        return f"{restored}the next `mmsearch index` indexes {files:,} files again"

    if missing or damaged:
        text = f"{len(missing):,} images have no embedding, {len(damaged):,} a damaged one"
        yield Result(text, mend)
    else:
        count = catalog.embeddings.count(encoder.id)
        yield Result(f"all {count:,} embeddings are as they were written, and have length 1", ok=True)


def _vectors(catalog: Catalog, encoder: StoredEncoder) -> Iterator[Result]:
    def mend() -> str:
        _rebuild_vectors(catalog, encoder)
        return "rebuilt"

    problem = _vector_problem(catalog, encoder)
    if problem:
        yield Result(problem, mend)
        return
    files = catalog.vector_files.of(encoder.id)
    names = f"{len(files)} vector files agree" if len(files) > 1 else "the vector file agrees"
    text = f"{names} with the catalog" if files else "no vector file yet"
    beyond = catalog.embeddings.count(encoder.id, max((file.watermark for file in files), default=0))
    yield Result(f"{text}; {beyond:,} newer embeddings are compared one by one", ok=True)


def _rebuild_vectors(catalog: Catalog, encoder: StoredEncoder) -> None:
    """Make the vector files anew; none where there are no embeddings left."""
    if not catalog.embeddings.last(encoder.id):
        with catalog.transaction():
            catalog.vector_files.drop(encoder.id)
    refresh_vectors(catalog, encoder, force=True)


def _vector_problem(catalog: Catalog, encoder: StoredEncoder) -> str | None:
    """What is wrong with the first of an encoder's vector files that does not agree with the catalog."""
    damaged = [row for row in rows.damages(catalog, "vector_files") if row.row["encoder_id"] == encoder.id]
    if damaged:
        return _told(damaged)
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


def _other_model(catalog: Catalog, encoder: StoredEncoder) -> Iterator[Result]:
    """The embeddings and vector files of a model that answers no queries now. What goes, a reindex makes again."""
    spec, damaged = encoder.info.spec, list(Checks(catalog).damaged_embeddings(encoder))
    problem = f"{len(damaged):,} damaged embeddings" if damaged else _vector_problem(catalog, encoder)

    def mend() -> str:
        with catalog.transaction():
            Checks(catalog).drop_embeddings(encoder, damaged)
        return "dropped; `mmsearch reindex` makes them again"

    if problem:
        yield Result(f"{spec}: {problem}", mend)
        return
    unfinished = catalog.encoders.unfinished() == encoder
    state = "its reindex is unfinished" if unfinished else "a previous model"
    count, total = catalog.embeddings.count_covered(encoder.id), catalog.contents.count()
    yield Result(f"{spec} ({state}): {count:,} of {total:,} embeddings, all as they were written", ok=True)


def _model(encoder: StoredEncoder) -> Iterator[Result]:
    """Whether the model's files here are those that made the embeddings."""
    ok, text, mend = health.of(encoder.info)
    yield Result(text, mend, ok=ok)


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:  # SQLite's own files come and go
        return 0
