"""RAW photos that are TIFFs: the largest preview is read, and said to be one; the facts are the photo's own."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from pictures import file_bytes
from PIL import Image

from mmsearch.base.records import ImageFacts
from mmsearch.images import decode

BYTE, ASCII, SHORT, LONG = 1, 2, 3, 4
TAKEN = b"2019:01:02 03:04:05\0"


def directory(offset: int, tags: dict[int, tuple[int, Any]]) -> bytes:
    rows, longer = b"", b""
    behind = offset + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        code = "H" if kind == SHORT else "I"
        packed = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{code}", *value)
        rows += struct.pack("<HHI", tag, kind, len(value))
        rows += packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", behind + len(longer))
        longer += packed if len(packed) > 4 else b""
    return struct.pack("<H", len(tags)) + rows + bytes(4) + longer


def photo(
    *,
    make: bytes = b"Leica\0",
    dng: bool = True,
    sensor: bool = True,
    preview: bytes = b"",
    mark: bytes = b"",
    turn: int = 1,
) -> bytes:
    """A RAW: a red thumbnail of 16 x 12 first, then the sensor's 600 x 400, then a JPEG."""
    thumb = b"\xff\0\0" * (16 * 12)
    body = bytearray(b"II*\0\0\0\0\0" + mark.ljust(8, b"\0") + thumb + preview)
    preview_at = 16 + len(thumb)
    within = []
    if sensor:
        within.append(len(body))
        body += directory(len(body), {256: (LONG, [600]), 257: (LONG, [400]), 262: (SHORT, [32803])})
    if preview:
        within.append(len(body))
        kinds = {259: (SHORT, [7]), 262: (SHORT, [6]), 273: (LONG, [preview_at]), 279: (LONG, [len(preview)])}
        body += directory(len(body), kinds)
    start = len(body)
    tags: dict[int, tuple[int, Any]] = {
        254: (LONG, [1]), 256: (LONG, [16]), 257: (LONG, [12]), 258: (SHORT, [8, 8, 8]), 259: (SHORT, [1]),
        262: (SHORT, [2]), 271: (ASCII, make), 273: (LONG, [16]), 274: (SHORT, [turn]), 277: (SHORT, [3]),
        278: (LONG, [12]), 279: (LONG, [len(thumb)]), 36867: (ASCII, TAKEN),
    }  # fmt: skip
    if within:
        tags[330] = (LONG, within)
    if dng:
        tags[50706] = (BYTE, b"\1\4\0\0")
    body += directory(start, tags)
    body[4:8] = struct.pack("<I", start)
    return bytes(body)


def read(data: bytes, target: int | None = None) -> tuple[Image.Image, ImageFacts]:
    return decode.decode(io.BytesIO(data), max_pixels=10**6, target=target)


GREEN = file_bytes(Image.new("RGB", (320, 200), (0, 200, 0)), "JPEG", quality=95)


def test_the_largest_preview_is_read() -> None:
    image, facts = read(photo(preview=GREEN))
    assert image.size == (320, 200) and image.getpixel((9, 9))[1] > 180  # type: ignore[index]
    assert facts == ImageFacts(
        600, 400, "DNG", "2019-01-02T03:04:05", "Leica", remark="only its preview is read, of 320 x 200 pixels"
    )


def test_the_thumbnail_is_read_where_there_is_no_more() -> None:
    image, facts = read(photo())
    assert image.size == (16, 12) and image.getpixel((3, 3)) == (255, 0, 0)
    assert facts.remark == "only its preview is read, of 16 x 12 pixels" and facts.format == "DNG"


def test_previews_are_turned_as_the_photo_says() -> None:
    image, facts = read(photo(preview=GREEN, turn=6))
    assert image.size == (200, 320) and (facts.width, facts.height) == (400, 600)
    image, facts = read(photo(turn=6))
    assert image.size == (12, 16) and (facts.width, facts.height) == (400, 600)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"make": b"NIKON CORPORATION\0", "dng": False}, "NEF"),
        ({"make": b"SONY\0", "dng": False}, "ARW"),
        ({"make": b"Somebody\0", "dng": False}, "RAW"),
        ({"make": b"Canon\0", "dng": False, "mark": b"CR\2\0"}, "CR2"),
        ({"dng": False, "sensor": False}, "TIFF"),
    ],
)
def test_kinds_of_raw(options: dict[str, Any], kind: str) -> None:
    facts = read(photo(**options))[1]
    assert facts.format == kind and (facts.remark is None) == (kind == "TIFF")


@pytest.mark.parametrize("preview", [b"\xff\xd8\xff", b"no JPEG at all", GREEN[:100]])
def test_a_damaged_preview_gives_way_to_the_thumbnail(preview: bytes) -> None:
    assert read(photo(preview=preview))[0].size == (16, 12)


def test_a_preview_over_the_limit_of_pixels_gives_way_to_the_thumbnail() -> None:
    image, facts = decode.decode(io.BytesIO(photo(preview=GREEN)), max_pixels=1000)
    assert image.size == (16, 12) and facts.format == "DNG"


def test_directories_in_a_circle_end() -> None:
    data = bytearray(photo(sensor=False))
    start = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[start : start + 2])[0]
    at = start + 2 + 12 * count
    data[at : at + 4] = data[4:8]
    assert read(bytes(data))[1].format == "DNG"
