"""Image files of every format, size and state of repair, to upright RGB."""

from __future__ import annotations

import errno
import functools
import io
import os
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bombs import bombs, box, jxl_file, lying_boxes
from formats import CRAFTED, CRAFTED_GREY, WRITERS, psd, sun_raster, written, xpm
from hypothesis import given
from hypothesis import strategies as st
from pictures import CORNERS, corners, file_bytes, quadrants
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from mmsearch.base.config import DEFAULT_MAX_PIXELS
from mmsearch.base.errors import DecodeError, ImageTooLargeError, NotAnImageError
from mmsearch.base.records import ImageFacts, Preprocess
from mmsearch.images import decode, jxl_header, levels, preprocess

PIXELS = 64 * 48
ORIENTATION, MAKE, MODEL, DATE = 0x0112, 0x010F, 0x0110, 0x0132
EXIF_IFD, DATE_TAKEN, GPS_IFD = 0x8769, 0x9003, 0x8825

SIGNED = {"JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "JXL", "JPEG2000", "QOI", "DDS", "BLP"}


def read(data: bytes, *, max_pixels: int = 10_000_000, target: int | None = None) -> tuple[Image.Image, ImageFacts]:
    return decode.decode(io.BytesIO(data), max_pixels=max_pixels, target=target)


def assert_corners(image: Image.Image, *, within: int = 6) -> None:
    """The picture is `quadrants`, the right way round."""
    assert image.mode == "RGB"
    assert np.abs(np.array(corners(image)) - np.array(CORNERS)).max() <= within, corners(image)


# --- formats ---


@pytest.mark.parametrize("format_name", WRITERS)
def test_every_format_that_can_be_written_is_read_back(format_name: str) -> None:
    image, facts = read(written(format_name))
    assert_corners(image)
    assert image.size == (64, 48)
    assert facts == ImageFacts(64, 48, format_name)


@pytest.mark.parametrize("format_name", WRITERS)
@pytest.mark.parametrize("name", ["photo", "photo.txt", "photo.png", "photo.jpg"])
def test_the_name_of_a_file_does_not_matter(format_name: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(written(format_name))
    with path.open("rb") as file:
        image, _ = decode.decode(file, max_pixels=PIXELS)
    assert_corners(image)


def test_an_icns_gives_its_largest_icon() -> None:
    image, facts = read(file_bytes(quadrants(1024, 1024), "ICNS"))
    assert_corners(image)
    assert (facts.format, facts.width, facts.height) == ("ICNS", 1024, 1024)


def test_the_first_picture_of_a_stereo_pair_counts() -> None:
    pair = file_bytes(quadrants(), "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (64, 48))])
    assert_corners(read(pair)[0])


def test_a_format_of_black_and_white() -> None:
    bits = quadrants().convert("L").point([255 * (value > 100) for value in range(256)]).convert("1")
    image, facts = read(file_bytes(bits, "MSP"))
    assert facts.format == "MSP"
    assert image.mode == "RGB"
    assert corners(image) == corners(bits.convert("RGB"))


def test_a_set_bit_of_an_xbm_is_black() -> None:
    image, facts = read(b"#define a_width 8\n#define a_height 2\nstatic char a_bits[] = {\n0x0f, 0x0f};\n")
    assert facts.format == "XBM"
    assert [image.getpixel((x, 0)) for x in (0, 7)] == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("format_name", CRAFTED)
def test_formats_that_can_only_be_read(format_name: str) -> None:
    image, facts = read(CRAFTED[format_name]())
    assert_corners(image)
    assert (facts.format, facts.width, facts.height) == (format_name, 64, 48)


@pytest.mark.parametrize("format_name", CRAFTED_GREY)
def test_formats_of_greys(format_name: str) -> None:
    image, facts = read(CRAFTED_GREY[format_name]())
    assert (facts.format, facts.width, facts.height) == (format_name, 64, 48)
    assert image.mode == "RGB"
    assert np.abs(np.subtract(corners(image), corners(quadrants().convert("L").convert("RGB")))).max() <= 4


def test_every_format_that_is_read_is_tested() -> None:
    tested = {*WRITERS, *CRAFTED, *CRAFTED_GREY, "ICNS", "MSP", "XBM"}
    assert tested >= {*decode.PILLOW_FORMATS, "HEIF", "JXL"}


@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"heix"])
def test_heif_is_known_by_its_other_brands(brand: bytes) -> None:
    data = bytearray(written("HEIF"))
    data[8:12] = brand
    image, facts = read(bytes(data))
    assert_corners(image)
    assert facts.format == "HEIF"
    assert decode.has_image_signature(bytes(data[: decode.PREFIX_BYTES]))


# --- upright ---

TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # what a camera does to the pixels, the reverse of what a viewer does
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stored(orientation: int, width: int = 64, height: int = 48) -> Image.Image:
    """`quadrants` as a camera stores it with an EXIF orientation."""
    turn = TURNS[orientation]
    return quadrants(width, height) if turn is None else quadrants(width, height).transpose(turn)


def exif(**fields: Any) -> Image.Exif:
    block = Image.Exif()
    for name, value in fields.items():
        block[globals()[name]] = value
    return block


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_exif_orientation_is_applied_once(format_name: str, orientation: int) -> None:
    block = exif(ORIENTATION=orientation).tobytes()
    data = file_bytes(stored(orientation), format_name, exif=block, **WRITERS[format_name])
    image, facts = read(data)
    assert_corners(image)
    assert image.size == (facts.width, facts.height) == (64, 48)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_orientation_and_scaling_while_decoding_go_together(orientation: int) -> None:
    data = file_bytes(stored(orientation, 1600, 1200), "JPEG", exif=exif(ORIENTATION=orientation))
    image, facts = read(data, target=100)
    assert_corners(image)
    assert image.size == (400, 300)
    assert (facts.width, facts.height) == (1600, 1200)


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg"])
def test_a_compressed_tiff_is_turned_once(compression: str) -> None:
    image, facts = read(file_bytes(stored(6), "TIFF", exif=exif(ORIENTATION=6), compression=compression))
    assert_corners(image, within=16)
    assert image.size == (facts.width, facts.height) == (64, 48)


def test_jpeg_xl_is_turned_by_its_codestream_not_by_exif() -> None:
    image, facts = read(file_bytes(quadrants(), "JXL", lossless=True, exif=exif(ORIENTATION=6).tobytes()))
    assert_corners(image)
    assert image.size == (facts.width, facts.height) == (64, 48)


@pytest.mark.parametrize("orientation", TURNS)
def test_jpeg_xl_that_repacks_a_jpeg_is_turned(orientation: int, tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(file_bytes(stored(orientation), "JPEG", quality=95, exif=exif(ORIENTATION=orientation)))
    with Image.open(source) as opened:
        data = file_bytes(opened, "JXL", lossless_jpeg=True)
    image, facts = read(data)
    assert_corners(image)
    assert image.size == (facts.width, facts.height) == (64, 48)


def test_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert_corners(read(file_bytes(stored(6), "JPEG", quality=95, xmp=xmp))[0])


# --- modes ---


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 255, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (90, 255), (90, 90, 90)),
        ("LA", (90, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (100, 100, 100, 51), (224, 224, 224)),
        ("RGBa", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBX", (10, 20, 30, 0), (10, 20, 30)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("LAB", (255, 128, 128), (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 200, (1, 1, 1)),
        ("I;16B", 65535, (255, 255, 255)),
        ("I;16L", 65535, (255, 255, 255)),
        ("I", 65535, (255, 255, 255)),
        ("I", 128, (128, 128, 128)),
        ("F", 0.25, (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode: str, value: Any, expected: tuple[int, int, int]) -> None:
    image = decode.to_rgb(Image.new(mode, (4, 3), value))
    assert (image.mode, image.size) == ("RGB", (4, 3))
    pixel = image.getpixel((2, 1))
    assert isinstance(pixel, tuple)
    assert np.abs(np.subtract(pixel, expected)).max() <= 1, pixel


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 7.5), (0.0, 1e30)])
def test_floating_point_samples_are_stretched(low: float, high: float) -> None:
    values = np.linspace(low, high, 12, dtype=np.float32).reshape(3, 4)
    pixels = np.asarray(decode.to_rgb(Image.fromarray(values)))[:, :, 0].ravel()
    assert (pixels[0], pixels[-1]) == (0, 255)
    assert (np.diff(pixels.astype(int)) > 0).all()


def test_samples_that_are_no_numbers_do_not_spoil_the_others() -> None:
    values = np.array([[0.0, 1.0, np.nan, np.inf]], dtype=np.float32)
    pixels = np.asarray(decode.to_rgb(Image.fromarray(values)))
    assert pixels.shape == (1, 4, 3)


def test_integers_beyond_16_bits_are_stretched() -> None:
    values = np.array([[-100_000, 0, 100_000]], dtype=np.int32)
    assert np.asarray(decode.to_rgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "I", "F"])
