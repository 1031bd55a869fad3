"""Lists of values: as long as anybody wants them, also in collections that can only be read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Collection
from mmsearch.base.records import EncoderInfo, FileRecord, ImageFacts, Preprocess, ScanOptions
from mmsearch.query.filters import Filters
from mmsearch.store.catalog import Catalog
from mmsearch.store.selection import Selection

# More than SQLite binds in one statement (32,766), and than it has levels of a condition (1,000).
MANY = 40_000

NAMES = ["a.jpg", "b.png", "caf\udce9.jpg", "[x].jpg"]
FOLDERS = ["/p", "/p/q", "/p-q", "/r\udcff"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of one image in each folder under each name."""
    folder = tmp_path_factory.mktemp("lists")
    rng = np.random.default_rng(0)
    with Catalog(folder, write=True) as catalog, catalog.transaction():
        encoder = catalog.encoders.start_with(EncoderInfo("starter", "0", 8, Preprocess(8, 8)))
        for number, path in enumerate(all_paths()):
            content = catalog.contents.add(bytes([number]) * 16, ImageFacts(4, 3, "JPEG" if number % 2 else "PNG"))
            vector = rng.standard_normal(8).astype(np.float32)
            catalog.embeddings.put(encoder.id, content, vector / np.linalg.norm(vector))
            catalog.files.put_image(FileRecord(path, 1, 1), content)
    return folder


def all_paths() -> list[str]:
    return [os.path.join(folder, name) for folder in FOLDERS for name in NAMES]


@pytest.fixture
def catalog(place: Path) -> Iterator[Catalog]:
    with Catalog(place, write=False) as opened:
        yield opened


def selected(catalog: Catalog, selection: Selection) -> set[str]:
    ids = catalog.contents.ids(selection).tolist()
    found = catalog.files.of_contents(ids, selection)
    paths = {record.path for records in found.values() for record in records}
    assert paths == {record.path for record in catalog.files.latest(selection, 1000)}
    return paths


OTHERS = [f"/elsewhere/{number}" for number in range(MANY)]


@pytest.mark.parametrize("others", [[], OTHERS], ids=["few", "many"])
def test_folders(catalog: Catalog, others: list[str]) -> None:
    below = Selection(Filters(below=(*others, "/p", "/p/q")))
    assert selected(catalog, below) == {path for path in all_paths() if path.startswith("/p/")}
    outside = Selection(outside=(*others, "/p", "/r\udcff"))
    assert selected(catalog, outside) == {path for path in all_paths() if path.startswith("/p-q/")}
    assert selected(catalog, Selection(Filters(below=(*others, "/")))) == set(all_paths())
    assert selected(catalog, Selection(Filters(below=("/p",)), outside=("/p/q",))) == {f"/p/{name}" for name in NAMES}


@pytest.mark.parametrize("others", [[], OTHERS], ids=["few", "many"])
def test_patterns(catalog: Catalog, others: list[str]) -> None:
    wanted: dict[str, set[str]] = {
        "a.jpg": {path for path in all_paths() if path.endswith("/a.jpg")},
        "caf\udce9.*": {path for path in all_paths() if "caf" in path},
        "[[]x].jpg": {path for path in all_paths() if "[x]" in path},
        "/p/a.jpg": {"/p/a.jpg"},
        "q/?.png": {"/p/q/b.png"},
        "nothing": set(),
    }
    for pattern, paths in wanted.items():
        assert selected(catalog, Selection(Filters(glob=(*others, pattern)))) == paths, pattern
    assert selected(catalog, Selection(Filters(glob=tuple(wanted)))) == set().union(*wanted.values())


def test_formats(catalog: Catalog) -> None:
    assert len(selected(catalog, Selection(Filters(formats=(*OTHERS, "JPEG"))))) == len(all_paths()) // 2


def test_a_question_with_very_many_of_each_is_answered(place: Path) -> None:
    words = {"below": ["/p", *OTHERS], "glob": ["*.jpg", *OTHERS[:2000]], "image_format": ["png", *OTHERS]}
    with Collection.open(place) as photos:
        found = {hit.path for hit in photos.search(like="/p/b.png", include_self=True, k=1000, **words)}
        assert found == {
            path for path in all_paths() if path.startswith("/p/") and path.endswith(("a.jpg", "\udce9.jpg"))
        }


def test_very_many_folders_may_be_offline(tmp_path: Path, place: Path) -> None:
    said: list[str] = []
    with Catalog(place, write=True) as catalog, catalog.transaction():
        for path in (*OTHERS, "/p"):
            catalog.roots.put(path, ScanOptions())
        catalog.roots.set_offline([*OTHERS, "/p"], [])
    try:
        with Collection.open(place, notice=said.append) as photos:
            started = time.monotonic()
            hits = photos.search(like="/p-q/a.jpg", k=1000)
            everything = photos.search(like="/p-q/a.jpg", k=1000, offline=True)
            assert time.monotonic() - started < 60, "what takes its square would take hours"
    finally:
        with Catalog(place, write=True) as catalog, catalog.transaction():
            catalog.database.run("DELETE FROM roots")
    assert {hit.path for hit in hits} == {path for path in all_paths() if not path.startswith("/p/")} - {"/p-q/a.jpg"}
    assert {hit.path for hit in everything if hit.offline} == {path for path in all_paths() if path.startswith("/p/")}
    assert len(said) == 1 and f"and {MANY + 1 - 3:,} more are offline" in said[0]


def test_folders_without_images_are_named_in_one_line(place: Path) -> None:
    said: list[str] = []
    with Collection.open(place, notice=said.append) as photos:
        assert photos.search(like="/p/a.jpg", below=OTHERS[:1200]) == []
        assert photos.search(below=OTHERS[:1200]) == []
    (line,) = said
    assert line.startswith(f"no indexed images in {', '.join(OTHERS[:3])} and 7 more; ")


def test_a_list_is_made_once_and_again_where_it_was_lost(tmp_path: Path) -> None:
    with Catalog(tmp_path, write=True) as catalog:
        lists = catalog.lists
        number = lists.of_folders(["/a", "/b", "/a"])
        assert lists.of_folders(["/a", "/b", "/a"]) == number != lists.of_texts(["/a", "/b", "/a"])
        assert catalog.database.count("SELECT count(*) FROM temp.lists WHERE list = ?", (number,)) == 2
        with pytest.raises(KeyError), catalog.transaction():
            lost = lists.of_texts(["c"])
            raise KeyError
        again = lists.of_texts(["c"])
        assert again != lost
        assert catalog.database.count("SELECT count(*) FROM temp.lists WHERE list = ?", (again,)) == 1


def test_old_lists_go(tmp_path: Path) -> None:
    with Catalog(tmp_path, write=True) as catalog:
        for number in range(100):
            catalog.lists.of_texts([str(number)])
        assert catalog.database.count("SELECT count(DISTINCT list) FROM temp.lists") == 16
