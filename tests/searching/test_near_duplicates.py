"""Near-duplicates shown once: the greedy fold against brute force, and bursts made of sample photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch import Collection
from mmsearch.base import config
from mmsearch.base.errors import UsageError
from mmsearch.searching.near_duplicates import fold


def brute_force(vectors: np.ndarray, least: float) -> list[int]:
    """Row by row, in Python's own numbers."""
    stands: list[int] = []
    for row, vector in enumerate(vectors.tolist()):
        found = row
        for other in range(row):
            if stands[other] == other:
                norms = np.linalg.norm(vectors[other]) * np.linalg.norm(vectors[row])
                if sum(a * b for a, b in zip(vectors[other].tolist(), vector, strict=True)) / norms >= least:
                    found = other
                    break
        stands.append(found)
    return stands


@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.7, 0.9]))
@settings(max_examples=60, deadline=None)
def test_fold_is_greedy(rows: int, seed: int, least: float) -> None:
    vectors = np.random.default_rng(seed).standard_normal((rows, 3)).astype(np.float32)
    assert fold(vectors, least).tolist() == brute_force(vectors, least)


def test_fold_by_hand() -> None:
    angles = np.radians([0, 20, 40, 5, 40])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # 20 degrees is near 0; 40 is near 20, which stands for nothing, and not near 0.
    assert fold(vectors, np.cos(np.radians(25))).tolist() == [0, 0, 2, 0, 2]
    assert fold(vectors, 1.0).tolist() == [0, 1, 2, 3, 2]
    assert fold(np.empty((0, 2), np.float32), 0.9).tolist() == []


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Path:
    """A collection of five photos, of which three were taken as bursts: slightly cropped, sized or encoded anew."""
    folder = tmp_path_factory.mktemp("bursts")
    for name, shots in {"cat": 4, "dog": 3, "owl": 0, "bee": 2, "rocket": 0}.items():
        with Image.open(sample_data / f"{name}.jpg") as opened:
            photo = opened.convert("RGB")
        photo.save(folder / f"{name}-0.jpg", quality=95)
        for shot in range(1, shots + 1):
            edge = round(0.01 * shot * photo.width)
            frame = photo.crop((edge, edge, photo.width, photo.height))
            frame.resize((frame.width * 4 // (4 + shot), frame.height * 4 // (4 + shot))).save(
                folder / f"{name}-{shot}.jpg", quality=92 - shot
            )
    with Collection.open(folder / "collection.mmsearch") as photos:
        photos.add([folder], model="starter")
    return folder


def names(hits: list) -> list[str]:  # type: ignore[type-arg]
    return [Path(hit.path).name.split("-")[0] for hit in hits]


def test_a_burst_is_shown_once_with_its_number(bursts: Path) -> None:
    with Collection.open(bursts / "collection.mmsearch") as photos:
        plain = photos.search("a cat", k=5)
        assert names(plain) == ["cat"] * 5 and {hit.duplicates for hit in plain} == {0}
        hits = photos.search("a cat", k=5, diverse=True)
    assert hits[0].path == plain[0].path and hits[0].score == plain[0].score
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert {name: hit.duplicates for name, hit in zip(names(hits), hits, strict=True)} == {
        "cat": 4, "dog": 3, "owl": 0, "bee": 2, "rocket": 0,
    }  # fmt: skip


def test_folding_by_brute_force_over_the_whole_ranking(bursts: Path) -> None:
    with Collection.open(bursts / "collection.mmsearch") as photos:
        ranking = photos.search("an animal", k=100)
        vectors = np.stack([_embedding(photos, hit.path) for hit in ranking])
        for least in (0.6, 0.9, config.NEAR_DUPLICATE):
            stands = brute_force(vectors, least)
            expected = [(ranking[row].path, stands.count(row) - 1) for row in sorted(set(stands))]
            for top in (1, 2, 50):
                hits = photos.search("an animal", k=top, diverse_at=least)
                assert [(hit.path, hit.duplicates) for hit in hits] == expected[:top]


def _embedding(photos: Collection, path: str) -> np.ndarray:
    catalog = photos._open_reader()
    stored, record = catalog.encoders.current(), catalog.files.at(path)
    assert stored is not None and record is not None
    return catalog.embeddings.of(stored, [record.content_id])[1][0]


def test_lists_by_date_and_confidences_go_with_it(bursts: Path) -> None:
    with Collection.open(bursts / "collection.mmsearch") as photos:
        listed = photos.search(below=bursts, diverse=True, k=3)
        assert len(set(names(listed))) == 3 and {hit.score for hit in listed} == {None}
        assert sum(hit.duplicates for hit in photos.search(below=bursts, diverse=True)) == 9
        likely = photos.search("a cat", diverse=True, min_confidence=0.9)
        assert names(likely) == ["cat"] and likely[0].duplicates == 4


def test_copies_of_a_file_are_near_duplicates(photos: Path, tmp_path: Path) -> None:
    for number in range(3):
        (photos / f"copy-{number}.jpg").write_bytes((photos / "owl.jpg").read_bytes())
    with Collection.open(tmp_path / "c") as collection:
        collection.add([photos], model="starter")
        (owl,) = collection.search("an owl", k=1, diverse_at=1)
    assert owl.duplicates == 3


def test_on_the_command_line_and_in_batch(command: Command, bursts: Path, tmp_path: Path) -> None:
    where = ("-C", bursts / "collection.mmsearch")
    table = command("query", "a cat", "--diverse", *where).out.splitlines()
    assert len(table) == 5 and table[0].endswith("  (+4 similar)")
    assert sorted(line.partition("  (")[2] for line in table) == ["", "", "+2 similar)", "+3 similar)", "+4 similar)"]
    result = command("query", "a cat", "--diverse", "-k", 1, "--json", *where).json["results"][0]
    assert result["duplicates"] == 4
    assert command("query", "a cat", "-k", 1, "--json", *where).json["results"][0]["duplicates"] == 0
    source = tmp_path / "lines"
    source.write_text(json.dumps({"text": "a cat", "diverse": True, "top": 1}) + "\n")
    assert json.loads(command("query", "--batch", source, *where).out)["results"][0]["duplicates"] == 4
    apart = command("query", "a cat", "--diverse-at", 1, "-k", 3, *where).out.splitlines()
    assert len(apart) == 3 and "similar" not in "".join(apart)


@pytest.mark.parametrize("limit", [0, -0.5, 1.01, float("nan")])
def test_a_limit_that_is_none_is_refused(limit: float, collection: Collection) -> None:
    with pytest.raises(UsageError, match="invalid limit for near-duplicates"):
        collection.search("a cat", diverse_at=limit)