def test_an_image_in_bands_is_as_good_as_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    if mode in {"I;16", "I", "F"}:
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(values[:, :, 0].astype(kind) * 200)
    else:
        image = Image.fromarray(values, "RGBA").convert(mode)
        if mode == "P":
            image.info["transparency"] = 7
    assert image.mode == mode
    whole = np.asarray(decode.to_rgb(image))
    monkeypatch.setattr(levels, "_BAND_PIXELS", 300)  # 4 rows, and of the last band the rest
    assert np.array_equal(np.asarray(decode.to_rgb(image)), whole)


def test_palettes_with_and_without_transparency() -> None:
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert decode.to_rgb(palette).getpixel((0, 0)) == (200, 100, 50)
    assert decode.to_rgb(palette.convert("PA")).getpixel((0, 0)) == (200, 100, 50)
    palette.info["transparency"] = 1
    assert decode.to_rgb(palette).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "value", "transparency"),
    [("P", 0, 0), ("P", 0, b"\x00"), ("RGB", (9, 8, 7), (9, 8, 7)), ("L", 9, 9), ("1", 0, 0)],
)
def test_transparency_of_a_png_is_laid_over_white(mode: str, value: Any, transparency: Any) -> None:
    image, _ = read(file_bytes(Image.new(mode, (4, 3), value), "PNG", transparency=transparency))
    assert image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "format_name"),
    [
        (mode, format_name)
        for format_name, modes in {
            "PNG": ["1", "L", "LA", "P", "RGBA", "I;16"],
            "TIFF": ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"],
            "JPEG": ["L", "CMYK", "YCbCr"],
            "WEBP": ["L", "RGBA"],
            "JPEG2000": ["L", "LA", "RGBA", "I;16"],
            "JXL": ["L", "LA", "RGBA", "I;16"],
            "AVIF": ["L", "RGBA"],
            "HEIF": ["L", "RGBA", "I;16"],
            "PPM": ["1", "L", "I;16", "F"],
        }.items()
        for mode in modes
    ],
)
def test_modes_survive_the_formats_that_hold_them(mode: str, format_name: str) -> None:
    """Bright stays bright and dark stays dark, whatever the samples are."""
    levels = np.zeros((48, 64), np.float32)
    levels[:, 32:] = 1
    if mode in ("I;16", "I;16B", "I"):
        picture = Image.fromarray(
            (levels * 65535).astype(">u2" if mode == "I;16B" else np.uint16 if mode == "I;16" else np.int32)
        )
    elif mode == "F":
        picture = Image.fromarray(levels)
    elif mode == "LAB":
        picture = Image.merge(
            "LAB", [Image.fromarray((levels * 255).astype(np.uint8)), *[Image.new("L", (64, 48), 128)] * 2]
        )
    else:
        picture = (
            Image.fromarray((levels * 255).astype(np.uint8)).convert("RGB" if mode == "CMYK" else "L").convert(mode)
        )
    assert picture.mode == mode
    image, _ = read(file_bytes(picture, format_name))
    grey = np.asarray(image).astype(int)
    assert grey.shape == (48, 64, 3)
    assert grey[:, 4:28].max() <= 8
    assert grey[:, 36:60].min() >= 247


