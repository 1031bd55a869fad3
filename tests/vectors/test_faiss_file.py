"""FAISS files against the exact search with NumPy."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.base.errors import StorageError
from mmsearch.vectors import exact, faiss_file, on_disk
from mmsearch.vectors.faiss_file import BuiltFile, VectorIndex
from mmsearch.vectors.kinds import Kind, KindName

if TYPE_CHECKING:
    from mmsearch.vectors.backend import Parts

DIM = 24
Vectors = NDArray[np.float32]


def unit(vectors: NDArray[Any]) -> Vectors:
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def embeddings(count: int, *, seed: int = 1) -> Vectors:
    """Unit vectors, rounded as the catalog rounds them."""
    vectors = unit(np.random.default_rng(seed).normal(size=(count, DIM)))
    return vectors.astype(np.float16).astype(np.float32)


def ids_for(count: int) -> NDArray[np.int64]:
    """Ids with gaps, as after removals, and beyond 32 bits."""
    return np.arange(count, dtype=np.int64) * 3 + 2**33


def build(folder: Path, parts: Parts) -> BuiltFile:
    return faiss_file.build(folder, DIM, Kind("flat"), parts)


def search(index: VectorIndex, query: Vectors, k: int) -> NDArray[np.int64]:
    """Ids (k,) for one query (dim,)."""
    (found,) = index.search(query[np.newaxis], k)
    assert found.dtype == np.int64
    row: NDArray[np.int64] = found
    return row


def reference(ids: NDArray[np.int64], vectors: Vectors, query: Vectors, k: int) -> list[int]:
    """Cosines in double precision, sorted; ties by id."""
    cosines = vectors.astype(np.float64) @ query.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1)
    return [int(ids[row]) for row in np.lexsort((ids, -cosines))[:k]]


# --- the exact search ---


def test_scores_are_cosines_of_what_is_stored() -> None:
    vectors, query = embeddings(200), embeddings(1, seed=2)[0]
    query /= np.linalg.norm(query)
    scores = exact.scores(vectors, query)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert scores.dtype == np.float32
    assert np.abs(scores - vectors.astype(np.float64) @ query / lengths).max() < 1e-6


def test_a_vector_of_zeros_scores_nothing() -> None:
    assert exact.scores(np.zeros((2, DIM), np.float32), embeddings(1)[0]).tolist() == [0, 0]
    assert exact.scores(np.zeros((0, DIM), np.float32), embeddings(1)[0]).shape == (0,)


@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 15))
def test_the_best_come_first_with_all_that_tie_with_the_last(values: list[int], k: int) -> None:
    ids = np.arange(len(values), dtype=np.int64)[::-1] * 7
    found, scores = exact.top(ids, np.array(values, np.float32), k)
    ranked = sorted(zip(values, ids.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
    kept = [pair for pair in ranked if len(ranked) <= k or pair[0] >= ranked[k - 1][0]]
    assert list(zip(scores.tolist(), found.tolist(), strict=True)) == kept


# --- files ---


@pytest.mark.parametrize("count", [1, 7, 500])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_file_finds_what_the_exact_search_finds(tmp_path: Path, count: int, parts: int) -> None:
    ids, vectors = ids_for(count), embeddings(count)
    pieces = zip(np.array_split(ids, parts), np.array_split(vectors, parts), strict=True)
    built = build(tmp_path, pieces)
    index = faiss_file.VectorIndex(tmp_path / built.name)
    assert (built.count, index.count, index.dim, index.lists) == (count, count, DIM, 0)
    for query in embeddings(20, seed=3):
        found = search(index, query, 10)
        assert found.tolist() == reference(ids, vectors, query, 10)


def test_every_embedding_finds_itself(tmp_path: Path) -> None:
    ids, vectors = ids_for(300), embeddings(300)
    name = build(tmp_path, [(ids, vectors)]).name
    index = faiss_file.VectorIndex(tmp_path / name)
    assert [int(search(index, vector, 1)[0]) for vector in vectors] == ids.tolist()


def test_ties_are_all_among_enough_candidates(tmp_path: Path) -> None:
    vectors = embeddings(60)
    vectors[20:40] = vectors[20]
    ids = ids_for(60)
    name = build(tmp_path, [(ids, vectors)]).name
    found = search(faiss_file.VectorIndex(tmp_path / name), vectors[20], 25)
    assert set(found[:20].tolist()) == set(ids[20:40].tolist())
    rows = np.searchsorted(ids, found)
    best, _ = exact.top(found, exact.scores(vectors[rows], vectors[20]), 5)
    assert best.tolist() == ids[20:40].tolist()


def test_no_more_is_found_than_there_is(tmp_path: Path) -> None:
    ids, vectors = ids_for(3), embeddings(3)
    name = build(tmp_path, [(ids, vectors)]).name
    found = search(faiss_file.VectorIndex(tmp_path / name), vectors[0], 100)
    assert sorted(found.tolist()) == ids.tolist()


def test_an_empty_file_finds_nothing(tmp_path: Path) -> None:
    built = build(tmp_path, [])
    index = faiss_file.VectorIndex(tmp_path / built.name)
    assert (built.count, index.count) == (0, 0)
    assert index.search(embeddings(3), 10).shape == (3, 0)


def test_a_large_file_is_mapped_not_read(tmp_path: Path) -> None:
    """What is mapped follows the file; what was read would not."""
    ids, vectors = ids_for(5000), embeddings(5000)
    name = build(tmp_path, [(ids, vectors)]).name
    index = faiss_file.VectorIndex(tmp_path / name)
    place = (tmp_path / name).read_bytes().index(vectors.astype("<f2").tobytes())
    with (tmp_path / name).open("r+b") as file:
        file.seek(place)
        file.write(np.zeros((5000, DIM), "<f2").tobytes())
        file.seek(place + 2 * DIM * 4321)
        file.write(vectors[77].astype("<f2").tobytes())
    assert search(index, vectors[77], 1).tolist() == [int(ids[4321])]


@pytest.mark.parametrize(("kind", "least"), [("ivf-sq8", 0.97), ("ivf-sq4", 0.7)])
def test_inverted_lists_find_nearly_what_the_exact_search_finds(tmp_path: Path, kind: KindName, least: float) -> None:
    ids, vectors, queries = ids_for(3000), embeddings(3000), embeddings(50, seed=3)
    built = faiss_file.build(tmp_path, DIM, Kind(kind, 16), [(ids, vectors)], lambda count: vectors[:count])
    index = faiss_file.VectorIndex(tmp_path / built.name)
    assert (built.count, index.count, index.lists) == (3000, 3000, 16)
    truth = [set(reference(ids, vectors, query, 10)) for query in queries]
    shares = []
    for probes in (1, 4, 16, 1000):
        found = index.search(queries, 10, probes=probes)
        assert found.shape == (50, 10)
        shares.append(np.mean([len(best & set(row)) / 10 for best, row in zip(truth, found.tolist(), strict=True)]))
    assert shares == sorted(shares), "more probes find no less"
    assert shares[-1] >= least


@pytest.mark.parametrize("kind", [Kind("flat"), Kind("ivf-sq8", 4)])
def test_a_search_may_be_restricted_to_some_ids(tmp_path: Path, kind: Kind) -> None:
    ids, vectors, (query,) = np.arange(300, dtype=np.int64), embeddings(300), embeddings(1, seed=3)
    built = faiss_file.build(tmp_path, DIM, kind, [(ids, vectors)], lambda count: vectors[:count])
    index = faiss_file.VectorIndex(tmp_path / built.name)
    for allowed in (ids[::7], ids[250:], ids[:1], ids[:0]):
        (found,) = index.search(query[np.newaxis], 20, probes=4, allowed=allowed)
        kept = [number for number in found.tolist() if number >= 0]
        assert len(kept) == min(20, len(allowed))
        assert set(kept) <= set(allowed.tolist())
        if kept:
            assert kept[0] == reference(allowed, vectors[allowed], query, 1)[0]


def test_a_file_is_new_complete_and_private(tmp_path: Path) -> None:
    first = build(tmp_path, [(ids_for(3), embeddings(3))]).name
    before = (tmp_path / first).read_bytes()
    second = build(tmp_path, [(ids_for(4), embeddings(4))]).name
    assert first != second
    assert (tmp_path / first).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {first, second}, "no temporary file is left"
    for name in (first, second):
        assert name.startswith(faiss_file.PREFIX)
        assert name.endswith(faiss_file.SUFFIX)
        assert os.name == "nt" or stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_file_reaches_the_disk_before_its_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (steps.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (steps.append("rename"), replace(self, target))[1])
    build(tmp_path, [(ids_for(3), embeddings(3))])
    assert steps[:2] == ["fsync", "rename"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def fail_in_faiss(index: Any, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise RuntimeError("Error in void faiss::write() at /io.cpp:99: Error: 'ret == size' failed: write error: full")

    if failing == "write":
        monkeypatch.setattr(faiss, "write_index", fail_in_faiss)
    else:
        monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), fail)
    with pytest.raises(StorageError, match="cannot write the vector file") as caught:
        build(tmp_path, [(ids_for(3), embeddings(3))])
    assert ("No space left" if failing != "write" else "(write error: full)") in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_cannot_be_read_leaves_no_file(tmp_path: Path) -> None:
    def parts() -> Iterator[tuple[NDArray[np.int64], Vectors]]:
        yield ids_for(3), embeddings(3)
        raise StorageError("the catalog is damaged")

    with pytest.raises(StorageError, match="damaged"):
        build(tmp_path, parts())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "naïve", "caf\udce9", "a\nb"])
def test_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    ids, vectors = ids_for(3), embeddings(3)
    file = build(folder, [(ids, vectors)]).name
    assert [path.name for path in folder.iterdir()] == [file]
    assert search(faiss_file.VectorIndex(folder / file), vectors[1], 1).tolist() == [int(ids[1])]
    with pytest.raises(StorageError, match="cannot open the vector file"):
        faiss_file.VectorIndex(folder / "missing")


def test_a_missing_file_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        faiss_file.VectorIndex(tmp_path / "vectors-none.faiss")
    path = tmp_path / "vectors-none.faiss"
    assert str(caught.value).startswith(f"cannot open the vector file {path} (could not open {path}")
    assert "No such file" in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    name = build(tmp_path, [(ids_for(500), embeddings(500))]).name
    data = (tmp_path / name).read_bytes()
    short = tmp_path / "short"
    for length in (0, 2, 10, 40, 100, 200, 4096, len(data) // 2, len(data) - 500 * 8, len(data) - 100, len(data) - 8):
        short.write_bytes(data[:length])
        with pytest.raises(StorageError, match="cannot open the vector file"):
            faiss_file.VectorIndex(short)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not an index at all " * 100)
    with pytest.raises(StorageError, match="not recognized"):
        faiss_file.VectorIndex(tmp_path / "text")


IDS, VECTORS = np.arange(40, dtype=np.int64), embeddings(40)


def _with_ids(codes: Any, kind: type = faiss.IndexIDMap2) -> Any:
    index = kind(codes)
    index.add_with_ids(VECTORS, IDS)
    return index


def _other_metric() -> Any:
    quantizer = faiss.ScalarQuantizer.QT_fp16
    return _with_ids(faiss.IndexScalarQuantizer(DIM, quantizer, faiss.METRIC_L2))


def _inner_is_longer() -> Any:
    index = _with_ids(faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT))
    faiss.downcast_index(index.index).add(VECTORS)
    return index


@pytest.mark.parametrize(
    "made",
    [
        lambda: _with_ids(faiss.IndexFlatIP(DIM)),
        lambda: _with_ids(faiss.IndexHNSWFlat(DIM, 8)),
        lambda: _with_ids(faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16), faiss.IndexIDMap),
        lambda: faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT),
        _other_metric,
        lambda: faiss.index_factory(DIM, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT),
        lambda: faiss.index_factory(DIM, "PCA8,Flat"),
        _inner_is_longer,
    ],
)
def test_kinds_that_mmsearch_does_not_write_are_refused(made: Any, tmp_path: Path) -> None:
    """FAISS reads dozens of them, and takes sizes on trust."""
    index = made()
    if not index.is_trained:
        index.train(VECTORS)
    path = tmp_path / "vectors-other.faiss"
    faiss.write_index(index, str(path))
    with pytest.raises(StorageError, match="cannot open the vector file"):
        faiss_file.VectorIndex(path)


@pytest.mark.parametrize("kind", [Kind("flat"), Kind("ivf-sq8", 4), Kind("ivf-sq4", 4)])
@pytest.mark.parametrize(("place", "value"), [(4, b"\x00\x10\x00\x00"), (8, b"\xff" * 7), (33, b"\x01\x00\x00\x00")])
def test_headers_that_do_not_fit_are_refused(kind: Kind, place: int, value: bytes, tmp_path: Path) -> None:
    """Another width, more vectors than there are codes, another metric."""
    name = faiss_file.build(tmp_path, DIM, kind, [(IDS, VECTORS)], lambda count: VECTORS).name
    with (tmp_path / name).open("r+b") as file:
        file.seek(place)
        file.write(value)
    with pytest.raises(StorageError, match="cannot open the vector file"):
        faiss_file.VectorIndex(tmp_path / name)


def test_only_plain_files_within_the_folder_are_opened(tmp_path: Path) -> None:
    folder = tmp_path / "collection"
    folder.mkdir()
    built = build(tmp_path, [(IDS, VECTORS)])
    files = faiss_file.FaissFiles(folder)
    outside = [f"../{built.name}", str(tmp_path / built.name), "", "catalog.sqlite3", f"{built.name}\0"]
    for name in outside:
        with pytest.raises(StorageError, match="which is not a vector file"):
            files.open(replace(built, name=name))
    os.mkfifo(folder / built.name)
    with pytest.raises(StorageError, match="is not a plain file"):
        files.open(built)


def test_old_and_unfinished_files_go(tmp_path: Path) -> None:
    keep, old, half = (f"{faiss_file.PREFIX}{letter * 32}{faiss_file.SUFFIX}" for letter in "abc")
    others = {"catalog.sqlite3", "notes", "vectors-backup.faiss", "vectors-2024.faiss", f"{old}.bak"}
    for name in (keep, old, f"{half}.tmp", *others):
        (tmp_path / name).touch()
    on_disk.remove_others(tmp_path, [keep])
    assert {path.name for path in tmp_path.iterdir()} == {keep, *others}
    on_disk.remove_others(tmp_path, [])
    assert {path.name for path in tmp_path.iterdir()} == others


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps files that are open")
def test_an_open_file_can_be_searched_after_it_was_removed(tmp_path: Path) -> None:
    ids, vectors = ids_for(300), embeddings(300)
    name = build(tmp_path, [(ids, vectors)]).name
    index = faiss_file.VectorIndex(tmp_path / name)
    on_disk.remove_others(tmp_path, [])
    assert search(index, vectors[200], 1).tolist() == [int(ids[200])]
