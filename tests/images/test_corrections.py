"""Pixels as the formats mean them where a decoder has them otherwise, colour profiles, words for what is refused."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from formats import psd
from numpy.typing import NDArray
from pictures import file_bytes
from PIL import Image, ImageCms

from mmsearch.base.errors import DecodeError
from mmsearch.images import colour, decode, reasons

WIDTH, HEIGHT = 64, 48
RAMP = np.tile(np.arange(WIDTH) * 4, (HEIGHT, 1))
RGB = np.stack([RAMP, np.repeat((np.arange(HEIGHT) * 5)[:, None], WIDTH, 1), 255 - RAMP], axis=-1)

LONG, SHORT, ASCII = 4, 3, 2


def pixels(data: bytes) -> NDArray[np.int64]:
    return np.asarray(decode.decode(io.BytesIO(data), max_pixels=10**6)[0]).astype(int)


def refusal(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode.decode(io.BytesIO(data), max_pixels=10**6)
    return caught.value.message


def tiff(
    samples: NDArray[Any], *, photometric: int = 1, planar: bool = False, order: str = "<", **tags: tuple[int, Any]
) -> bytes:
    """An uncompressed TIFF of `samples`, (h, w) or (h, w, channels), in two strips a plane; further `tags` as t270."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    planes = [samples[..., number] for number in range(channels)] if planar else [samples]
    half = HEIGHT // 2
    strips = [
        part.astype(part.dtype.newbyteorder(order)).tobytes()
        for plane in planes
        for part in (plane[:half], plane[half:])
    ]
    offsets = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    values: dict[int, tuple[int, Any]] = {
        256: (LONG, [WIDTH]), 257: (LONG, [HEIGHT]), 258: (SHORT, [samples.dtype.itemsize * 8] * channels),
        259: (SHORT, [1]), 262: (SHORT, [photometric]), 273: (LONG, offsets), 277: (SHORT, [channels]),
        278: (LONG, [half]), 279: (LONG, [len(strip) for strip in strips]), 284: (SHORT, [2 if planar else 1]),
        339: (SHORT, [kind] * channels),
    }  # fmt: skip
    values |= {int(name[1:]): value for name, value in tags.items()}
    body = b"".join(strips)
    start = 8 + len(body)
    behind = start + 2 + 12 * len(values) + 4
    rows, longer = b"", b""
    for tag, (type_, value) in sorted(values.items()):
        packed = (
            value
            if isinstance(value, bytes)
            else struct.pack(f"{order}{len(value)}{'H' if type_ == SHORT else 'I'}", *value)
        )
        rows += struct.pack(f"{order}HHI", tag, type_, len(value))
        rows += packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", behind + len(longer))
        longer += packed if len(packed) > 4 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + body + struct.pack(f"{order}H", len(values)) + rows + bytes(4) + longer


# --- samples of TIFFs ---


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("samples", "photometric"),
    [
        (RAMP.astype("u1"), 1),
        ((255 - RAMP).astype("u1"), 0),
        ((RAMP * 257).astype("u2"), 1),
        ((65535 - RAMP * 257).astype("u2"), 0),
        ((RAMP - 128).astype("i1"), 1),
        ((RAMP * 257 - 32768).astype("i2"), 1),
        ((RAMP.astype("u4") * 16843009), 1),
        ((RAMP.astype("i4") * 8421504 - 2**30), 1),
        ((RAMP / 252).astype("f4"), 1),
        ((1 - RAMP / 252).astype("f4"), 0),
    ],
)
def test_grey_samples_are_right_or_refused(samples: NDArray[Any], photometric: int, order: str) -> None:
    data = tiff(samples, photometric=photometric, order=order)
    stretched = samples.dtype.kind != "u" or samples.dtype.itemsize == 4
    wanted = (RAMP / 252 * 255).round().astype(int) if stretched else RAMP
    try:
        found = pixels(data)[..., 0]
    except DecodeError as error:
        assert error.message.startswith("not supported: TIFF with "), error.message
        assert order == ">" or samples.dtype.itemsize > 2, "Pillow knows it, and so should we"
    else:
        assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_16_bits(order: str) -> None:
    found = pixels(tiff((RGB * 257).astype("u2"), photometric=2, planar=True, order=order))
    assert np.abs(found - RGB).max() <= 1
    assert np.abs(pixels(tiff(RGB.astype("u1"), photometric=2, planar=True, order=order)) - RGB).max() == 0
    assert np.abs(pixels(tiff((RGB * 257).astype("u2"), photometric=2, order=order)) - RGB).max() <= 1