@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("PNG", {}),
        ("AVIF", {"quality": 95}),
        ("TIFF", {}),
        ("HEIF", {"quality": 95}),
    ],
)
def test_the_first_frame_counts(format_name: str, options: dict[str, Any]) -> None:
    others = [Image.new("RGB", (64, 48), colour) for colour in ("black", "yellow")]
    data = file_bytes(quadrants(), format_name, save_all=True, append_images=others, **options)
    image, facts = read(data)
    assert_corners(image)
    assert (facts.width, facts.height) == (64, 48)


# --- limits ---


@pytest.mark.parametrize("format_name", WRITERS)
def test_the_limit_is_exact(format_name: str) -> None:
    data = written(format_name)
    assert read(data, max_pixels=PIXELS)[0].size == (64, 48)
    with pytest.raises(ImageTooLargeError, match=f"over the limit of {PIXELS - 1:,}"):
        read(data, max_pixels=PIXELS - 1)


def test_the_limit_leaves_pillow_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageTooLargeError):
        read(written("PNG"), max_pixels=1)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("name", bombs())
def test_a_huge_image_is_refused_by_its_header(name: str) -> None:
    with pytest.raises(ImageTooLargeError, match=f"over the limit of {DEFAULT_MAX_PIXELS:,}"):
        read(bombs()[name], max_pixels=DEFAULT_MAX_PIXELS)


