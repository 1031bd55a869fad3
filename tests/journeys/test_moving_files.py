"""Vector files that are replaced while a search is about to open them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mmsearch import Collection
from mmsearch.vectors.faiss_file import VectorIndex


@pytest.fixture
def place(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "collection"))


@pytest.mark.parametrize("times", [1, 3, 100])
def test_a_search_looks_again(place: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog names a file, and it is gone before it is opened. Only where that never ends is it done without."""
    left, writes = times, False
    real = VectorIndex.__init__

    def replaced(self: VectorIndex, path: Path, **options: Any) -> None:
        nonlocal left, writes
        if not writes and left > 0:  # a search opens it, not the one that wrote it
            left, writes = left - 1, True
            with Collection.open(place) as writer:
                writer.optimize()
            writes = False
        real(self, path, **options)

    monkeypatch.setattr(VectorIndex, "__init__", replaced)
    said: list[str] = []
    with Collection.open(place, notice=said.append) as photos:
        hits = photos.search(text="a cat", k=24)
    assert len(hits) == 24 and hits[0].path.endswith("cat.jpg")
    assert len(said) == (1 if times == 100 else 0)
