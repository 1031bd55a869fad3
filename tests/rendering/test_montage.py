"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import CORNERS, corners, quadrants
from PIL import Image, ImageFont

from mmsearch.base.errors import StorageError, UsageError
from mmsearch.rendering.montage import MOST, _drawable, check, montage, write_montage
from mmsearch.rendering.thumbnails import Entry

TILE, GAP, MARGIN, LABEL = 256, 20, 28, 56


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    path = tmp_path / "four.png"
    quadrants(512, 512).save(path)
    return Entry(str(path), "1 · 0.659")


def test_tiles_stand_in_rows_with_their_labels(entry: Entry) -> None:
    sheet, failures = montage([entry] * 5)
    columns, rows = 3, 2
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    height = 2 * MARGIN + rows * (TILE + LABEL) + (rows - 1) * GAP
    assert sheet.size == (width, height) and sheet.mode == "RGB" and failures == []
    paper = sheet.getpixel((2, 2))
    for index in range(5):
        left, top = MARGIN + index % 3 * (TILE + GAP), MARGIN + index // 3 * (TILE + LABEL + GAP)
        tile = sheet.crop((left, top, left + TILE, top + TILE))
        assert np.abs(np.array(corners(tile)) - np.array(CORNERS)).max() <= 3
        for line in (0, 22):  # the name, and below it the heading
            label = np.asarray(sheet.crop((left, top + TILE + 8 + line, left + TILE, top + TILE + 28 + line)))
            assert (label != np.array(paper)).any()
    empty = np.asarray(sheet.crop((MARGIN + 2 * (TILE + GAP), MARGIN + TILE + LABEL + GAP, width, height)))
    assert (empty == np.array(paper)).all()


def test_small_and_long_pictures_keep_their_shape(tmp_path: Path) -> None:
    small, long = tmp_path / "small.png", tmp_path / "long.png"
    Image.new("RGB", (40, 20), (255, 0, 0)).save(small)
    Image.new("RGB", (1024, 64), (0, 0, 255)).save(long)
    sheet = np.asarray(montage([Entry(str(small)), Entry(str(long))])[0])
    red, blue = (sheet == (255, 0, 0)).all(axis=2), (sheet == (0, 0, 255)).all(axis=2)
    assert red.sum() == 40 * 20 and blue.sum() == 256 * 16
    assert np.argwhere(red).max(axis=0)[0] == MARGIN + TILE - 1  # on its label


def test_a_picture_that_is_gone_has_a_tile(entry: Entry, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.jpg")
    sheet, failures = montage([entry, Entry(gone)])
    assert failures == [(gone, "No such file or directory")]
    tile = np.asarray(sheet.crop((MARGIN + TILE + GAP, MARGIN, MARGIN + 2 * TILE + GAP, MARGIN + TILE)))
    assert len(np.unique(tile.reshape(-1, 3), axis=0)) > 2  # a frame and the reason


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dog (1).jpg", "dog (1).jpg"), ("Été – ñandú.jpg", "Ete - nandu.jpg"), ("日本.jpg", "??.jpg"),
        ("caf\udce9.jpg", "caf?.jpg"), ("a\nb.jpg", "a?b.jpg"), ("e\u0301.png", "e.png"), ("", ""),
        ("1 · 0.5 · ●●·", "1 · 0.5 · **·"),
    ],
)  # fmt: skip
def test_letters_that_the_font_lacks_are_replaced(name: str, shown: str) -> None:
    assert _drawable(ImageFont.load_default(16), name) == shown


@pytest.mark.parametrize(("ending", "kind"), [(".png", "PNG"), (".jpg", "JPEG"), (".JPEG", "JPEG")])
def test_it_is_written_as_its_name_says(entry: Entry, tmp_path: Path, ending: str, kind: str) -> None:
    out = tmp_path / f"sheet{ending}"
    assert write_montage(out, [entry]) == []
    with Image.open(out) as sheet:
        assert sheet.format == kind and sheet.size == (2 * MARGIN + TILE, 2 * MARGIN + TILE + LABEL)


def test_what_cannot_be_written_is_an_error(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.gif"):
        check(tmp_path / "sheet.gif", 1)
    with pytest.raises(UsageError, match="401 images"):
        check(tmp_path / "sheet.png", MOST + 1)
    with pytest.raises(StorageError, match="cannot write"):
        write_montage(tmp_path / "none" / "sheet.png", [entry])