@pytest.mark.parametrize("name", lying_boxes())
def test_a_size_box_that_lies_is_damage(name: str) -> None:
    with pytest.raises(DecodeError):
        read(lying_boxes()[name], max_pixels=2**40)


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_refusing_takes_no_memory(tmp_path: Path) -> None:
    for number, data in enumerate([*bombs().values(), *lying_boxes().values()]):
        (tmp_path / f"{number:02}").write_bytes(data)
    script = """
import pathlib, resource, sys
from mmsearch.images import decode; from mmsearch.base import errors
paths = sorted(pathlib.Path(sys.argv[1]).iterdir())
decode._register_heif(), decode._register_jxl(), decode.has_image_signature(b"")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
before, refused = peak(), 0
for path in paths:
    with path.open("rb") as file:
        try:
            decode.decode(file, max_pixels=178_956_970)
        except errors.DecodeError:
            refused += 1
print(refused, peak() - before)
"""
    answer = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    refused, kibibytes = map(int, answer.stdout.split())
    assert refused == len(bombs()) + len(lying_boxes())
    assert kibibytes < 50_000


@pytest.mark.parametrize(
    ("width", "height"), [(8, 8), (256, 256), (300, 200), (1, 700), (640, 360), (5000, 3), (240, 200), (400, 200)]
)
@pytest.mark.parametrize("container", [False, True])
def test_the_jpeg_xl_header_tells_the_size(width: int, height: int, container: bool) -> None:
    image = Image.new("RGB", (width, height), "teal")
    data = file_bytes(image, "JXL", use_container=container)
    assert data.startswith(jxl_header.CONTAINER if container else jxl_header.CODESTREAM)
    file = io.BytesIO(data)
    assert jxl_header.read_size(file) == (width, height)
    assert file.tell() == 0


def test_a_jpeg_xl_in_parts_is_read() -> None:
    whole = written("JXL")
    parts = [struct.pack(">I", 0) + whole[:3], struct.pack(">I", 0x80000001) + whole[3:]]
    data = jxl_file(*(box(b"jxlp", part) for part in parts))
    assert jxl_header.read_size(io.BytesIO(data)) == (64, 48)
    assert_corners(read(data)[0])


@pytest.mark.parametrize(
    "data", [b"", b"\xff\x0a", jxl_file(), jxl_file(box(b"jxlc", b"")), jxl_file(box(b"free", b"", 4))]
)
def test_a_jpeg_xl_without_a_codestream_has_no_size(data: bytes) -> None:
    assert jxl_header.read_size(io.BytesIO(data)) is None


