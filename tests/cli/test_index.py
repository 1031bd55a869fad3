"""`mmsearch index`, `info` and `forget` on real photos with the built-in model."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

COUNTS = ("new", "changed", "moved", "unchanged", "removed", "skipped")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    return tmp_path / "collection"


def index(command: Command, collection: Path, *arguments: object, code: int = 0) -> dict[str, int]:
    outcome = command("index", *arguments, "--model", "starter", "-C", collection, "--json")
    assert outcome.code == code, outcome.err
    return {name: outcome.json[name] for name in COUNTS}


def counts(**given: int) -> dict[str, int]:
    return {name: given.get(name, 0) for name in COUNTS}


def test_index_does_only_what_changed(command: Command, photos: Path, collection: Path) -> None:
    total = len([path for path in photos.iterdir() if path.suffix != ".jsonl" and path.suffix != ".md"])
    assert index(command, collection, photos) == counts(new=total)
    assert index(command, collection, photos) == counts(unchanged=total)

    shutil.copy(photos / "dog.jpg", photos / "cat.jpg")  # changed, to a known content
    (photos / "bee.jpg").unlink()
    (photos / "owl.jpg").rename(photos / "bird.jpg")
    (photos / "deep").mkdir()
    shutil.move(photos / "sushi.jpg", photos / "deep" / "sushi.jpg")
    shutil.copy(photos / "rocket.jpg", photos / "again.jpg")
    expected = counts(new=1, changed=1, moved=2, removed=1, unchanged=total - 4)
    outcome = command("index", "-C", collection, "--json")
    assert {name: outcome.json[name] for name in COUNTS} == expected
    assert outcome.json["encoded"] == 0
    assert outcome.json["total"] == total


def test_touched_file_is_not_encoded_again(command: Command, photos: Path, collection: Path) -> None:
    index(command, collection, photos)
    os.utime(photos / "cat.jpg", (1, 1))
    outcome = command("index", photos, "-C", collection, "--json")
    assert outcome.json["encoded"] == 0 and outcome.json["changed"] == 0
    assert index(command, collection, photos)["unchanged"] == outcome.json["total"]


def test_changed_file_is_encoded_anew(command: Command, photos: Path, collection: Path) -> None:
    index(command, collection, photos)
    (photos / "cat.jpg").write_bytes((photos / "dog.jpg").read_bytes() + b"\0")
    outcome = command("index", photos, "-C", collection, "--json")
    assert (outcome.json["changed"], outcome.json["encoded"]) == (1, 1)
    best = command("query", "a golden retriever", "-C", collection, "--paths", "-k", 2).out.split()
    assert {Path(path).name for path in best} == {"cat.jpg", "dog.jpg"}


def test_unreadable_file_is_named_once(command: Command, photos: Path, collection: Path) -> None:
    broken = photos / "broken.jpg"
    broken.write_bytes((photos / "cat.jpg").read_bytes()[:3000])
    (photos / "notes.txt").write_text("no image, and does not claim to be one")
    outcome = command("index", photos, "--model", "starter", "-C", collection, "--json")
    assert outcome.code == 3
    assert outcome.err.count(str(broken)) == 1 and "damaged image" in outcome.err
    assert "notes.txt" not in outcome.err
    assert outcome.json["skipped"] == 1

    again = command("index", photos, "-C", collection, "--json")
    assert again.code == 0 and str(broken) not in again.err
    assert (again.json["skipped"], again.json["known_failures"]) == (0, 1)
    failures = command("info", "-C", collection, "--json").json["failures"]
    assert [failure["path"] for failure in failures] == [str(broken)]

    shutil.copy(photos / "cat.jpg", broken)
    assert command("index", photos, "-C", collection, "--json").json["new"] == 1
    assert command("info", "-C", collection, "--json").json["failures"] == []


def test_content_decides_not_the_name(command: Command, photos: Path, collection: Path) -> None:
    shutil.move(photos / "cat.jpg", photos / "cat.txt")
    shutil.move(photos / "dog.jpg", photos / "dog")
    index(command, collection, photos)
    assert command("query", "a cat", "-C", collection, "-k", 1, "--paths").out.strip() == str(photos / "cat.txt")


def test_include_exclude_and_hidden_are_remembered(command: Command, photos: Path, collection: Path) -> None:
    (photos / ".private").mkdir()
    shutil.copy(photos / "cat.jpg", photos / ".private" / "secret.jpg")
    first = index(command, collection, photos, "--include", "c*.jpg", "--exclude", "citrus.jpg")
    assert first["new"] == 2  # cat and coffee
    assert index(command, collection)["unchanged"] == 2
    hidden = index(command, collection, photos, "--hidden")
    assert hidden["unchanged"] == 2 and hidden["new"] > 10
    paths = command("query", "a cat", "-C", collection, "-k", 2, "--paths").out.splitlines()
    assert str(photos / ".private" / "secret.jpg") in paths


def test_strange_names_index_and_print(command: Command, photos: Path, collection: Path) -> None:
    odd = os.fsencode(photos) + b"/-na\nme \xff'\".jpg"
    os.rename(os.fsencode(photos / "cat.jpg"), odd)
    index(command, collection, photos)
    result = subprocess.run(
        [sys.executable, "-m", "mmsearch", "query", "a cat", "-C", collection, "-k", "1", "-0"],
        capture_output=True,
        check=True,
    )
    assert result.stdout == odd + b"\0"
    assert "\n" not in command("query", "a cat", "-C", collection, "-k", 1).out.strip()
    found = command("query", "a cat", "-C", collection, "-k", 1, "--json").json["results"][0]
    assert "\ufffd" in found["path"] and "path_base64" in found


def test_same_photos_give_the_same_catalog(command: Command, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "cat.jpg", photos / "zcat.jpg")
    (photos / "empty.png").touch()

    def content(collection: Path) -> list[object]:
        index(command, collection, photos, "--batch-size", 5, code=3)
        database = sqlite3.connect(collection / "catalog.sqlite3")
        tables = ("folders", "contents", "images", "failures", "embeddings_1", "released")
        rows = [database.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
        database.close()
        return rows

    first = content(tmp_path / "one")
    assert content(tmp_path / "two") == first
    assert len(first[4]) == len(first[1]) == len(first[2]) - 1


def test_forget_drops_a_folder(command: Command, photos: Path, collection: Path) -> None:
    (photos / "pets").mkdir()
    shutil.move(photos / "cat.jpg", photos / "pets" / "cat.jpg")
    index(command, collection, photos)
    outcome = command("forget", photos / "pets", "-C", collection)
    assert outcome.code == 0 and "1 image" in outcome.err
    assert "cat.jpg" not in command("query", "a cat", "-C", collection, "--paths").out
    assert (photos / "pets" / "cat.jpg").exists()
    assert command("forget", "/no/such/folder", "-C", collection).code == 1


def test_info_and_models(command: Command, photos: Path, collection: Path) -> None:
    index(command, collection, photos)
    facts = command("info", "-C", collection, "--json").json
    assert facts["model"] == "starter" and facts["dim"] == 384
    assert [root["path"] for root in facts["roots"]] == [str(photos)]
    assert facts["images"] == facts["embeddings"] == facts["last_run"]["new"]
    shown = command("info", "-C", collection).out
    assert str(photos) in shown and "starter" in shown
    models = {model["alias"]: model for model in command("models", "--json").json["models"]}
    assert models["starter"]["cached"] and not models["clip"]["cached"]
    assert "clip" in command("models").out


def test_missing_root_keeps_its_images(command: Command, photos: Path, collection: Path) -> None:
    before = index(command, collection, photos)["new"]
    photos.rename(photos.with_name("elsewhere"))
    outcome = command("index", "-C", collection, "--json")
    assert outcome.code == 0 and "is missing" in outcome.err
    assert outcome.json["total"] == before
