"""Files that lack their end: what most viewers show is taken, and said to be incomplete."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from pictures import file_bytes
from PIL import Image

from mmsearch.base.errors import DecodeError
from mmsearch.base.records import ImageFacts
from mmsearch.images import cut_short, decode


def picture(mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(1, 256, (192, 256, 3), dtype=np.uint8)).convert(mode)


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("RGB", "JPEG", {"quality": 90}),
    "grey JPEG": ("L", "JPEG", {"quality": 90}),
    "progressive JPEG": ("RGB", "JPEG", {"quality": 90, "progressive": True}),
    "PNG": ("RGB", "PNG", {}),
    "palette PNG": ("P", "PNG", {}),
    "transparent PNG": ("RGBA", "PNG", {}),
    "GIF": ("P", "GIF", {"interlace": 0}),
    "BMP": ("RGB", "BMP", {}),
}


def whole(kind: str) -> bytes:
    mode, format_name, options = KINDS[kind]
    return file_bytes(picture(mode), format_name, **options)


def read(data: bytes) -> tuple[Image.Image, ImageFacts]:
    return decode.decode(io.BytesIO(data), max_pixels=10**6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.98, 0.9, 0.8])
def test_what_is_there_is_taken(kind: str, share: float) -> None:
    data = whole(kind)
    complete, facts = read(data)
    assert facts.remark is None
    image, facts = read(data[: int(share * len(data))])
    assert image.size == (256, 192) == (facts.width, facts.height)
    assert facts.remark is not None and facts.remark.startswith("its end is missing: ")
    there = float(facts.remark.split(": ")[1].split("%")[0]) / 100
    assert there == 1.0 if "progressive" in kind else there == pytest.approx(share, abs=0.12)
    rows = np.array(image)[:96] if kind != "BMP" else np.array(image)[96:]  # a BMP begins with its last row
    wanted = np.array(complete)[:96] if kind != "BMP" else np.array(complete)[96:]
    assert np.abs(rows.astype(int) - wanted).mean() < (90 if "progressive" in kind else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_less_than_half_is_damaged(kind: str) -> None:
    data = whole(kind)
    with pytest.raises(DecodeError, match="its end is missing"):
        read(data[: 700 if "progressive" in kind else int(0.4 * len(data))])


@pytest.mark.parametrize("cut", [1, 2, 10])
@pytest.mark.parametrize("kind", ["JPEG", "grey JPEG", "progressive JPEG"])
def test_a_jpeg_without_its_last_bytes_is_whole(kind: str, cut: int) -> None:
    data = whole(kind)
    image, _ = read(data[:-cut])
    assert np.abs(np.array(image).astype(int) - np.array(read(data)[0])).mean() < 1


def test_a_scaled_jpeg_lacks_its_end_too() -> None:
    data = file_bytes(picture().resize((2048, 1536)), "JPEG", quality=90)
    image, facts = decode.decode(io.BytesIO(data[: int(0.9 * len(data))]), max_pixels=10**7, target=64)
    assert min(image.size) < 1000 and facts.remark is not None and (facts.width, facts.height) == (2048, 1536)


@pytest.mark.parametrize("format_name", ["WEBP", "TIFF", "QOI"])
def test_of_other_formats_the_whole_file_is_needed(format_name: str) -> None:
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = file_bytes(picture(), format_name, **options)
    with pytest.raises(DecodeError):
        read(data[: int(0.9 * len(data))])


def test_the_next_file_is_read_as_strictly_as_before() -> None:
    data = whole("PNG")
    read(data[: int(0.9 * len(data))])
    from PIL import ImageFile

    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(OSError, match="boom"), cut_short.tolerated():
        raise OSError("boom")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("compressed", [True, False])
def test_texts_of_megabytes_cost_only_themselves(compressed: bool) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("workflow", "x" * 1_100_000, zip=compressed)
    info.add_itxt("XML:com.adobe.xmp", "y" * 1_200_000, zip=True)
    info.add_text("Raw profile type iptc", "small", zip=True)
    image, facts = read(file_bytes(picture(), "PNG", pnginfo=info))
    assert np.array_equal(np.array(image), np.array(picture())) and facts.remark is None


def test_a_profile_of_megabytes_costs_only_itself() -> None:
    image, _ = read(file_bytes(picture(), "PNG", icc_profile=b"x" * 3_000_000))
    assert np.array_equal(np.array(image), np.array(picture()))


def test_many_texts_cost_only_themselves() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for number in range(100):
        info.add_text(f"text {number}", "x" * 1_000_000, zip=True)
    image, _ = read(file_bytes(picture(), "PNG", pnginfo=info))
    assert np.array_equal(np.array(image), np.array(picture()))