@given(st.binary(max_size=60))
def test_the_jpeg_xl_header_reader_survives_anything(tail: bytes) -> None:
    for start in (jxl_header.CODESTREAM, jxl_header.CONTAINER):
        size = jxl_header.read_size(io.BytesIO(start + tail))
        assert size is None or min(size) >= 0


# --- damage ---


def test_an_empty_file_and_other_files_are_no_images() -> None:
    for data in (b"", b"hello", bytes(1000), b"%PDF-1.7 ..."):
        with pytest.raises(NotAnImageError):
            read(data)


def outcome(data: bytes) -> str:
    """What a user would read; anything but a picture or a `DecodeError` fails the test."""
    try:
        image, _ = read(data, max_pixels=1_000_000)
    except DecodeError as error:
        assert error.message
        assert "\n" not in str(error)
        assert len(str(error)) < 300
        return error.message
    assert image.mode == "RGB"
    return ""


@pytest.mark.parametrize("format_name", WRITERS)
def test_a_truncated_file_costs_no_more_than_itself(format_name: str) -> None:
    data = written(format_name)
    for length in {1, 8, 16, 40, len(data) // 4, len(data) // 2, 3 * len(data) // 4, len(data) - 1}:
        outcome(data[:length])
    assert outcome(data[: min(40, len(data) // 4)]), "a fragment of the header must not pass for a picture"


@pytest.mark.parametrize("format_name", sorted(WRITERS.keys() - {"QOI", "BLP", "PCX"}))
def test_half_a_file_is_damaged(format_name: str) -> None:
    rng = np.random.default_rng(5)
    noise = Image.fromarray(rng.integers(0, 256, (192, 64, 3), dtype=np.uint8))
    data = file_bytes(noise, format_name, **WRITERS[format_name])
    assert outcome(data[: len(data) // 2])


@pytest.mark.parametrize("format_name", WRITERS)
def test_flipped_bytes_cost_no_more_than_the_file(format_name: str) -> None:
    rng = random.Random(f"flips in {format_name}")
    whole = written(format_name)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        outcome(bytes(data))


def test_a_damaged_image_is_told_from_no_image() -> None:
    for name in sorted(SIGNED):
        with pytest.raises(DecodeError, match="damaged") as caught:
            read(written(name)[:30])
        assert not isinstance(caught.value, NotAnImageError), name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("two\nlines and\x1b[31m colour\x9b", "two lines and [31m colour"),
        ("", "ValueError"),
        ("invalid literal for int() with base 10: b'\\xff'", "a number in its header is invalid"),
        ("Generic Error. Please report this", "its decoder gave up"),
        ("w" * 100_000, "w" * 159 + "…"),
    ],
)
def test_what_decoders_say_becomes_one_short_line(words: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Any, formats: list[str]) -> None:
        raise ValueError(words)

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DecodeError) as caught:
        read(b"\xff\xd8\xff\xe0")
    assert caught.value.message == f"damaged image ({told})"


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError("broken data stream"), DecodeError),
        (OSError(errno.EINVAL, "Invalid argument"), DecodeError),
        (OSError(errno.EIO, "Input/output error"), OSError),
        (MemoryError(), ImageTooLargeError),
        (RecursionError(), DecodeError),
        (type("PanicException", (BaseException,), {})("called `Option::unwrap()`"), DecodeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_errors_of_decoders_and_of_the_disk(
    error: BaseException, becomes: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: Any, formats: list[str]) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(becomes) as caught:
        read(b"\xff\xd8\xff\xe0")
    assert type(caught.value) is becomes


def test_a_jpeg_xl_whose_size_is_hidden_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jxl_header, "read_size", lambda file: None)
    with pytest.raises(DecodeError, match="its header cannot be read"):
        read(written("JXL"))


# --- scaling while decoding ---

HOW = Preprocess(size=224, resize=224)


@pytest.fixture(scope="module")
def large_photo(sample_data: Path) -> bytes:
    """A photo of 12 megapixels, with fine grain."""
    with Image.open(sample_data / "citrus.jpg") as opened:
        photo = np.asarray(opened.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)).astype(np.int16)
    photo += np.random.default_rng(7).integers(-12, 13, photo.shape[:2], dtype=np.int16)[:, :, np.newaxis]
    return file_bytes(Image.fromarray(photo.clip(0, 255).astype(np.uint8)), "JPEG", quality=90)


def test_a_large_jpeg_is_scaled_while_it_is_decoded(large_photo: bytes) -> None:
    full, _ = read(large_photo, max_pixels=12_000_000)
    quick, facts = read(large_photo, max_pixels=12_000_000, target=HOW.resize)
    assert (facts.width, facts.height) == full.size == (4000, 3000)
    assert decode.DRAFT_MARGIN * HOW.resize <= min(quick.size) < min(full.size)
    one, other = (preprocess.prepare(image, HOW).astype(np.float32).ravel() for image in (full, quick))
    one, other = one - one.mean(), other - other.mean()
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.999
    assert np.abs(one - other).mean() < 2


@pytest.mark.parametrize(
    ("size", "expected"), [((440, 440), (440, 440)), ((900, 4000), (450, 2000)), ((899, 4000), (899, 4000))]
)
def test_the_shorter_side_keeps_twice_the_target(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image, _ = read(file_bytes(Image.new("RGB", size), "JPEG"), target=225)
    assert image.size == expected


def test_other_formats_are_decoded_in_full() -> None:
    assert read(file_bytes(Image.new("RGB", (900, 900)), "PNG"), target=10)[0].size == (900, 900)


# --- facts ---


def facts_of(block: Image.Exif | bytes, format_name: str = "JPEG") -> ImageFacts:
    image, facts = read(file_bytes(quadrants(), format_name, exif=block))
    assert image.size == (64, 48), "what the block says otherwise must not cost the picture"
    return facts


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "JXL"])
def test_facts_from_exif(format_name: str) -> None:
    block = exif(MAKE="NIKON CORPORATION", MODEL="NIKON D70", DATE="2001:01:01 00:00:00")
    block.get_ifd(EXIF_IFD)[DATE_TAKEN] = "2023:07:14 18:05:09"
    block.get_ifd(GPS_IFD).update({1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 36.0)})
    facts = facts_of(block.tobytes(), format_name)
    assert facts.taken_at == "2023-07-14T18:05:09"
    assert facts.camera == "NIKON CORPORATION NIKON D70"
    assert facts.latitude == pytest.approx(-33.858333)
    assert facts.longitude == pytest.approx(151.21)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("Apple\0\0", " iPhone 12 ", "Apple iPhone 12"),
        ("", "X100", "X100"),
        ("Leica", "", "Leica"),
        ("", "", None),
        ("a\nb", "c\td", "a b c d"),
        ("a\x1b[31m", "b", "a [31m b"),
    ],
)
def test_the_camera_is_named_once(make: str, model: str, camera: str | None) -> None:
    assert facts_of(exif(MAKE=make, MODEL=model)).camera == camera


