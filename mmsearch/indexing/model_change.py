"""Which model a reindex is for, and what becomes of the embeddings by others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from mmsearch.base.errors import ReindexError, StorageError
from mmsearch.base.records import EncoderInfo, OtherModel
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.vectors import indexes

# Seconds between two looks at whether the user wants to stop.
_TICK = 0.1


def choose(
    catalog: Catalog, spec: str | None, identify: Callable[[str], EncoderInfo], stop: threading.Event
) -> StoredEncoder | None:
    """The encoder that is to be filled in for the model `spec`; it is added to the catalog if it is new.

    With no `spec` that is the one of the reindex that was not finished, else the current one. `identify` says what a
    model is, which may take a download; None where `stop` is set meanwhile. Raises `ReindexError` where another reindex
    is not finished.
    """
    current, unfinished = catalog.encoders.current(), catalog.encoders.unfinished()
    if spec is None:
        return unfinished or current
    named = [encoder for encoder in catalog.encoders.all() if encoder.info.spec == spec]
    if named and current not in named:
        return unfinished if unfinished in named else named[-1]
    if not named:
        _refuse_a_second(unfinished)
    info = _unless_stopped(lambda: identify(spec), stop)
    if info is None:
        return None
    for encoder in catalog.encoders.all():
        if encoder.info.fingerprint == info.fingerprint:
            return encoder
    _refuse_a_second(unfinished)  # the current model's name, but other files than those that made its embeddings
    with catalog.transaction():
        return catalog.encoders.begin(info)


def abandon(catalog: Catalog) -> str:
    """Drop the embeddings of the reindex that was not finished; returns its model. Raises `ReindexError` for none."""
    unfinished = catalog.encoders.unfinished()
    if unfinished is None:
        hint = "--drop-old drops the embeddings of the previous model" if catalog.encoders.kept() else ""
        raise ReindexError("no unfinished reindex to abandon", hint)
    _drop(catalog, [unfinished])
    return unfinished.info.spec


def drop_old(catalog: Catalog, notice: Callable[[str], None]) -> list[str]:
    """Drop the embeddings of all models that were the collection's before; returns them.

    The room is given back to the disk; where that fails `notice` says so, and later runs use it. Raises `ReindexError`
    where there are none because a reindex has not been finished.
    """
    kept, unfinished = catalog.encoders.kept(), catalog.encoders.unfinished()
    if not kept and unfinished:
        raise ReindexError(
            f"queries still use the old model: the reindex with {unfinished.info.spec} is not finished",
            f"finish it with `mmsearch reindex --model {unfinished.info.spec} --drop-old`",
        )
    _drop(catalog, kept)
    if kept:
        try:
            catalog.database.shrink()
        except StorageError as error:
            notice(f"{error.message}; later runs reuse the space in the catalog")
    return [encoder.info.spec for encoder in kept]


def others(catalog: Catalog) -> list[OtherModel]:
    """The models beside the current one. Counts the embeddings of an unfinished one one by one."""
    unfinished, total = catalog.encoders.unfinished(), catalog.contents.count()
    listed = [encoder for encoder in [*catalog.encoders.kept(), unfinished] if encoder]
    found = []
    for encoder in listed:
        count = catalog.embeddings.count_covered(encoder.id)
        info = encoder.info
        found.append(
            OtherModel(info.spec, info.dim, "unfinished" if encoder == unfinished else "kept", count, total - count)
        )
    return found


def _refuse_a_second(unfinished: StoredEncoder | None) -> None:
    if unfinished:
        raise ReindexError(
            f"a reindex with {unfinished.info.spec} is not finished",
            "finish it with `mmsearch reindex`, or discard it with `mmsearch reindex --abandon`",
        )


def _drop(catalog: Catalog, encoders: list[StoredEncoder]) -> None:
    with catalog.transaction():
        for encoder in encoders:
            catalog.encoders.drop(encoder.id)
    indexes.of(catalog.folder).remove_others(catalog.vector_files.names())


def _unless_stopped(call: Callable[[], EncoderInfo], stop: threading.Event) -> EncoderInfo | None:
    """The result of `call`, which runs in a thread that is left behind where `stop` is set before it has ended."""
    result: Future[EncoderInfo] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # raised again where it is asked for
            result.set_exception(error)

    threading.Thread(target=run, name="identify", daemon=True).start()
    while not stop.is_set():
        if wait([result], _TICK).done:
            return result.result()
    return None
