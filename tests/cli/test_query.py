"""`mmsearch query` on real photos with the built-in model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image

from mmsearch import Collection
from mmsearch.store.catalog import Catalog

FIELDS = {
    "rank", "score", "path", "id", "width", "height", "format", "size", "mtime", "taken_at", "camera", "latitude",
    "longitude", "remark", "hash", "offline", "confidence", "duplicates",
}  # fmt: skip


def test_cat_comes_first(command: Command, indexed: Path) -> None:
    lines = command("query", "a cat", "-C", indexed, "-k", 3).out.splitlines()
    assert len(lines) == 3
    rank, score, sure, path = lines[0].split(maxsplit=3)
    assert rank == "1" and 0 < float(score) <= 1 and sure == "●●●" and path.endswith("cat.jpg")


def test_most_captions_find_their_photo(sample_data: Path, indexed: Path) -> None:
    records = [json.loads(line) for line in (sample_data / "captions.jsonl").read_text("utf-8").splitlines()]
    with Collection.open(indexed) as photos:
        found = [
            Path(photos.search(text=caption, k=1)[0].path).name == record["file"]
            for record in records
            for caption in record["captions"]
        ]
    assert len(found) >= 48
    assert sum(found) / len(found) >= 0.8


def test_scores_are_exact_cosines(indexed: Path) -> None:
    with Collection.open(indexed) as photos, Catalog(indexed, write=False) as catalog:
        hits = photos.search(text="a bird on a branch", k=30)
        stored = catalog.encoders.current()
        assert stored is not None
        from mmsearch.encoders import load_encoder

        query = load_encoder("starter").encode_texts(["a bird on a branch"])[0].astype(np.float64)
        for hit in hits:
            _, vectors = catalog.embeddings.of(stored, [hit.image.content_id])
            vector = vectors[0].astype(np.float64)
            cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
            assert hit.score == pytest.approx(cosine, abs=1e-3)
    assert len(hits) == 24
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_query_image_is_not_its_own_result(command: Command, sample_data: Path, indexed: Path) -> None:
    dog = sample_data / "dog.jpg"
    names = [Path(p).name for p in command("query", "--image", dog, "-C", indexed, "--paths").out.split()]
    assert names[0] == "spaniels.jpg" and "dog.jpg" not in names
    own = command("query", "--image", dog, "-C", indexed, "--include-self", "--json").json["results"][0]
    assert Path(own["path"]).name == "dog.jpg" and own["score"] == pytest.approx(1, abs=1e-3)


def test_query_image_from_standard_input(sample_data: Path, indexed: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mmsearch", "query", "--image", "-", "-C", indexed, "--paths", "-k", "1"],
        input=(sample_data / "dog.jpg").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert result.stdout.strip().endswith(b"spaniels.jpg")
    assert result.stderr == b""


def test_query_image_from_outside_the_collection(
    command: Command, tmp_path: Path, sample_data: Path, indexed: Path
) -> None:
    from PIL import Image

    stranger = tmp_path / "stranger.webp"
    with Image.open(sample_data / "cat.jpg") as cat:
        cat.rotate(5).save(stranger)
    best = command("query", "--image", stranger, "-C", indexed, "-k", 1, "--paths").out
    assert best.strip().endswith("cat.jpg")


def test_json_is_the_documented_contract(command: Command, indexed: Path) -> None:
    answer = command("query", "a cat", "-C", indexed, "-k", 2, "--json").json
    assert set(answer) == {"query", "count", "results"}
    terms = [{"kind": "text", "value": "a cat", "weight": 1.0}]
    assert answer["query"] == {"text": "a cat", "image": None, "like": None, "terms": terms} and answer["count"] == 2
    lines = command("query", "a cat", "-C", indexed, "-k", 2, "--jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == answer["results"]
    assert all(set(result) == FIELDS for result in answer["results"])
    assert answer["results"][0]["format"] == "JPEG" and answer["results"][0]["width"] == 451


def test_in_and_min_score_filter(command: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "pets").mkdir()
    for name in ("dog.jpg", "spaniels.jpg"):
        os.rename(photos / name, photos / "pets" / name)
    collection = tmp_path / "filtered"
    assert command("index", photos, "--model", "starter", "-C", collection).code == 0
    inside = command("query", "a cat", "-C", collection, "--in", photos / "pets", "--json").json["results"]
    assert {Path(result["path"]).name for result in inside} == {"dog.jpg", "spaniels.jpg"}
    assert command("query", "a cat", "-C", collection, "--in", photos / "pet", "--paths").out == ""
    everything = command("query", "a cat", "-C", collection, "--json", "-k", 100).json["results"]
    threshold = everything[3]["score"] - 1e-6
    kept = command("query", "a cat", "-C", collection, "--json", "--min-score", threshold).json["results"]
    assert kept == everything[:4]


def test_outputs_exclude_each_other(command: Command, indexed: Path) -> None:
    assert command("query", "a cat", "-C", indexed, "--json", "--paths").code == 2


def test_closed_pipe_is_no_error(indexed: Path) -> None:
    script = f"{sys.executable} -m mmsearch query 'a cat' -C {indexed} --jsonl | true"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, check=True)
    assert result.stderr == b""


def test_answers_stay_right_without_the_vector_file(command: Command, photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "collection"
    assert command("index", photos, "--model", "starter", "-C", collection).code == 0
    before = command("query", "a cat", "-C", collection, "--json").json
    vectors = next(collection.glob("vectors-*"))
    vectors.write_bytes(vectors.read_bytes()[:1000])
    damaged = command("query", "a cat", "-C", collection, "--json")
    assert damaged.json == before and "vector file" in damaged.err
    vectors.unlink()
    assert command("query", "a cat", "-C", collection, "--json").json == before
    assert command("index", "-C", collection).code == 0
    assert command("query", "a cat", "-C", collection, "--json").err == ""


def test_new_images_are_found_before_the_vector_file_covers_them(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    held_back = tmp_path / "cat.jpg"
    os.rename(photos / "cat.jpg", held_back)
    collection = tmp_path / "collection"
    assert command("index", photos, "--model", "starter", "-C", collection).code == 0
    vectors = [path.name for path in collection.glob("vectors-*")]
    os.rename(held_back, photos / "cat.jpg")
    os.unlink(photos / "dog.jpg")
    assert command("index", "-C", collection).code == 0
    assert [path.name for path in collection.glob("vectors-*")] == vectors
    paths = command("query", "a cat", "-C", collection, "--paths", "-k", 24).out
    assert Path(paths.splitlines()[0]).name == "cat.jpg" and "dog.jpg" not in paths


def test_python_api(photos: Path, tmp_path: Path) -> None:
    with Collection.open(tmp_path / "api") as collection:
        summary = collection.add([photos], model="starter")
        assert summary.new == 24 and summary.model == "starter"
        assert Path(collection.search(text="a cat", k=1)[0].path).name == "cat.jpg"
        data = (photos / "dog.jpg").read_bytes()
        assert Path(collection.search(image=data, k=1)[0].path).name == "spaniels.jpg"
        (photos / "cat.jpg").unlink()
        assert collection.add().removed == 1
        assert Path(collection.search(text="a cat", k=1)[0].path).name != "cat.jpg"
        assert collection.forget(photos) == 23


def test_results_say_where_a_photo_was_taken(command: Command, sample_data: Path, tmp_path: Path) -> None:
    block = Image.Exif()
    block.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 36.0)})
    with Image.open(sample_data / "cat.jpg") as photo:
        photo.save(tmp_path / "sydney.jpg", exif=block)
    command("index", tmp_path, "-C", tmp_path / "c", "--model", "starter", "--exclude", "c/")
    (place,) = command("query", "a cat", "-C", tmp_path / "c", "--json").json["results"]
    assert (place["latitude"], place["longitude"]) == (pytest.approx(-33.858333), pytest.approx(151.21))
