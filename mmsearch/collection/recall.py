"""Measure the search itself on a collection's own vectors: recall against the exact search, and latency."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmsearch.searching.candidates import CandidateSource, covered
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.vectors import calibrate

# Images that stand in for queries: at 100, a recall of 0.98 is known to about +-0.01.
SAMPLE = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """How the vector files do: their kind and size in bytes; `recall_at_10` against exact search over everything, and
    the median `milliseconds` of one warm search without encoding, over `queries` sampled images."""

    kind: str
    bytes: int
    vectors: int
    recall_at_10: float
    milliseconds: float
    queries: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def advice(self) -> str:
        """What a user could do about it, in one line."""
        if self.recall_at_10 >= calibrate.TARGET - 0.01:
            return "no change needed"
        return "`mmsearch optimize` rebuilds the index (`--kind flat`: an exact one); see also `query --exact`"


def measure(catalog: Catalog, encoder: StoredEncoder, notice: Callable[[str], None]) -> Measured:
    """Search for `SAMPLE` stored images, spread over the collection, through the vector files and exactly."""
    with catalog.snapshot():
        last = catalog.embeddings.last(encoder.id)
        queries = catalog.embeddings.sample(encoder, 0, last, SAMPLE)[:SAMPLE]
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        source = CandidateSource(catalog, notice)
        usable = source.refresh(encoder, last_try=True)
        watermark, _ = covered(usable)
        truth = calibrate.nearest(catalog.embeddings.after(encoder, 0, watermark), queries)
        found, spent = [], []
        for query in queries:
            started = time.perf_counter()
            ids = source.search(usable, query[np.newaxis], calibrate.CANDIDATES)[0]
            catalog.embeddings.of(encoder, ids.tolist())
            spent.append(time.perf_counter() - started)
            found.append(ids)
        kinds = " + ".join(file.kind for file, _ in usable) or "none"
        return Measured(
            kind=kinds,
            bytes=sum(file.bytes for file, _ in usable),
            vectors=sum(file.count for file, _ in usable),
            recall_at_10=calibrate.recall(truth, found),
            milliseconds=1000 * float(np.median(spent)) if spent else 0.0,
            queries=len(queries),
        )
