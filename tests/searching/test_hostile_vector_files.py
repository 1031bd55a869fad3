"""Vector files that are well-formed but lie: what they do to an answer is noticed, and the answer is right."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch import Collection
from mmsearch.searching import candidates
from mmsearch.store.catalog import Catalog
from mmsearch.vectors import faiss_file
from mmsearch.vectors.kinds import Kind

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]


@pytest.fixture
def own(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the collection of sample photos, which is large enough to be asked by its vector file."""
    monkeypatch.setattr(candidates, "EXACT_SUBSET", 0)
    return shutil.copytree(indexed, tmp_path / "own")


def rebuild(folder: Path, change: Callable[[Ids, Vectors], tuple[Ids, Vectors]]) -> None:
    """Put another vector file in place, and write into the catalog what it needs to be taken for whole."""
    with Catalog(folder, write=False) as catalog:
        stored = catalog.require_encoder()
        parts = list(catalog.embeddings.after(stored, 0))
    ids, vectors = change(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    built = faiss_file.build(folder, vectors.shape[1], Kind("flat"), [(ids, vectors)])
    facts = (built.name, built.bytes, built.head_bytes, built.head_digest, built.digest, built.count)
    with sqlite3.connect(folder / "catalog.sqlite3") as database:
        columns = "name = ?, bytes = ?, head_bytes = ?, head_digest = ?, digest = ?, count = ?"
        database.execute(f"UPDATE vector_files SET {columns}", facts)
    database.close()


def answers(folder: Path) -> tuple[list[str], list[str]]:
    """The paths of a question's answer, twice, and what was said."""
    lines: list[str] = []
    with Collection.open(folder, notice=lines.append) as collection:
        first = [hit.path for hit in collection.search(text="a cat", k=5)]
        assert [hit.path for hit in collection.search(text="a cat", k=5)] == first
    return first, lines


def of_other_ids(ids: Ids, vectors: Vectors) -> tuple[Ids, Vectors]:
    """Within the range that the file covers, where nothing has the ids: they stand for half of the images."""
    return np.concatenate([ids[::2], ids[::2] + 100_000]), np.concatenate([vectors[::2], vectors[::2]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ids, vectors: (ids + 10_000, vectors), "names 24 images that it should not"),
        (lambda ids, vectors: (ids - 1_000, vectors), "names 24 images that it should not"),
        (lambda ids, vectors: (ids, np.ascontiguousarray(vectors[:, :100])), "has 24 vectors of width 100, not 24 of"),
    ],
)
def test_what_does_not_fit_is_noticed(
    own: Path, change: Callable[[Ids, Vectors], tuple[Ids, Vectors]], says: str
) -> None:
    expected, nothing = answers(own)
    assert nothing == []
    rebuild(own, change)
    found, lines = answers(own)
    assert found == expected
    assert len(lines) == 1 and says in lines[0] and "searching without it" in lines[0]


def test_ids_that_name_nothing_are_noticed(own: Path) -> None:
    """In the range that the file covers, so that only the catalog can tell."""
    expected, _ = answers(own)
    rebuild(own, of_other_ids)
    with sqlite3.connect(own / "catalog.sqlite3") as database:
        database.execute("UPDATE vector_files SET watermark = 200000")
    database.close()
    found, lines = answers(own)
    assert found == expected
    assert len(lines) == 1 and "names 12 images that it should not" in lines[0]


def test_a_number_that_the_catalog_does_not_have_is_noticed(own: Path) -> None:
    expected, _ = answers(own)
    with sqlite3.connect(own / "catalog.sqlite3") as database:
        database.execute("UPDATE vector_files SET count = 7")
    database.close()
    found, lines = answers(own)
    assert found == expected
    assert len(lines) == 1 and "has 24 vectors of width" in lines[0]