def test_planes_of_other_colours_are_refused() -> None:
    cmyk = np.zeros((HEIGHT, WIDTH, 4), "u2")
    assert refusal(tiff(cmyk, photometric=5, planar=True)) == (
        "not supported: TIFF with 4 channels of 16-bit unsigned CMYK samples in separate planes"
    )


@pytest.mark.parametrize("mark", [-9999.0, float("nan"), -3.4e38, 3e38])
def test_unknown_samples_do_not_stretch_the_others(mark: float) -> None:
    samples = (RAMP / 252).astype("f4")
    samples[:8] = mark
    tags = {"t42113": (ASCII, f"{mark:g}\0".encode())} if mark == -9999.0 else {}
    found = pixels(tiff(samples, **tags))
    assert (found[:8] == 255).all() and np.abs(found[8:, :, 0] - RAMP[8:] / 252 * 255).max() <= 1


# --- PSD, XBM, PCX ---


@pytest.mark.parametrize(("x", "colour"), [(0, 0), (7, 255)])
def test_a_set_bit_of_an_xbm_is_black(x: int, colour: int) -> None:
    data = b"#define a_width 8\n#define a_height 1\nstatic char a_bits[] = {\n0x0f};\n"
    assert pixels(data)[0, x].tolist() == [colour] * 3


@pytest.mark.parametrize(
    ("version", "zero", "one", "left", "right"),
    [
        (5, (0, 0, 0), (255, 255, 255), (255, 255, 255), (0, 0, 0)),
        (5, (255, 255, 255), (0, 0, 0), (0, 0, 0), (255, 255, 255)),
        (2, (255, 255, 255), (0, 0, 0), (0, 0, 0), (255, 255, 255)),
        (3, (255, 255, 255), (0, 0, 0), (255, 255, 255), (0, 0, 0)),
        (5, (0, 0, 0), (0, 0, 0), (255, 255, 255), (0, 0, 0)),
        (5, (0, 0, 128), (255, 255, 0), (255, 255, 0), (0, 0, 128)),
    ],
)
def test_a_pcx_of_one_bit_has_two_colours(
    version: int, zero: tuple[int, ...], one: tuple[int, ...], left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    head = bytearray(file_bytes(Image.new("1", (16, 4)), "PCX")[:128])
    head[1] = version
    head[16:22] = bytes([*zero, *one])
    found = pixels(bytes(head) + bytes([0xC1, 0xFF, 0x00]) * 4)
    assert found[0, 0].tolist() == list(left) and found[0, 15].tolist() == list(right)


def packed_psd(mode: int, planes: list[NDArray[Any]]) -> bytes:
    """A PSD of rows packed one by one."""
    rows = [
        bytes([len(row) - 1]) + row for plane in planes for row in (bytes(line.tolist()) for line in plane.astype("u1"))
    ]
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, len(planes), HEIGHT, WIDTH, 8, mode)
    return (
        head + bytes(12) + struct.pack(">H", 1) + b"".join(struct.pack(">H", len(row)) for row in rows) + b"".join(rows)
    )


@pytest.mark.parametrize("further", [0, 1, 2, 5])
def test_further_channels_of_a_psd_are_passed_over(further: int) -> None:
    rest = [np.full((HEIGHT, WIDTH), 200)] * further
    assert np.array_equal(pixels(packed_psd(1, [RAMP, *rest]))[..., 0], RAMP)
    if further != 1:  # one more than three is transparency
        assert np.array_equal(pixels(packed_psd(3, [*np.moveaxis(RGB, -1, 0), *rest])), RGB)


# --- colour profiles ---


