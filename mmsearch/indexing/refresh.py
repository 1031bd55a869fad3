"""Keep the vector files in step with the catalog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mmsearch.base.errors import StorageError
from mmsearch.store.catalog import Catalog, StoredEncoder, VectorFile
from mmsearch.vectors import indexes

if TYPE_CHECKING:
    from mmsearch.vectors.kinds import KindName

# Embeddings that no vector file covers (the delta): every query reads them from the catalog, 3 ms for each 1,000.
MOST_DELTA = 1_000

# Vectors in `recent`, as a share of `main`, before both are merged: a merge reads and writes everything.
MOST_RECENT_SHARE = 0.15
MOST_RECENT_COUNT = 20_000

# Share of a file's vectors that may be of contents that are gone.
MOST_REMOVED_SHARE = 0.15
MOST_REMOVED_COUNT = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Which file to write, and the contents that it is to cover: ids over `first` and up to `last`."""

    part: Literal["main", "recent"]
    first: int
    last: int


def plan(catalog: Catalog, encoder: StoredEncoder) -> Plan | None:
    """What keeps searches fast: nothing, a new `recent` file, or a new `main` file that takes everything in."""
    last = catalog.embeddings.last(encoder.id)
    if not last:
        return None
    current = {file.part: file for file in catalog.vector_files.of(encoder.id)}
    if any(is_damaged(catalog, file) for file in current.values()):
        return Plan("main", 0, last)
    main, recent = current.get("main"), current.get("recent")
    if main is None or main.removed > max(MOST_REMOVED_COUNT, MOST_REMOVED_SHARE * main.count):
        return Plan("main", 0, last)
    newest = recent or main
    delta = catalog.embeddings.count(encoder.id, newest.watermark)
    if delta + (recent.removed if recent else 0) <= MOST_DELTA:
        return None
    covered = delta + (recent.count - recent.removed if recent else 0)
    if covered > max(MOST_RECENT_COUNT, MOST_RECENT_SHARE * main.count):
        return Plan("main", 0, last)
    return Plan("recent", main.watermark, last)


def is_damaged(catalog: Catalog, file: VectorFile) -> bool:
    """Whether a search would refuse the file: it is missing, has another size, or its head another digest."""
    try:
        indexes.of(catalog.folder).check(file)
    except StorageError:
        return True
    return False


def refresh_vectors(
    catalog: Catalog,
    encoder: StoredEncoder,
    *,
    force: bool = False,
    kind: KindName | None = None,
    notice: Callable[[str], None] | None = None,
) -> bool:
    """Write a new vector file where `plan` asks for one, or (`force`, `kind`) a new main one; returns whether it did.

    The caller holds the writer lock. The catalog names the new file once it is complete, and the old one goes last;
    so does what a killed run has left.
    `notice` gets one line before a build that takes long.
    """
    last = catalog.embeddings.last(encoder.id)
    wanted = Plan("main", 0, last) if (force or kind) and last else plan(catalog, encoder)
    if wanted is None:
        indexes.of(catalog.folder).remove_others(catalog.vector_files.names())
        return False
    built = _build(catalog, encoder, wanted, kind, notice)
    with catalog.transaction():
        catalog.vector_files.put(encoder.id, built)
        keep = catalog.vector_files.names()
    indexes.of(catalog.folder).remove_others(keep)
    return True


def _build(
    catalog: Catalog,
    encoder: StoredEncoder,
    wanted: Plan,
    kind: KindName | None,
    notice: Callable[[str], None] | None,
) -> VectorFile:
    from mmsearch.vectors import calibrate, kinds

    count = catalog.embeddings.count(encoder.id, wanted.first)
    chosen = kinds.choose(count, kind)
    if notice and count > kinds.FLAT_LIMIT:
        notice(f"building the search index over {count:,} images ({chosen})")
    files = indexes.of(catalog.folder)
    built = files.build(
        encoder.info.dim,
        chosen,
        catalog.embeddings.after(encoder, wanted.first, wanted.last),
        lambda size: catalog.embeddings.sample(encoder, wanted.first, wanted.last, size),
    )
    index = files.open(built)
    probes = 0
    if index.lists:
        parts = catalog.embeddings.after(encoder, wanted.first, wanted.last)
        probes = calibrate.probes(index, parts, catalog.embeddings.sample(encoder, wanted.first, wanted.last, 100))
    return VectorFile(
        part=wanted.part,
        name=built.name,
        first=wanted.first,
        watermark=wanted.last,
        count=built.count,
        removed=0,
        kind=chosen.name,
        lists=index.lists,
        probes=probes,
        bytes=built.bytes,
        head_bytes=built.head_bytes,
        head_digest=built.head_digest,
        digest=built.digest,
    )
