"""An index run from what the user names, folders and a model, to its events; `pipeline` does the work."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mmsearch.base import config
from mmsearch.base.errors import ModelMismatchError
from mmsearch.base.events import Event, Finished, Notice
from mmsearch.base.records import Encoder, EncoderInfo, Preprocess, ScanOptions
from mmsearch.encoders import choose_default, expected_preprocess, resolve, trusted
from mmsearch.images.formats import parse, reader
from mmsearch.indexing import roots, seen_roots
from mmsearch.indexing.pipeline import Indexer
from mmsearch.indexing.settings import RunOptions
from mmsearch.store.catalog import Catalog


def run(
    catalog: Catalog,
    sources: Sequence[str] | None,
    model: str | None,
    options: ScanOptions | None,
    how: RunOptions,
    load: Callable[[str, EncoderInfo | None], Encoder],
    *,
    formats: str | None = None,
    verify: bool = False,
    retry_failed: bool = False,
    force: bool = False,
) -> Iterator[Event]:
    """Index the folders `sources`, absolute paths (None: all known roots); the last event is `Finished`.

    The caller holds the writer lock. `options` None keeps those of each root, `formats` None those of the collection;
    with `verify` all files are read again, with `force` they are encoded again too, and with `retry_failed` those that
    could not be indexed. `load` is given the model's name and what the catalog knows of it, in a
    thread of its own; setting `how.stop` ends the run after the batch in flight.
    Raises `UsageError`, `SourceError`, `ModelMismatchError`, and what `load` raises.
    """
    if formats is not None:
        parse(formats)
    _check_model(catalog, model)
    notices: deque[Notice] = deque()

    def say(line: str) -> None:
        notices.append(Notice(line))

    if sources is None and (warning := seen_roots.warning(catalog)):
        yield Notice(warning)
    is_seen = sources is None or seen_roots.is_seen(catalog)
    planned = roots.plan(catalog, sources, options, say)
    if formats is not None:
        with catalog.transaction():
            catalog.set_formats(formats)
    with catalog.transaction():
        if retry_failed or force:
            catalog.files.retry_failures()
        else:
            catalog.files.retry_refused(reader(), how.settings.limits)

    def store() -> None:
        planned.store(catalog)
        if is_seen:
            seen_roots.remember(catalog)

    choice = _ModelChoice(catalog, model, say)
    # A first run stores its folders together with its model, which nobody would remember: one that fails, is stopped or
    # killed before it has it leaves none behind for the next run to fill with another model.
    is_first = catalog.encoders.current() is None
    if not is_first:
        with catalog.transaction():
            store()
    indexer = Indexer(
        catalog,
        [replace(subtree, verify=verify or force) for subtree in planned.subtrees],
        lambda: load(choice.spec(), choice.stored),
        choice.preprocess,
        how,
        notices,
        with_model=store,
        force=force,
        offline=planned.offline,
    )
    for event in indexer.run():
        if isinstance(event, Finished):
            if is_first and not event.summary.model and not event.summary.interrupted:
                with catalog.transaction():
                    store()
            if planned.offline and is_seen:  # some may have been found elsewhere
                seen_roots.remember(catalog)
            if sources:
                roots.check_found(catalog, planned, event.summary)
        yield event


def _check_model(catalog: Catalog, model: str | None) -> None:
    """A model that the user names must exist, and be the collection's."""
    if model is None or model == "auto":
        return
    spec, stored = resolve(model).spec, catalog.encoders.current()
    trusted.name(spec)
    if stored is not None and stored.info.spec != spec:
        raise ModelMismatchError(
            f"the collection at {catalog.folder} was built with {stored.info.spec}, not {spec}",
            f"leave out --model, or change the collection's model: `{_reindex(catalog).format(model)}`",
        )


def _reindex(catalog: Catalog) -> str:
    """The command that changes the collection's model, with {} for the new one."""
    option = config.collection_option(catalog.folder).replace("{", "{{").replace("}", "}}")
    return f"mmsearch reindex --model {{}}{option}"


class _ModelChoice:
    """The model of an index run: the collection's, or the one named, or the default. Asked from two threads."""

    def __init__(self, catalog: Catalog, model: str | None, notice: Callable[[str], None]) -> None:
        stored = catalog.encoders.current()
        self.stored = stored.info if stored else None
        named = model if model != "auto" else None
        self._spec = stored.info.spec if stored else named
        self._notice = notice
        self._better = f"`{_reindex(catalog)}`"
        self._lock = threading.Lock()

    def spec(self) -> str:
        """The model; choosing the default may ask the model hub."""
        with self._lock:
            if self._spec is None:
                self._spec = choose_default(self._notice, self._better)
            return self._spec

    def preprocess(self) -> Preprocess | None:
        """How it takes its images, if that can be told without loading it."""
        return expected_preprocess(self.spec())
