"""Keep the vector file in step with the catalog."""

from __future__ import annotations

from mmsearch.store.catalog import Catalog, StoredEncoder, VectorFile

# The vector file is written anew when embeddings that it lacks (the delta, which every query reads) and that it has too
# many exceed this share of it, or this number where it is small.
STALE_SHARE = 0.05
STALE_COUNT = 500


def refresh_vectors(catalog: Catalog, encoder: StoredEncoder, *, force: bool = False) -> bool:
    """Write a new vector file if the current one is missing or stale (or `force`); returns whether it was written.

    The caller holds the writer lock. The catalog names the new file once it is complete, and the old one goes last.
    """
    current = catalog.vector_file(encoder.id)
    if not force and current is not None and (catalog.folder / current.name).exists():
        added = catalog.count_embeddings(encoder.id, above=current.watermark)
        removed = current.count - (catalog.count_embeddings(encoder.id) - added)
        if added + removed <= max(STALE_COUNT, STALE_SHARE * current.count):
            return False
    from mmsearch.vectors import files

    watermark = 0
    with catalog.snapshot():
        parts = []
        for ids, vectors in catalog.embeddings_after(encoder, 0):
            watermark = int(ids[-1])
            parts.append((ids, vectors))
        name, count = files.build(catalog.folder, encoder.info.dim, parts)
    with catalog.transaction():
        catalog.set_vector_file(encoder.id, VectorFile(name, watermark, count, "flat"))
    files.remove_others(catalog.folder, keep=name)
    return True
