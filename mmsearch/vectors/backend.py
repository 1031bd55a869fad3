"""Where the vectors of a collection are searched: what anything that does so offers, FAISS files or a server.

A backend holds indexes that are written once. What the catalog has beyond them is searched exactly, until it is worth
an index of its own; what is gone from the catalog drops out when candidates are scored again. So a backend needs
neither to add to an index nor to remove from one: it builds a new one, and lets go of those that the catalog no longer
names.
Nothing outside this folder opens an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmsearch.vectors.kinds import Kind

    # Content ids (n,) int64 and their vectors (n, dim) float32.
    Parts = Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]


class Built(Protocol):
    """An index that was built: its name and how to tell later that it is whole. Sizes are in bytes.

    `head_bytes` is the size of what comes before codes and ids, `head_digest` and `digest` are of that and of all.
    """

    @property
    def name(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def head_bytes(self) -> int: ...
    @property
    def head_digest(self) -> str: ...
    @property
    def digest(self) -> str: ...


class Covered(Built, Protocol):
    """An index as the catalog knows it, of ids over `first` and up to `watermark`, of which `removed` are gone."""

    @property
    def first(self) -> int: ...
    @property
    def watermark(self) -> int: ...
    @property
    def removed(self) -> int: ...


class Index(Protocol):
    """An open index, read-only."""

    @property
    def count(self) -> int:
        """How many vectors it holds."""
        ...

    @property
    def dim(self) -> int:
        """Their width."""
        ...

    @property
    def lists(self) -> int:
        """The number of inverted lists, of which a search looks into some; 0 where it looks at everything."""
        ...

    def ids(self) -> NDArray[np.int64]:
        """The content ids of all vectors (count,), ascending. Reads every id."""
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, *, probes: int = 0, allowed: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Ids (n, up to k) of the about `k` nearest vectors to each of the unit vectors `queries` (n, dim), best first,
        -1 where there are fewer.

        `probes` is how many inverted lists are looked into (more cost time and find more); `allowed`, ascending ids,
        restricts the search to them.
        """
        ...


class Backend(Protocol):
    """The indexes of one collection."""

    def build(
        self, dim: int, kind: Kind, parts: Parts, sample: Callable[[int], NDArray[np.float32]] | None = None
    ) -> Built:
        """A new index of `kind` from `parts`, complete when this returns; `sample(n)` gives about n of the vectors, to
        train it on. Raises `StorageError`."""
        ...

    def open(self, built: Built) -> Index:
        """Raises `StorageError` where the index is missing or damaged."""
        ...

    def check(self, built: Built) -> None:
        """Raise `StorageError` where `open` would, without opening it."""
        ...

    def problem(self, covered: Covered, wanted: NDArray[np.int64]) -> str | None:
        """What is wrong with an index, in words; None where it holds what it should. Reads all of it.

        `wanted` are the ids, ascending, of all contents with an embedding in the range that it covers.
        """
        ...

    def others(self, keep: Iterable[str]) -> list[Path]:
        """What is there beside the indexes of these names: those that nobody names any more, and unfinished ones."""
        ...

    def remove_others(self, keep: Iterable[str]) -> None:
        """Remove the `others`. A reader that has one open keeps it."""
        ...
