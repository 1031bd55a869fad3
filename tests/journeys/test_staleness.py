"""Files that hold something else under the same size and time; files of which only the status has changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command import Command

from mmsearch import Collection
from mmsearch.base.records import ScanOptions
from mmsearch.images.pool import DecodePool
from mmsearch.store.catalog import Catalog
from mmsearch.store.connection import CATALOG_NAME

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no ctime")


def padded(source: Path, target: Path) -> None:
    """A photo as a file of 200,000 bytes, whose end no decoder minds, of a certain time."""
    target.write_bytes(source.read_bytes().ljust(200_000, b"\0"))
    os.utime(target, ns=(10**18, 10**18))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("cat.jpg", "dog.jpg", "owl.jpg"):
        padded(SAMPLE_DATA / name, folder / name)
    return folder


@pytest.fixture
def place(command: Command, photos: Path, tmp_path: Path) -> Path:
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "place").code == 0
    return tmp_path / "place"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    names: list[str] = []
    real = DecodePool.submit
    monkeypatch.setattr(
        DecodePool, "submit", lambda self, record: names.append(os.path.basename(record.path)) or real(self, record)
    )
    return names


def index(place: Path, **words: Any) -> tuple[int, int, int]:
    """How many files a run finds changed and unchanged, and how many it encodes."""
    with Collection.open(place) as photos:
        done = photos.add(**words)
    return done.changed, done.unchanged, done.encoded


def in_place(photos: Path) -> None:
    padded(SAMPLE_DATA / "bee.jpg", photos / "cat.jpg")


def by_renaming(photos: Path) -> None:
    padded(SAMPLE_DATA / "bee.jpg", photos / "new.jpg")
    (photos / "new.jpg").rename(photos / "cat.jpg")


@pytest.mark.parametrize("change", [in_place, by_renaming])
def test_other_content_under_the_same_size_and_time(
    photos: Path, place: Path, change: Callable[[Path], None], read: list[str]
) -> None:
    change(photos)
    assert index(place) == (1, 2, 1)
    assert read == ["cat.jpg"]
    with Collection.open(place) as collection:
        assert Path(collection.search("a bee", k=1)[0].path).name == "cat.jpg"
    assert index(place) == (0, 3, 0) and read == ["cat.jpg"]


def test_two_files_that_change_their_names(photos: Path, place: Path) -> None:
    (photos / "cat.jpg").rename(photos / "x")
    (photos / "dog.jpg").rename(photos / "cat.jpg")
    (photos / "x").rename(photos / "dog.jpg")
    assert index(place) == (2, 1, 0)
    with Collection.open(place) as collection:
        assert Path(collection.search("a cat", k=1)[0].path).name == "dog.jpg"


def chmod(photos: Path) -> None:
    (photos / "cat.jpg").chmod(0o600)


def hard_link(photos: Path) -> None:
    os.link(photos / "cat.jpg", photos.parent / "cat.jpg")


def away_and_back(photos: Path) -> None:
    (photos / "cat.jpg").rename(photos / "x")
    (photos / "x").rename(photos / "cat.jpg")


def copy(photos: Path) -> None:
    shutil.copy2(photos / "cat.jpg", photos / "x")
    (photos / "x").rename(photos / "cat.jpg")


@pytest.mark.parametrize("change", [chmod, hard_link, away_and_back, copy])
def test_a_change_of_the_status_alone_is_read_once_and_not_encoded(
    photos: Path, place: Path, change: Callable[[Path], None], read: list[str]
) -> None:
    change(photos)
    assert index(place) == (0, 3, 0)
    assert read == ["cat.jpg"]
    assert index(place) == (0, 3, 0) and read == ["cat.jpg"]


def test_a_file_that_could_not_be_read_and_is_put_right_under_its_size_and_time(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff".ljust(200_000, b"x"))
    os.utime(photos / "bad.jpg", ns=(10**18, 10**18))
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "place").code == 3
    padded(SAMPLE_DATA / "bee.jpg", photos / "bad.jpg")
    outcome = command("index", "--json", "-C", tmp_path / "place")
    assert outcome.code == 0 and (outcome.json["new"], outcome.json["total"]) == (1, 4)


def renumbered(place: Path, *, but: str = "") -> None:
    """Give the known files other inodes, as if their disk numbered them anew, and forget the ctimes."""
    with closing(sqlite3.connect(place / CATALOG_NAME)) as database, database:
        database.execute("UPDATE images SET inode = inode + 1000000, ctime_ns = NULL WHERE name != ?", (but.encode(),))


def test_a_disk_that_numbers_its_files_anew_is_not_read_again(place: Path, read: list[str]) -> None:
    renumbered(place)
    assert index(place) == (0, 3, 0) and read == []
    renumbered(place, but="owl.jpg")
    assert index(place) == (0, 3, 0), "the numbers were noted"
    assert sorted(read) == ["cat.jpg", "dog.jpg"], "and here they tell of files in the place of others"


def test_ctime_and_inode_are_left_alone_where_the_user_says_so(photos: Path, place: Path, read: list[str]) -> None:
    assert index(place, dirs=[photos], options=ScanOptions(ignore_inode=True)) == (0, 3, 0)
    in_place(photos)
    assert index(place) == (0, 3, 0) and read == [], "it is remembered"
    assert index(place, verify=True) == (1, 2, 1) and len(read) == 3


def test_verify_reads_all(command: Command, photos: Path, place: Path, read: list[str]) -> None:
    (photos / "notes.txt").write_text("no image")
    assert index(place) == (0, 3, 0)
    in_place(photos)
    with closing(sqlite3.connect(place / CATALOG_NAME)) as database, database:
        database.execute("UPDATE images SET inode = NULL, ctime_ns = NULL")  # so it is on a disk that has none
    assert index(place) == (0, 3, 0)
    read.clear()
    outcome = command("index", "--verify", "--json", "-C", place)
    assert outcome.code == 0
    assert [outcome.json[name] for name in ("new", "changed", "unchanged", "encoded")] == [0, 1, 2, 1]
    assert index(place, verify=True) == (0, 3, 0)


def test_files_of_an_earlier_schema_are_not_read_again(photos: Path, place: Path, read: list[str]) -> None:
    with closing(sqlite3.connect(place / CATALOG_NAME)) as database, database:
        database.execute("UPDATE images SET ctime_ns = NULL, inode = NULL")
    assert index(place) == (0, 3, 0) and read == []
    in_place(photos)
    assert index(place) == (1, 2, 1) and read == ["cat.jpg"]


def test_times_beyond_those_of_a_catalog(command: Command, photos: Path, place: Path) -> None:
    try:
        os.utime(photos / "cat.jpg", (16_000_000_000, 16_000_000_000))
    except (OSError, OverflowError):
        pytest.skip("the file system has no such times")
    if (photos / "cat.jpg").stat().st_mtime < 15_000_000_000:
        pytest.skip("the file system has no such times")
    assert index(place) == (0, 3, 0)
    assert index(place) == (0, 3, 0)
    assert command("query", "a cat", "-C", place).code == 0
    with Catalog(place, write=False) as catalog:
        assert catalog.files.at(str(photos / "cat.jpg")).mtime_ns == 2**63 - 1  # type: ignore[union-attr]
