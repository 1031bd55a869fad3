"""Files that are tried again: once a limit is higher, the program newer, or the user says so; and faults of our own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import Collection
from mmsearch.base.events import Summary
from mmsearch.images import formats, pool
from mmsearch.indexing import pipeline, run, scan
from mmsearch.indexing.settings import IndexSettings
from mmsearch.store.contents import Contents


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, side in enumerate((40, 60, 200)):
        noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{side}.png")
    return folder


def index(photos: Path, *, max_pixels: int = 10**6, retry_failed: bool = False, force: bool = False) -> Summary:
    settings = IndexSettings(max_pixels=max_pixels, workers=1)
    with Collection.open(photos.parent / "c") as collection:
        return collection.add(
            [photos], model="starter", settings=settings, device="cpu", retry_failed=retry_failed, force=force
        )


def names(photos: Path) -> set[str]:
    with Collection.open(photos.parent / "c") as collection:
        return {Path(hit.path).name for hit in collection.search(below=str(photos), top=100)}


def test_a_higher_limit_takes_what_a_lower_one_refused(photos: Path) -> None:
    first = index(photos, max_pixels=10_000)
    assert (first.new, first.skipped) == (2, 1)
    same = index(photos, max_pixels=10_000)
    assert (same.skipped, same.known_failures) == (0, 1), "not tried again under the same limit"
    assert index(photos, max_pixels=9_000).skipped == 0, "nor under a lower one"
    higher = index(photos, max_pixels=100_000)
    assert (higher.new, higher.known_failures) == (1, 0)
    assert names(photos) == {"40.png", "60.png", "200.png"}


def test_another_version_tries_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "40.png").write_bytes((photos / "40.png").read_bytes()[:60])
    assert index(photos).skipped == 1
    assert index(photos).known_failures == 1
    told = formats.reader()
    assert told.startswith("mmsearch ") and "pillow " in told
    for module in (run, pipeline):
        monkeypatch.setattr(module, "reader", lambda: told + " and more")
    assert index(photos).skipped == 1
    assert index(photos).known_failures == 1


def test_the_user_may_have_failures_tried_again(photos: Path) -> None:
    (photos / "40.png").write_bytes((photos / "40.png").read_bytes()[:60])
    index(photos)
    assert index(photos, retry_failed=True).skipped == 1


def test_force_encodes_all_again_and_renews_what_is_known_of_photos(photos: Path) -> None:
    os.link(photos / "40.png", photos / "copy.png")
    index(photos)
    with Collection.open(photos.parent / "c") as collection:
        before = {hit.path: hit.score for hit in collection.search("a cat", top=9)}
    import sqlite3

    with sqlite3.connect(photos.parent / "c" / "catalog.sqlite3") as catalog:
        catalog.execute("UPDATE contents SET camera = 'nobody''s'")
    assert index(photos).encoded == 0
    again = index(photos, force=True)
    assert (again.encoded, again.new, again.changed, again.unchanged) == (3, 0, 0, 4)
    with Collection.open(photos.parent / "c") as collection:
        hits = collection.search("a cat", top=9)
        assert {hit.path: hit.score for hit in hits} == pytest.approx(before)
        assert {hit.image.facts.camera for hit in hits} == {None}


def test_incomplete_pictures_are_counted_and_marked(photos: Path) -> None:
    data = (photos / "200.png").read_bytes()
    (photos / "200.png").write_bytes(data[: int(0.9 * len(data))])
    assert index(photos).remarked == 1
    with Collection.open(photos.parent / "c") as collection:
        (hit,) = collection.search(where="remark is not null")
        assert hit.image.facts.remark is not None and hit.image.facts.remark.startswith("its end is missing")


def test_a_fault_of_ours_over_one_file_costs_that_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Contents.add

    def add(self: Contents, content_hash: bytes, facts: object) -> int:
        if facts.width == 60:  # type: ignore[attr-defined]
            raise OverflowError("too large for anything")
        return real(self, content_hash, facts)  # type: ignore[arg-type]

    monkeypatch.setattr(Contents, "add", add)
    summary = index(photos)
    assert (summary.new, summary.skipped) == (2, 1)
    with Collection.open(photos.parent / "c") as collection:
        ((path, reason),) = collection.info().failures
    assert Path(path).name == "60.png"
    assert reason == "mmsearch failed over it, please report this: OverflowError: too large for anything"
    monkeypatch.setattr(Contents, "add", real)
    assert index(photos).new == 1, "the next run tries it again"


def test_a_fault_of_ours_in_the_decoding_costs_that_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pool.DecodePool._attempt

    def attempt(self: pool.DecodePool, worker: object, record: object) -> object:
        if record.path.endswith("60.png"):  # type: ignore[attr-defined]
            raise KeyError("what")
        return real(self, worker, record)  # type: ignore[arg-type]

    monkeypatch.setattr(pool.DecodePool, "_attempt", attempt)
    summary = index(photos)
    assert (summary.new, summary.skipped) == (2, 1)
    monkeypatch.setattr(pool.DecodePool, "_attempt", real)
    assert index(photos).new == 1


@pytest.mark.parametrize("head", [b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("whole", [True, False])
def test_gigabytes_that_begin_like_a_photo_are_not_read(photos: Path, head: bytes, whole: bool) -> None:
    if whole:  # a sound header, and nothing behind it
        name = "40.png" if head.startswith(b"\x89") else "40.jpg"
        Image.open(photos / "40.png").save(photos / name)
        head = (photos / name).read_bytes()
    with (photos / "9gb.jpg").open("wb") as file:
        file.write(head)
        file.truncate(9 << 30)
    summary = index(photos, max_pixels=200_000_000)
    assert summary.skipped == 1 and summary.seconds < 20
    with Collection.open(photos.parent / "c") as collection:
        ((_, reason),) = collection.info().failures
    assert reason.startswith("9,663,676,416 bytes")


def test_times_of_any_year_are_taken(photos: Path) -> None:
    for name, seconds in (("40.png", 10_413_792_000), ("60.png", -11_000_000_000)):
        os.utime(photos / name, (seconds, seconds))
    assert index(photos).new == 3
    assert index(photos).unchanged == 3


class Lying:
    """A status whose numbers are what no file system may say."""

    def __init__(self, real: os.stat_result, **lies: int) -> None:
        self._real, self._lies = real, lies

    def __getattr__(self, name: str) -> object:
        return self._lies[name] if name in self._lies else getattr(self._real, name)


HUGE = 2**70
LIES = [
    {name: value} for name in ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev") for value in (2**63, -HUGE)
]


@pytest.mark.parametrize("lies", LIES, ids=lambda lies: str(lies))
def test_whatever_a_file_system_says_of_a_file(
    photos: Path, monkeypatch: pytest.MonkeyPatch, lies: dict[str, int]
) -> None:
    real = scan.state_of
    monkeypatch.setattr(
        scan,
        "state_of",
        lambda status: real(Lying(status, **lies)),  # type: ignore[arg-type]
    )
    first = index(photos)
    assert first.new == 3 and not first.skipped
    assert index(photos).encoded == 0


def test_a_fault_of_ours_in_the_scan_costs_that_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = scan.state_of, []

    def state_of(status: os.stat_result) -> object:
        calls.append(status)
        if status.st_size == (photos / "60.png").stat().st_size:
            raise TypeError("not a number")
        return real(status)

    monkeypatch.setattr(scan, "state_of", state_of)
    summary = index(photos)
    assert (summary.new, summary.skipped) == (2, 1)
    monkeypatch.setattr(scan, "state_of", real)
    assert index(photos).new == 1
