"""What a collection holds, for `mmsearch info`."""

from __future__ import annotations

from pathlib import Path

from mmsearch.base.records import CollectionInfo
from mmsearch.indexing.model_change import others
from mmsearch.store.catalog import Catalog
from mmsearch.store.connection import CATALOG_NAME


def overview(catalog: Catalog) -> CollectionInfo:
    """Roots, counts, models, sizes in bytes on disk, the last run, and the files that could not be read."""
    encoder = catalog.encoders.current()
    vectors = catalog.vector_files.of(encoder.id) if encoder else []
    last = catalog.last_run()
    return CollectionInfo(
        path=str(catalog.folder),
        roots=catalog.roots.all(),
        images=catalog.files.count(),
        embeddings=catalog.contents.count(),
        model=encoder.info.spec if encoder else None,
        dim=encoder.info.dim if encoder else None,
        fingerprint=encoder.info.fingerprint if encoder else None,
        catalog_bytes=sum(path.stat().st_size for path in catalog.folder.glob(f"{CATALOG_NAME}*")),
        vectors_bytes=sum(_size(catalog.folder / name) for name in catalog.vector_files.names()),
        vectors_kind=vectors[0].kind if vectors else None,
        last_run={"started_at": last[0], **last[1]} if last else None,
        failures=catalog.files.failures(),
        other_models=others(catalog),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # replaced meanwhile
        return 0
