"""Two-level k-means: centroids for many inverted lists in seconds rather than hours, and assignment to them.

Plain k-means over 10 million vectors and 16,384 lists takes 2 x 10^14 operations to assign alone, half an hour on two
cores. Here the lists are split among sqrt(lists) coarse clusters, and a vector is compared with the lists of its
nearest few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.vectors import kinds

# Coarse clusters whose lists a vector is compared with. With 3, all but a few in a thousand get their nearest list.
_NEAREST_COARSE = 3

# k-means rounds; later ones move centroids by less than what the scalar quantiser rounds away.
_ROUNDS = 8

# Vectors in one matrix product: 65,536 x 512 floats are 134 MB.
_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Clusters:
    """`coarse` (c, dim) and, for each, the centroids of its lists, numbered in this order; all are unit vectors."""

    coarse: NDArray[np.float32]
    children: tuple[NDArray[np.float32], ...]

    @property
    def centroids(self) -> NDArray[np.float32]:
        """All lists' centroids (lists, dim)."""
        return np.concatenate(self.children)

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """The list of each of `vectors` (n, dim): the nearest by inner product among those of its nearest coarse
        clusters.
        """
        parts = [self._assign(vectors[start : start + _BLOCK]) for start in range(0, len(vectors), _BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        near = _nearest_few(vectors @ self.coarse.T, min(_NEAREST_COARSE, len(self.coarse)))
        best = np.full(len(vectors), -np.inf, np.float32)
        lists = np.zeros(len(vectors), np.int64)
        first = 0
        for number, children in enumerate(self.children):
            rows = np.flatnonzero((near == number).any(axis=1))
            if len(rows) and len(children):
                scores = vectors[rows] @ children.T
                nearest = scores.argmax(axis=1)
                values = scores[np.arange(len(rows)), nearest]
                better = values > best[rows]
                best[rows[better]] = values[better]
                lists[rows[better]] = first + nearest[better]
            first += len(children)
        return lists


def train(vectors: NDArray[np.float32], count: int) -> Clusters:
    """Centroids for about `count` lists from training `vectors` (n, dim); the same input gives the same centroids."""
    coarse = _kmeans(vectors, max(1, round(count**0.5)), kinds.SEED)
    blocks = [vectors[start : start + _BLOCK] for start in range(0, len(vectors), _BLOCK)]
    nearest = np.concatenate([(block @ coarse.T).argmax(axis=1) for block in blocks])
    shares = _shares(np.bincount(nearest, minlength=len(coarse)), count)
    children = [
        _kmeans(vectors[nearest == number], int(share), kinds.SEED + number) for number, share in enumerate(shares)
    ]
    return Clusters(coarse, tuple(children))


def _nearest_few(scores: NDArray[np.float32], few: int) -> NDArray[np.int64]:
    order = np.argpartition(-scores, few - 1, axis=1)
    return np.asarray(order[:, :few], np.int64)


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many of `count` lists each coarse cluster gets: in proportion to its size, largest remainders first."""
    exact = sizes * (count / max(1, int(sizes.sum())))
    shares = np.floor(exact).astype(np.int64)
    rest = np.argsort(shares - exact, kind="stable")[: count - int(shares.sum())]
    shares[rest] += 1
    available: NDArray[np.int64] = np.minimum(shares, sizes)
    return available


def _kmeans(vectors: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Spherical k-means: unit centroids (count, dim); the vectors themselves where they are no more than that."""
    import faiss

    if count >= len(vectors) or not count:
        return vectors[:count]
    clustering = faiss.Kmeans(
        vectors.shape[1],
        count,
        niter=_ROUNDS,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=256,
    )
    clustering.train(vectors)
    return np.asarray(clustering.centroids, np.float32)
