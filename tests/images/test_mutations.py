"""Damaged files of every format through the worker processes; `harness/mutate.py` says what must hold."""

from __future__ import annotations

import dataclasses
import io
import random
from pathlib import Path

import mutate
import numpy as np
import pytest
from formats import sources
from PIL import Image

from mmsearch import Collection
from mmsearch.base.records import FileRecord, ImageFacts
from mmsearch.images import decode
from mmsearch.images.pool import Decoded

SOURCES = dict(sources())
GOOD = Decoded(
    FileRecord("/a.png", 1, 1), b"hash", np.zeros((32, 32, 3), np.uint8), ImageFacts(64, 48, "PNG", camera="X100")
)


def assert_kept(report: mutate.Report, count: int) -> None:
    assert report.failures == []
    assert report.files == report.decoded + report.refused == count
    assert report.decoded > count / 10
    assert report.refused > count / 10
    assert set(report.mutations) == {mutation.__name__ for mutation in mutate.MUTATIONS}


def test_a_sample_of_damaged_files() -> None:
    assert_kept(mutate.run(600, seed=1), 600)


@pytest.mark.slow
def test_twenty_thousand_damaged_files() -> None:
    assert_kept(mutate.run(20_000), 20_000)


@pytest.mark.parametrize("name", SOURCES)
def test_the_files_are_good_before_they_are_damaged(name: str) -> None:
    assert decode.has_image_extension(name)
    image, facts = decode.decode(io.BytesIO(SOURCES[name]), max_pixels=mutate.MAX_PIXELS)
    assert image.size == (facts.width, facts.height)


def test_the_same_seed_damages_in_the_same_way() -> None:
    data = SOURCES["plain.png"]
    one, other, third = (mutate.mutated(data, random.Random(seed)) for seed in (1, 1, 2))
    assert one == other != third
    assert one[0] != data


@pytest.mark.parametrize("mutation", dict.fromkeys(mutate.MUTATIONS))
def test_each_mutation_changes_the_file(mutation: mutate.Mutation) -> None:
    changed = bytearray(SOURCES["plain.png"])
    mutation(changed, random.Random(4))
    assert changed != SOURCES["plain.png"]


@pytest.mark.parametrize(
    ("decoded", "seconds", "breach"),
    [
        (GOOD, 1.0, ""),
        (dataclasses.replace(GOOD, pixels=None, reason="damaged image (x)"), 1.0, ""),
        (GOOD, 2 * mutate.TIME_LIMIT + 1, "took"),
        (dataclasses.replace(GOOD, pixels=None), 1.0, "neither"),
        (dataclasses.replace(GOOD, reason="x"), 1.0, "neither"),
        (dataclasses.replace(GOOD, pixels=None, reason="not an image", ignored=True), 1.0, "in silence"),
        (dataclasses.replace(GOOD, pixels=None, reason="a\nb"), 1.0, "reason"),
        (dataclasses.replace(GOOD, pixels=None, reason="\x1b[31m"), 1.0, "reason"),
        (dataclasses.replace(GOOD, pixels=None, reason="x" * 201), 1.0, "reason"),
        (dataclasses.replace(GOOD, pixels=np.zeros((1, 1, 3), np.uint8)), 1.0, "wrong shape"),
        (dataclasses.replace(GOOD, facts=None), 1.0, "no facts"),
        (dataclasses.replace(GOOD, facts=ImageFacts(2000, 2000, "PNG")), 1.0, "2000 x 2000"),
        (dataclasses.replace(GOOD, facts=ImageFacts(1, 1, "PNG", camera="a\x9bb")), 1.0, "facts"),
    ],
)
def test_each_rule_can_be_broken(decoded: Decoded, seconds: float, breach: str) -> None:
    found = mutate.breach_of(decoded, seconds)
    assert breach in found
    assert bool(found) == bool(breach)


def test_a_run_over_damaged_files_finds_the_good_ones(tmp_path: Path, sample_data: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (name, data) in enumerate([*SOURCES.items()][::3]):
        damaged, _ = mutate.mutated(data, random.Random(number))
        (folder / f"{number}-{name}").write_bytes(damaged)
    with Image.open(sample_data / "cat.jpg") as cat:
        cat.save(folder / "cat.jpg")
    with Collection.open(tmp_path / "collection") as collection:
        summary = collection.add([folder], model="starter")
        info = collection.info()
        assert Path(collection.search(text="a cat", k=1)[0].path).name == "cat.jpg"
        again = collection.add()
    assert summary.new + summary.skipped == len([*SOURCES][::3]) + 1
    assert summary.skipped == len(info.failures) > 5
    assert (again.new, again.changed, again.encoded) == (0, 0, 0)
    assert all(reason.isprintable() and len(reason) <= 200 for _, reason in info.failures)