@pytest.mark.parametrize(
    ("text", "taken_at"),
    [
        ("2023:07:14 18:05:09", "2023-07-14T18:05:09"),
        ("2023-07-14T18:05:09", "2023-07-14T18:05:09"),
        ("2023:07:14 18:05:09.25+02:00", "2023-07-14T18:05:09.25+02:00"),
        ("0000:00:00 00:00:00", None),
        ("2023:13:45 18:05:09", None),
        ("    :  :     :  :  ", None),
        ("yesterday", None),
    ],
)
def test_the_date_is_one_of_the_calendar(text: str, taken_at: str | None) -> None:
    assert facts_of(exif(DATE=text)).taken_at == taken_at


@pytest.mark.parametrize(
    "position",
    [
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (IFDRational(0, 0), 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (1.0, 0.0, 0.0)},
        {1: "N", 2: (1.0, 0.0, 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: 7, 2: 8.0, 3: 9, 4: 10.0},
    ],
)
def test_a_broken_position_costs_only_itself(position: dict[int, Any]) -> None:
    block = exif(MODEL="X100", DATE="2023:07:14 18:05:09")
    block.get_ifd(GPS_IFD).update(position)
    assert facts_of(block) == ImageFacts(64, 48, "JPEG", "2023-07-14T18:05:09", "X100")


def ifd(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of (tag, type, count, value) as they are, right or wrong."""
    rows = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4)


SIDEWAYS = (ORIENTATION, 3, 1, struct.pack("<H", 6))


@pytest.mark.parametrize(
    "block",
    [
        ifd(SIDEWAYS, (DATE, 2, 20, struct.pack("<I", 99_999))),
        ifd(SIDEWAYS, (MAKE, 99, 20, struct.pack("<I", 99_999))),
        ifd(SIDEWAYS, (MAKE, 3, 1, b"\6\0"), (MODEL, 5, 1, struct.pack("<I", 8))),
        ifd(SIDEWAYS, (EXIF_IFD, 4, 1, struct.pack("<I", 7_777))),
        ifd(SIDEWAYS, (EXIF_IFD, 4, 1, struct.pack("<I", 8)), (GPS_IFD, 4, 1, struct.pack("<I", 8))),
        ifd(SIDEWAYS, (GPS_IFD, 2, 4, b"abc")),
    ],
)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_still_turns_the_picture(block: bytes, format_name: str) -> None:
    image, facts = read(file_bytes(stored(6), format_name, exif=block, **WRITERS[format_name]))
    assert_corners(image)
    assert (facts.width, facts.height) == (64, 48)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        ifd((ORIENTATION, 2, 2, b"6")),
        ifd((ORIENTATION, 11, 1, struct.pack("<f", float("nan")))),
        ifd((ORIENTATION, 3, 1, b"\x63\0")),
    ],
)
def test_an_unreadable_orientation_leaves_the_picture_as_stored(block: bytes) -> None:
    facts_of(block)
    facts_of(block, "PNG")


@given(st.binary(max_size=80))
def test_no_exif_block_costs_the_picture(tail: bytes) -> None:
    image, facts = read(file_bytes(quadrants(), "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0" + tail))
    assert sorted(image.size) == sorted((facts.width, facts.height)) == [48, 64]


# --- signatures ---


@functools.cache
def prefixes() -> dict[str, bytes]:
    found = {name: written(name) for name in sorted(SIGNED)}
    found |= {"PSD": psd(), "SUN": sun_raster(), "XPM": xpm(), "JXL in a box": jxl_file()}
    found["ICNS"] = file_bytes(quadrants(16, 16), "ICNS")
    found["BigTIFF"] = file_bytes(quadrants(), "TIFF", big_tiff=True)
    found["JPEG with EXIF"] = file_bytes(quadrants(), "JPEG", exif=exif(MODEL="X100"))
    found["progressive JPEG"] = file_bytes(quadrants(), "JPEG", progressive=True)
    found["JPEG 2000 codestream"] = file_bytes(quadrants(), "JPEG2000", no_jp2=True)
    return {name: data[: decode.PREFIX_BYTES] for name, data in found.items()}


@pytest.mark.parametrize("name", prefixes())
def test_images_are_known_by_their_first_bytes(name: str) -> None:
    assert decode.has_image_signature(prefixes()[name])


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("photo.jpg", written("JPEG"))
    return buffer.getvalue()


OTHER_FILES = {
    "nothing": b"",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "words": b"BMI is a number. SIMPLE, is it not? " * 3,
    "BM words": b"BM 2024 attendance list, names and rooms of all who came in spring\n",
    "DDS words": b"DDS stands for direct digital synthesis, which is a way to make tones",
    "SIMPLE words": b"SIMPLE recipes for every day of the week, with and without an oven",
    "P5 words": b"P5 is the fifth item of the list of priorities, and P6 is the sixth",
    "csv": b"P1,P2,P3\n1,2,3\n",
    "json": b'{"image": "data:image/png;base64,iVBORw0KGgo="}',
    "html": b"<!DOCTYPE html><html><head><title>photos</title></head>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>',
    "xml": b'<?xml version="1.0" encoding="UTF-8"?>',
    "python": b"#!/usr/bin/env python3\nimport os\n",
    "C": b"/* a comment */\n#include <stdio.h>\n#define WIDTH 64\n",
    "C macros": b"#define image_width 64\nint main(void) { return 0; }\n",
    "markdown": b"# Photos\n\nGIF and PNG files.\n",
    "utf-16": "a text with a mark of its byte order".encode("utf-16"),
    "utf-8 with a mark": b"\xef\xbb\xbftext",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "zip": archive(),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(20),
    "xz": b"\xfd7zXZ\x00\x00\x04",
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(20),
    "7z": b"7z\xbc\xaf\x27\x1c",
    "tar": b"photos/".ljust(100, b"\0") + b"0000755\0",
    "elf": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00\x01\x00\x00\x00",
    "exe": b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00",
    "mach-o": b"\xcf\xfa\xed\xfe\x07\x00\x00\x01",
    "class": b"\xca\xfe\xba\xbe\x00\x00\x00\x34",
    "wasm": b"\0asm\x01\0\0\0",
    "pyc": b"\xa7\r\r\n" + bytes(12),
    "mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41",
    "mp4 of a phone": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "quicktime": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    "m4a": b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom",
    "3gp": b"\0\0\0\x18ftyp3gp4\0\0\0\0isom3gp4",
    "matroska": b"\x1aE\xdf\xa3" + bytes(20),
    "mpeg": b"\x00\x00\x01\xba" + bytes(20),
    "mpeg video": b"\x00\x00\x01\xb3" + bytes(20),
    "avi": b"RIFF\x24\0\0\0AVI LIST",
    "wav": b"RIFF\x24\0\0\0WAVEfmt ",
    "mp3": b"ID3\x04\0\0\0\0\x0f\x76TSSE",
    "mp3 without tags": b"\xff\xfb\x90\x64" + bytes(30),
    "aac": b"\xff\xf1\x50\x80" + bytes(30),
    "ogg": b"OggS\0\x02" + bytes(20),
    "flac": b"fLaC\0\0\0\x22",
    "midi": b"MThd\0\0\0\x06",
    "sqlite": b"SQLite format 3\0" + bytes(20),
    "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20),
    "ttf": b"\0\x01\0\0\0\x0f\0\x80",
    "woff": b"wOFF\0\x01\0\0",
    "numpy": b"\x93NUMPY\x01\0v\0{'descr': '<f4'",
    "safetensors": struct.pack("<Q", 64) + b'{"weight":{"dtype":"F32"',
    "pickle": b"\x80\x04\x95\x1c\0\0\0\0\0\0\0",
    "git pack": b"PACK\0\0\0\x02",
    "torrent": b"d8:announce35:http://",
    "pem": b"-----BEGIN CERTIFICATE-----\n",
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_not_taken_for_images(name: str) -> None:
    assert not decode.has_image_signature(OTHER_FILES[name][: decode.PREFIX_BYTES])


def test_programs_and_sources_are_not_taken_for_images() -> None:
    for path in (Path(sys.executable), Path(__file__), Path(os.__file__), Path(decode.__file__)):
        assert not decode.has_image_signature(path.read_bytes()[: decode.PREFIX_BYTES]), path


@given(st.text(min_size=1, max_size=30))
def test_no_text_is_taken_for_an_image(text: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        assert not decode.has_image_signature(text.encode(encoding, "replace")[: decode.PREFIX_BYTES])


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("/p/a.jpg", True),
        ("/p/a.JPEG", True),
        ("a.HeIc", True),
        ("/p/a.jpg.txt", False),
        ("/p/jpg", False),
        ("/p/.jpg", False),
        ("/p.jpg/notes", False),
        ("/p/caf\udce9.png", True),
    ],
)
def test_names_that_claim_to_be_images(path: str, claims: bool) -> None:
    assert decode.has_image_extension(path) is claims
