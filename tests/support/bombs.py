"""Small files that would take gigabytes or ages, were they believed."""

from __future__ import annotations

import functools
import struct
import zlib

from formats import psd, written
from pictures import file_bytes, quadrants
from PIL import Image

from mmsearch.images import jxl_header

SIDE = 60_000


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def jxl_codestream(width: int, height: int) -> bytes:
    """The first bytes of a JPEG XL codestream (ISO/IEC 18181-1, SizeHeader)."""
    value = position = 0
    for field, bits in ((0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30)):
        value |= field << position
        position += bits
    return b"\xff\x0a" + value.to_bytes(12, "little") + bytes(30)


def box(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(body) if size is None else size) + kind + body


def jxl_file(*boxes: bytes) -> bytes:
    return jxl_header.CONTAINER + box(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(boxes)


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files whose headers announce gigabytes."""
    one, nested, codestream = quadrants(), png_of(SIDE, SIDE), jxl_codestream(SIDE, SIDE)
    webp = file_bytes(one, "WEBP", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    canvas = webp.index(b"VP8X") + 12
    jpeg2000 = patched(written("JPEG2000"), struct.pack(">II", 64, 48), struct.pack(">II", SIDE, SIDE))
    tiff = patched(written("TIFF"), struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, SIDE))
    return {
        "PNG": nested,
        "GIF": b"GIF89a" + struct.pack("<HH", 65535, 65535) + written("GIF")[10:],
        "JPEG": patched(written("JPEG"), struct.pack(">HH", 48, 64), struct.pack(">HH", SIDE, SIDE)),
        "TIFF": patched(tiff, struct.pack("<HHII", 257, 4, 1, 48), struct.pack("<HHII", 257, 4, 1, SIDE)),
        "WEBP": webp[:canvas] + struct.pack("<I", 16382)[:3] * 2 + webp[canvas + 6 :],
        "JPEG2000": patched(jpeg2000, struct.pack(">II", 48, 64), struct.pack(">II", SIDE, SIDE)),
        "BMP": patched(written("BMP"), struct.pack("<ii", 64, 48), struct.pack("<ii", SIDE, SIDE)),
        "PPM": b"P6 60000 60000 255\n" + bytes(100),
        "QOI": b"qoif" + struct.pack(">II", SIDE, SIDE) + written("QOI")[12:],
        "DDS": patched(written("DDS"), struct.pack("<II", 48, 64), struct.pack("<II", SIDE, SIDE)),
        "TGA": patched(written("TGA"), struct.pack("<HH", 64, 48), struct.pack("<HH", SIDE, SIDE)),
        "SGI": patched(written("SGI"), struct.pack(">HH", 64, 48), struct.pack(">HH", SIDE, SIDE)),
        "PCX": patched(written("PCX"), struct.pack("<HH", 63, 47), struct.pack("<HH", SIDE, SIDE)),
        "PSD": patched(psd(), struct.pack(">II", 48, 64), struct.pack(">II", SIDE, SIDE)),
        "ICO": struct.pack("<HHH4B2HII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(nested), 22) + nested,
        "ICNS": b"icns" + struct.pack(">I", 16 + len(nested)) + b"ic10" + struct.pack(">I", 8 + len(nested)) + nested,
        "JXL": codestream,
        "JXL in a box": jxl_file(box(b"jxlc", codestream)),
        "JXL in a long box": jxl_file(box(b"jxlc", struct.pack(">Q", 16 + len(codestream)) + codestream, size=1)),
        "JXL in the last box": jxl_file(box(b"Exif", bytes(20)), box(b"jxlc", codestream, size=0)),
        "JXL in parts": jxl_file(
            box(b"jxlp", struct.pack(">I", 0) + codestream[:2]),
            box(b"jxlp", struct.pack(">I", 1)),
            box(b"jxlp", struct.pack(">I", 0x80000002) + codestream[2:]),
        ),
    }


@functools.cache
def lying_boxes() -> dict[str, bytes]:
    """AVIF and HEIF whose size box lies; their libraries refuse the size by limits of their own."""
    found = {}
    for name in ("AVIF", "HEIF"):
        data = written(name)
        start = data.index(b"ispe") + 8
        found[name] = patched(data, data[start : start + 8], struct.pack(">II", SIDE, SIDE))
    return found


# Frames and chunks, more than any real file has.
MANY = 10_000


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def zeros(gigabytes: float) -> bytes:
    """That many zeros, deflated to a thousandth."""
    packer = zlib.compressobj(9)
    part = bytes(1 << 20)
    return b"".join(packer.compress(part) for _ in range(int(gigabytes * 1024))) + packer.flush()


@functools.cache
def hidden_bombs() -> dict[str, bytes]:
    """Files of a modest size on the outside whose inside is large: texts, profiles, tiles, frames."""
    png, packed = written("PNG"), zeros(0.25)
    chunks = png.index(b"IDAT") - 4
    text = png_chunk(b"zTXt", b"Comment\0\0" + packed)
    profile = png_chunk(b"iCCP", b"icc\0\0" + packed)
    remarks = png_chunk(b"tEXt", b"a\0b") * (10 * MANY)
    large = {name: file_bytes(Image.new("RGB", (2048, 2048)), name) for name in ("AVIF", "HEIF")}
    for name, data in large.items():
        large[name] = patched(data, struct.pack(">II", 2048, 2048), struct.pack(">II", 64, 48))
    jpeg2000 = file_bytes(Image.new("RGB", (2048, 2048)), "JPEG2000")
    gif, jpeg = written("GIF"), written("JPEG")
    image = gif.index(b",\0\0\0\0")
    scan = jpeg.index(b"\xff\xda")
    tiff = written("TIFF")
    strip = struct.pack("<HHI", 278, 4, 1)
    return {
        "PNG with a text of 256 MB": png[:chunks] + text + png[chunks:],
        "PNG with a profile of 256 MB": png[:chunks] + profile + png[chunks:],
        "PNG with 100,000 remarks": png[:chunks] + remarks + png[chunks:],
        "PNG with 256 MB behind its pixels": png[:chunks] + png_chunk(b"IDAT", packed) + png[-12:],
        "AVIF of another size inside": large["AVIF"],
        "HEIF of another size inside": large["HEIF"],
        "JPEG 2000 of another size inside": patched(jpeg2000, b"ihdr\0\0\x08\0\0\0\x08\0", b"ihdr\0\0\0\x30\0\0\0\x40"),
        "GIF with 100,000 remarks": gif[:image] + b"!\xfe\x01x\0" * (10 * MANY) + gif[image:],
        "JPEG with 10,000 scans": jpeg[:scan] + jpeg[scan:-2] * MANY + jpeg[-2:],
        "JPEG with 10,000 profiles": jpeg[:2] + (b"\xff\xe2\x01\x02" + bytes(256)) * MANY + jpeg[2:],
        "TIFF with one huge strip": patched(
            tiff, strip + tiff[tiff.index(strip) + 8 :][:4], strip + b"\xff\xff\xff\x7f"
        ),
    }


@functools.cache
def animations() -> dict[str, bytes]:
    """Good files of very many frames, of which the first is `quadrants`."""
    other = Image.new("RGB", (64, 48), "black")
    gif = file_bytes(quadrants(), "GIF", save_all=True, append_images=[other])
    second = gif.index(b"!\xf9", gif.index(b",\0\0\0\0"))
    webp = file_bytes(quadrants(), "WEBP", save_all=True, append_images=[other], lossless=True)
    frame = webp.index(b"ANMF", webp.index(b"ANMF") + 4)
    frames = webp[:frame] + webp[frame:] * MANY
    tiff = file_bytes(quadrants(), "TIFF", save_all=True, append_images=[other] * (MANY // 10))
    return {
        "GIF": gif[:second] + gif[second:-1] * MANY + b";",
        "WEBP": frames[:4] + struct.pack("<I", len(frames) - 8) + frames[8:],
        "PNG": apng(MANY),
        "TIFF": tiff,
    }


def apng(count: int) -> bytes:
    png = written("PNG")
    start = png.index(b"IDAT") - 4
    pixels = png[start + 8 : start + 8 + int.from_bytes(png[start : start + 4], "big")]
    parts, number = [png[:start], png_chunk(b"acTL", struct.pack(">II", count, 0))], 0
    for index in range(count):
        control = struct.pack(">IIIIIHHBB", number, 64, 48, 0, 0, 1, 10, 0, 0)
        body = png_chunk(b"fdAT", struct.pack(">I", number + 1) + pixels) if index else png_chunk(b"IDAT", pixels)
        parts += [png_chunk(b"fcTL", control), body]
        number += 2 if index else 1
    return b"".join([*parts, png[-12:]])