def wide() -> bytes:
    """The profile of a space in which red and green are swapped against sRGB: anybody sees it."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        profile[green + 4 : green + 12], profile[red + 4 : red + 12],
    )  # fmt: skip
    return bytes(profile)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profiles_are_applied(format_name: str) -> None:
    red = Image.new("RGB", (WIDTH, HEIGHT), (255, 0, 0))
    options = {"lossless": True} if format_name == "WEBP" else {"quality": 95} if format_name == "JPEG" else {}
    plain = pixels(file_bytes(red, format_name, **options))[0, 0]
    swapped = pixels(file_bytes(red, format_name, icc_profile=wide(), **options))[0, 0]
    assert np.abs(plain - [255, 0, 0]).max() <= 3 and np.abs(swapped - [0, 255, 0]).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_profiles_are_applied_under_transparency_and_to_palettes(mode: str) -> None:
    red = Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 255)).convert(mode)
    assert np.abs(pixels(file_bytes(red, "PNG", icc_profile=wide()))[0, 0] - [0, 255, 0]).max() <= 3


@pytest.mark.parametrize("profile", [SRGB, b"x" * 500, wide()[:200], bytes(128), b""])
def test_other_profiles_change_nothing(profile: bytes) -> None:
    image = Image.fromarray(RGB.astype(np.uint8))
    assert np.array_equal(pixels(file_bytes(image, "PNG", icc_profile=profile)), RGB)


def test_a_profile_for_another_kind_of_picture_changes_nothing() -> None:
    grey = Image.fromarray(RAMP.astype(np.uint8))
    assert np.array_equal(pixels(file_bytes(grey.convert("CMYK"), "TIFF", icc_profile=wide()))[..., 0], RAMP)


def test_srgb_costs_no_conversion() -> None:
    image = Image.new("RGB", (2, 2))
    image.info["icc_profile"] = SRGB
    assert colour.mode_of(image) is None


def test_a_tiff_in_lab() -> None:
    lab = np.zeros((HEIGHT, WIDTH, 3), "u1")
    lab[..., 0] = 255
    assert (pixels(tiff(lab, photometric=8)) >= 250).all()


# --- reasons ---


def psd_head(bits: int, mode: int) -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 4, 4, bits, mode) + bytes(64)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(RGB.astype("f4"), photometric=2), "not supported: TIFF with 32-bit floating-point RGB samples"),
        (tiff(RGB.astype("u4"), photometric=2), "not supported: TIFF with 32-bit unsigned RGB samples"),
        (tiff(RAMP.astype("u1"), t259=(SHORT, [34712])), "not supported: TIFF with JPEG 2000 compression"),
        (b"MM\0+\0\x08\0\0" + bytes(64), "not supported: big-endian BigTIFF"),
        (psd_head(16, 3), "not supported: PSD with 16-bit RGB channels"),
        (psd_head(8, 99), "damaged image (its header cannot be read)"),
        (b"II*\0" + bytes(60), "damaged image (its header cannot be read)"),
        (
            b"\xff\xd8\xff\xc3\0\x11\x08\0\x10\0\x10\3\1\x11\0\2\x11\1\3\x11\1" + bytes(64),
            "not supported: lossless JPEG",
        ),
        (
            b"\xff\xd8\xff\xc1\0\x11\x0c\0\x10\0\x10\3\1\x11\0\2\x11\1\3\x11\1" + bytes(64),
            "not supported: JPEG with 12 bits a sample",
        ),
        (b"BM" + struct.pack("<IIIIiiHHIIiiII", 200, 0, 54, 40, 4, 4, 1, 7, 0, 0, 0, 0, 0, 0) + bytes(200),
         "not supported: BMP pixel depth (7)"),
    ],
)  # fmt: skip
def test_only_damage_is_called_damaged(data: bytes, reason: str) -> None:
    assert refusal(data) == reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("decoder error -2", "damaged image (its data cannot be decoded)"),
        ("image file is truncated (7 bytes not processed)", "damaged image (its end is missing)"),
        ("broken data stream when reading image file", "damaged image (its data cannot be decoded)"),
        ("unknown PCX mode", "not supported: PCX with this number of bits and planes"),
        ("Unsupported BMP compression (6)", "not supported: BMP compression (6)"),
        ("function takes at most 3 arguments (5 given)", "damaged image (its header makes no sense)"),
        ("something new", "damaged image (something new)"),
    ],
)
def test_reasons_in_words(said: str, reason: str) -> None:
    assert reasons.of(OSError(said)) == reason


def test_what_can_be_read_is_not_called_unsupported() -> None:
    assert "damaged" in refusal(tiff(RAMP.astype("u1"))[:4] + bytes(400))
    assert np.array_equal(pixels(psd())[0, 0], pixels(psd())[0, 0])
