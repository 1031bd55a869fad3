"""Folders on disks that come and go: nothing of them is lost, and nobody is led to files that are not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import Command, Outcome

from mmsearch import Collection
from mmsearch.indexing.scan_thread import Scanner
from mmsearch.store.catalog import Catalog
from mmsearch.store.contents import Contents

ON_DISK = ("cat.jpg", "dog.jpg", "owl.jpg")


@pytest.fixture
def disk(tmp_path: Path, photos: Path) -> Path:
    """A disk with three photos of its own and one that `photos` has too."""
    folder = tmp_path / "media" / "disk"
    (folder / "deep").mkdir(parents=True)
    for name in ON_DISK:
        shutil.move(photos / name, folder / "deep" / name)
    shutil.copy(photos / "bee.jpg", folder / "bee.jpg")
    return folder


@pytest.fixture
def collection(tmp_path: Path, photos: Path, disk: Path) -> Path:
    with Collection.open(tmp_path / "collection") as made:
        made.add([photos, disk], model="starter")
    return tmp_path / "collection"


def unplug(disk: Path, how: str) -> Path:
    """Take a disk away: its mount point goes too, or stays as an empty folder, or something else is in its place."""
    away = disk.with_name("unplugged")
    disk.rename(away)
    if how == "empty":
        disk.mkdir()
    elif how == "a file":
        disk.write_text("?")
    return away


def plug_in(away: Path, disk: Path) -> None:
    if disk.is_dir():
        disk.rmdir()
    disk.unlink(missing_ok=True)
    away.rename(disk)


def check_offline(outcome: Outcome, disk: Path) -> None:
    """A run that found the disk away, and did nothing else."""
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if "offline" in line]
    assert str(disk) in line and "4 images are kept" in line and "mmsearch forget" in line
    assert (outcome.json["removed"], outcome.json["new"], outcome.json["moved"]) == (0, 0, 0)


@pytest.mark.parametrize("how", ["missing", "empty", "a file"])
@pytest.mark.parametrize("named", ["", "media/disk", "media/disk/deep", "photos media/disk"])
def test_a_disk_that_is_away_loses_nothing(
    command: Command,
    collection: Path,
    disk: Path,
    how: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = command("info", "-C", collection, "--json").json
    away = unplug(disk, how)
    for _ in range(2):
        check_offline(command("index", *named.split(), "-C", collection, "--json"), disk)
    states = {root["path"]: root for root in command("info", "-C", collection, "--json").json["roots"]}
    assert states[str(disk)]["offline_since"] and states[str(disk)]["images"] == 4
    assert states[str(tmp_path / "photos")]["offline_since"] is None
    assert "offline since" in command("info", "-C", collection).out

    plug_in(away, disk)
    back = command("index", *named.split(), "-C", collection, "--json")
    assert (back.code, back.json["encoded"], back.json["removed"], back.json["new"]) == (0, 0, 0, 0)
    assert command("info", "-C", collection, "--json").json["roots"] == before["roots"]


def test_since_when_it_is_offline_stays(command: Command, collection: Path, disk: Path) -> None:
    unplug(disk, "missing")
    command("index", "-C", collection)
    with Catalog(collection, write=True) as catalog, catalog.transaction():
        catalog.database.run("UPDATE roots SET offline_since = 'long ago' WHERE offline_since IS NOT NULL")
    command("index", "-C", collection)
    roots = command("info", "-C", collection, "--json").json["roots"]
    assert [root["offline_since"] for root in roots] == ["long ago", None]


def test_results_leave_out_what_is_away(command: Command, collection: Path, disk: Path, photos: Path) -> None:
    unplug(disk, "missing")
    command("index", "-C", collection)
    plain = command("query", "an animal", "-C", collection, "-k", 100, "--json")
    paths = [hit["path"] for hit in plain.json["results"]]
    assert paths and not [path for path in paths if path.startswith(str(disk))]
    assert str(photos / "bee.jpg") in paths, "another file of the same content is there"
    assert not any(hit["offline"] for hit in plain.json["results"])
    assert plain.err.count("\n") == 1 and str(disk) in plain.err and "--offline" in plain.err

    shown = command("query", "an animal", "-C", collection, "-k", 100, "--json", "--offline")
    assert shown.err == ""
    found = {hit["path"]: hit["offline"] for hit in shown.json["results"]}
    assert len(found) == len(paths) + 4
    assert found == {path: path.startswith(str(disk)) for path in found}
    lines = command("query", "a cat", "-C", collection, "--offline", "-k", 1).out
    assert "cat.jpg  (offline)" in lines


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"min_score": -1.0}, {"below": True}])
def test_hiding_happens_in_the_search(collection: Path, disk: Path, options: dict[str, object]) -> None:
    """The best that are there take the places of those that are not, whichever way the search goes."""
    unplug(disk, "empty")
    chosen = {**options, "below": disk.parent.parent} if "below" in options else options
    with Collection.open(collection) as photos:
        photos.add()
        every = photos.search(text="a cat", k=100, offline=True, **chosen)  # type: ignore[arg-type]
        there = [hit.path for hit in every if not hit.path.startswith(str(disk))]
        for count in (1, 3, 100):
            hits = photos.search(text="a cat", k=count, **chosen)  # type: ignore[arg-type]
            assert [hit.path for hit in hits] == there[:count]
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def test_nothing_is_said_or_filtered_where_all_is_there(
    command: Command, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Contents, "ids", lambda *_: pytest.fail("the usual query lists no contents"))
    assert command("query", "a cat", "-C", collection).err == ""


def test_forget_drops_what_is_away(command: Command, collection: Path, disk: Path) -> None:
    unplug(disk, "missing")
    command("index", "-C", collection)
    assert "4 images" in command("forget", disk, "-C", collection).err
    assert command("query", "a cat", "-C", collection, "--offline", "-k", 100, "--paths").err == ""
    assert str(disk) not in command("info", "-C", collection).out
    assert command("index", "-C", collection).code == 0


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_folder_around_it_does_not_swallow_it(command: Command, collection: Path, disk: Path, how: str) -> None:
    away = unplug(disk, how)
    (disk.parent / "here").mkdir()
    shutil.copy(away / "bee.jpg", disk.parent / "here" / "bee.jpg")
    away = away.rename(disk.parent.parent / "away")
    outcome = command("index", disk.parent, "-C", collection, "--json")
    assert (outcome.code, outcome.json["new"], outcome.json["removed"]) == (0, 1, 0)
    assert "4 images are kept" in outcome.err
    roots = {root["path"]: root for root in command("info", "-C", collection, "--json").json["roots"]}
    assert roots[str(disk)]["offline_since"] and not roots[str(disk.parent)]["offline_since"]

    plug_in(away, disk)
    back = command("index", "-C", collection, "--json")
    assert (back.json["encoded"], back.json["removed"], back.json["new"]) == (0, 0, 0)
    roots = {root["path"]: root for root in command("info", "-C", collection, "--json").json["roots"]}
    assert str(disk) not in roots, "it is part of the folder around it now"
    assert roots[str(disk.parent)]["images"] == 5


def test_a_disk_that_goes_during_the_run_loses_nothing(
    command: Command, collection: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Scanner._scan

    def late(self: Scanner, catalog: Catalog, place: object) -> None:
        if disk.is_dir() and any(disk.iterdir()):
            unplug(disk, "empty")
        real(self, catalog, place)  # type: ignore[arg-type]

    monkeypatch.setattr(Scanner, "_scan", late)
    outcome = command("index", disk, "-C", collection, "--json")
    assert (outcome.code, outcome.json["removed"], outcome.json["skipped"]) == (3, 0, 1)
    assert f"skipped {disk}: is empty all of a sudden; its images are kept" in outcome.err


def test_a_folder_below_that_is_emptied_is_emptied(command: Command, collection: Path, disk: Path) -> None:
    for name in ON_DISK:
        (disk / "deep" / name).unlink()
    outcome = command("index", "-C", collection, "--json")
    assert (outcome.code, outcome.json["removed"]) == (0, 3)


def test_a_new_folder_must_be_there(command: Command, collection: Path, tmp_path: Path) -> None:
    outcome = command("index", tmp_path / "nowhere", "-C", collection)
    assert outcome.code == 1 and "no such folder" in outcome.err
