"""Which formats are opened: by default, and as the user lists them; what a run says of the others."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from command import Command
from formats import CRAFTED, CRAFTED_GREY, WRITERS, written
from mishaps import decode_all, put

from mmsearch.base.errors import DecodeError, UsageError
from mmsearch.cli import guide
from mmsearch.images import decode
from mmsearch.images.formats import FORMATS, at_ending, parse

OPEN = {entry.name for entry in FORMATS if entry.is_open}
CLOSED = {entry.name for entry in FORMATS} - OPEN


def file_of(name: str) -> bytes:
    return written(name) if name in WRITERS else (CRAFTED | CRAFTED_GREY)[name]()


def test_what_people_keep_is_open() -> None:
    common = {
        "JPEG",
        "PNG",
        "GIF",
        "WEBP",
        "TIFF",
        "BMP",
        "HEIF",
        "AVIF",
        "JXL",
        "JPEG2000",
        "ICO",
        "PPM",
        "PSD",
        "TGA",
    }
    assert common <= OPEN == parse("default")
    assert "FITS" in CLOSED
    assert all(entry.reason for entry in FORMATS)


def test_the_guide_names_all() -> None:
    text = (Path(guide.__file__).parent / "indexing.md").read_text().lower()
    words = text.replace("jpeg 2000", "jpeg2000").replace("jpeg xl", "jxl")
    for entry in FORMATS:
        assert entry.name.lower() in words
    closed = words[words.index("blp") : words.index(" are not, unless you ask")]
    assert {name.lower() for name in CLOSED} == {word.strip(",") for word in closed.split()} - {"and"}


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("default", OPEN),
        ("all", OPEN | CLOSED),
        ("default,fits", OPEN | {"FITS"}),
        ("-psd", OPEN - {"PSD"}),
        ("default, -psd -tga", OPEN - {"PSD", "TGA"}),
        ("all,-default", CLOSED),
        ("JPG,png,Heic", {"JPEG", "PNG", "HEIF"}),
        ("default,-psd,psd", OPEN),
    ],
)
def test_lists(text: str, opened: set[str]) -> None:
    assert parse(text) == opened


@pytest.mark.parametrize("text", ["fitz", "", ",", "default,-default", "default;fits", "exe"])
def test_lists_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_list_of_a_later_version_is_read() -> None:
    assert parse("default,raw", strict=False) == OPEN


@pytest.mark.parametrize("name", sorted((OPEN | CLOSED) - {"ICNS", "MSP", "XBM"}))
def test_a_format_is_opened_where_it_is_listed(name: str, tmp_path: Path) -> None:
    data = file_of(name)
    others = f"all,-{name}"
    with pytest.raises(DecodeError) as refused:
        decode.decode(io.BytesIO(data), max_pixels=10**6, formats=others, ending=f".{name}")
    if name not in {"IMT", "TGA", "CUR", "DIB"}:  # which have no signature, or another one's decoder
        assert f"`mmsearch index --formats {others},{name.lower()}`" in str(refused.value)
    image, _ = decode.decode(io.BytesIO(data), max_pixels=10**6, formats=name.lower())
    assert image.size == (64, 48)


def test_workers_open_the_default(tmp_path: Path) -> None:
    files = [put(tmp_path / name, file_of(name[2:].upper())) for name in ("a.fits", "a.psd")]
    closed, opened = decode_all(files)
    assert closed.reason == "files in the format FITS are opened only after `mmsearch index --formats default,fits`"
    assert not closed.retry and not closed.ignored
    assert opened.pixels is not None
    closed, opened = (decode_all([file], formats="default,-psd,fits")[0] for file in reversed(files))
    assert "PSD" in closed.reason and opened.pixels is not None


def test_a_name_tells_of_a_format_without_a_signature(tmp_path: Path) -> None:
    (result,) = decode_all([put(tmp_path / "a.im", file_of("IM"))])
    assert "format IM " in result.reason
    (result,) = decode_all([put(tmp_path / "a.xpm", file_of("XPM"))])
    assert "format XPM " in result.reason
    (result,) = decode_all([put(tmp_path / "a.fits", b"not at all")])
    assert result.reason == "not in a known image format"
    assert at_ending(".FITS") == "FITS" and at_ending(".txt") is None and at_ending("") is None


def test_the_collection_remembers_what_is_open(command: Command, tmp_path: Path) -> None:
    place, photos = tmp_path / "c", tmp_path / "photos"
    photos.mkdir()
    stars, flat = photos / "stars.fits", photos / "flat.psd"
    stars.write_bytes(file_of("FITS"))
    flat.write_bytes(file_of("PSD"))
    outcome = command("index", photos, "--model", "starter", "-C", place)
    assert outcome.code == 3
    assert f"skipped {stars}: files in the format FITS are opened only after" in outcome.err
    assert "--formats default,fits" in command("query", "--image", stars, "-C", place).err
    assert command("index", "-C", place, "--json").json["known_failures"] == 1

    outcome = command("index", "--formats", "default,fits,-psd", "-C", place, "--json")
    assert (outcome.code, outcome.json["new"], outcome.json["unchanged"]) == (0, 1, 1), "what is indexed stays"
    flat.write_bytes(flat.read_bytes() + b"changed")
    outcome = command("index", "-C", place)
    assert outcome.code == 3 and "--formats default,fits,-psd,psd" in outcome.err
    assert "FITS" not in command("query", "--image", stars, "-C", place).err
    assert "PSD" in command("query", "--image", flat, "-C", place).err
    sheet = command("query", "stars", "-C", place, "--montage", tmp_path / "sheet.png")
    assert sheet.code == 0, sheet.err


def test_a_list_that_means_nothing_makes_no_collection(command: Command, photos: Path, tmp_path: Path) -> None:
    outcome = command("index", photos, "--formats", "fitz", "-C", tmp_path / "c")
    assert outcome.code == 2 and "unknown image format: fitz" in outcome.err
    assert not (tmp_path / "c").exists()
