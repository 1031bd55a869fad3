"""What one question sees of a collection: its catalog, the model that answers, and the embeddings read so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.store.catalog import Catalog, StoredEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.store.embeddings import Embeddings

    Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class View:
    """One catalog as one encoder sees it. `read` are embeddings that need not be read again, by ascending id."""

    catalog: Catalog
    encoder: StoredEncoder
    read: Embeddings

    @classmethod
    def of(cls, catalog: Catalog, encoder: StoredEncoder) -> View:
        """A view of which nothing has been read yet."""
        return cls(catalog, encoder, catalog.embeddings.of(encoder, []))

    def is_current(self) -> bool:
        """Whether the encoder is still the collection's; another process may have switched to another."""
        return self.catalog.encoders.current() == self.encoder

    def reading(self, ids: Ids) -> View:
        """The same, with the embeddings of those of `ids` (n,), each once and ascending, that have one."""
        return replace(self, read=self.catalog.embeddings.of(self.encoder, ids.tolist()))

    def vectors_of(self, ids: Ids) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The embeddings of those of `ids` (n,) that have one, in their order, and which these are (n,).

        They come from what has been `read` where all are in it, else from the catalog.
        """
        read = self.read
        rows, known = rows_of(read[0], ids)
        if not known.all():  # some are newer than the vector files, or all were compared and few are kept
            read = self.reading(distinct(ids)).read
            rows, known = rows_of(read[0], ids)
        return read[1][rows], known


def distinct(ids: Ids) -> Ids:
    """Each once, ascending. As `np.unique`, which imports numpy.ma: 3 % of a cold query's time."""
    ordered = np.sort(ids)
    return ordered[np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))]


def rows_of(ids: Ids, wanted: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where in `ids` (n,), ascending, those of `wanted` (m,) are that are there, and which these are (m,)."""
    found = np.searchsorted(ids, wanted)
    known = np.zeros(len(wanted), np.bool_)
    inside = found < len(ids)
    known[inside] = ids[found[inside]] == wanted[inside]
    return found[known], known
