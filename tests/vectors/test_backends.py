"""Every backend answers the same questions as the exact search does, and is all that a collection needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch import Collection
from mmsearch.base.errors import StorageError
from mmsearch.vectors import indexes
from mmsearch.vectors.backend import Backend, Built, Covered, Index
from mmsearch.vectors.faiss_file import BuiltFile, FaissFiles
from mmsearch.vectors.kinds import Kind

if TYPE_CHECKING:
    from mmsearch.vectors.backend import Parts

DIM, COUNT = 24, 3000
Vectors = NDArray[np.float32]


@dataclass
class Memory:
    """An index in memory, without any library."""

    numbers: NDArray[np.int64]
    vectors: Vectors
    lists: int = 0

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    def ids(self) -> NDArray[np.int64]:
        return np.sort(self.numbers)

    def search(
        self, queries: Vectors, k: int, *, probes: int = 0, allowed: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        scores = queries @ self.vectors.T
        if allowed is not None:
            scores[:, ~np.isin(self.numbers, allowed)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.where(np.isfinite(np.take_along_axis(scores, order, axis=1)), self.numbers[order], -1)


class InMemory:
    """A backend that keeps its indexes in the process: what a server would be, without one."""

    kept: dict[str, Memory]

    def __init__(self, folder: Path) -> None:
        self.kept = _KEPT.setdefault(folder, {})

    def build(self, dim: int, kind: Kind, parts: Parts, sample: Callable[[int], Vectors] | None = None) -> BuiltFile:
        pieces = [(np.empty(0, np.int64), np.empty((0, dim), np.float32)), *parts]
        name = f"vectors-{len(self.kept):032x}.faiss"
        index = Memory(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))
        self.kept[name] = index
        return BuiltFile(name, index.count, index.vectors.nbytes, 0, "", "")

    def open(self, built: Built) -> Memory:
        self.check(built)
        return self.kept[built.name]

    def check(self, built: Built) -> None:
        if built.name not in self.kept:
            raise StorageError(f"no index {built.name}")

    def problem(self, covered: Covered, wanted: NDArray[np.int64]) -> str | None:
        return None if np.array_equal(self.open(covered).ids(), wanted) else "it holds other images"

    def others(self, keep: Iterable[str]) -> list[Path]:
        return []

    def remove_others(self, keep: Iterable[str]) -> None:
        for name in self.kept.keys() - set(keep):
            del self.kept[name]


_KEPT: dict[Path, dict[str, Memory]] = {}


def vectors(count: int, seed: int) -> Vectors:
    """Unit vectors, rounded as the catalog rounds them."""
    found = np.random.default_rng(seed).normal(size=(count, DIM))
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit.astype(np.float16).astype(np.float32)


@pytest.fixture(params=["flat", "ivf-sq8", "ivf-sq4", "memory"])
def built(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Backend, Built, NDArray[np.int64], Vectors]:
    """A backend with an index over vectors whose ids have gaps."""
    ids, stored = np.arange(COUNT, dtype=np.int64) * 3 + 7, vectors(COUNT, 1)
    kind = Kind("flat") if request.param in ("flat", "memory") else Kind(request.param, 16)
    chosen: Backend = InMemory(tmp_path) if request.param == "memory" else FaissFiles(tmp_path)
    parts = zip(np.array_split(ids, 3), np.array_split(stored, 3), strict=True)
    return chosen, chosen.build(DIM, kind, parts, lambda count: stored[:count]), ids, stored


def share_found(index: Index, ids: NDArray[np.int64], stored: Vectors, allowed: NDArray[np.int64] | None) -> float:
    """The share of the ten best of the exact search among the hundred candidates of an index, over 50 questions."""
    queries = vectors(50, 2)
    usable = np.ones(len(ids), bool) if allowed is None else np.isin(ids, allowed)
    candidates = index.search(queries, 100, probes=16, allowed=allowed)
    hits = []
    for query, found in zip(queries, candidates, strict=True):
        assert np.isin(found[found >= 0], ids[usable]).all()
        best = ids[usable][np.argsort(-(stored[usable] @ query), kind="stable")[:10]]
        hits.append(np.isin(best, found).mean())
    return float(np.mean(hits))


@pytest.mark.parametrize("some", [None, 300, 5])
def test_it_finds_what_the_exact_search_finds(
    built: tuple[Backend, Built, NDArray[np.int64], Vectors], some: int | None
) -> None:
    chosen, file, ids, stored = built
    index = chosen.open(file)
    assert (index.count, index.dim, file.count) == (COUNT, DIM, COUNT)
    assert np.array_equal(index.ids(), ids)
    allowed = None if some is None else np.sort(np.random.default_rng(3).choice(ids, some, replace=False))
    assert share_found(index, ids, stored, allowed) >= 0.999


def test_what_is_gone_or_was_never_there_is_a_storage_error(
    built: tuple[Backend, Built, NDArray[np.int64], Vectors],
) -> None:
    chosen, file, *_ = built
    chosen.check(file)
    chosen.remove_others([file.name])
    chosen.check(file)
    chosen.remove_others([])
    for act in (chosen.check, chosen.open):
        with pytest.raises(StorageError):
            act(file)
    assert isinstance(file, BuiltFile)
    with pytest.raises(StorageError):
        chosen.open(replace(file, name="another"))


def test_a_collection_needs_no_more_than_the_protocol(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers, doctor's verdict included, over indexes that are no files at all."""

    def answers(folder: Path) -> list[tuple[str, float | None]]:
        with Collection.open(folder) as collection:
            collection.add([photos], model="starter")
            collection.optimize()
            (photos / "copy.jpg").write_bytes((photos / "cat.jpg").read_bytes())
            collection.add()
            (photos / "copy.jpg").unlink()
            collection.add()
            assert all(finding.ok for finding in collection.doctor())
            asked = ({"text": "a cat"}, {"text": "flowers", "min_width": 500}, {"like": photos / "dog.jpg"})
            return [(hit.path, hit.score) for words in asked for hit in collection.search(k=30, **words)]

    with_files = answers(tmp_path / "files")
    monkeypatch.setattr(indexes, "of", InMemory)
    assert answers(tmp_path / "memory") == with_files
    assert not list((tmp_path / "memory").glob("vectors-*"))
