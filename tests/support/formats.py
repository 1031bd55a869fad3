"""Files of every format that mmsearch reads: written by Pillow and its plug-ins or, where they only read, by hand."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from pictures import CORNERS, file_bytes, quadrants
from PIL import Image

# How Pillow and the plug-ins write a picture of 64 x 48 in each format, as true to the original as they can.
WRITERS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "GIF": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "BMP": {},
    "DIB": {},
    "AVIF": {"quality": 95},
    "HEIF": {"quality": 95},
    "JXL": {"lossless": True},
    "JPEG2000": {},
    "ICO": {"sizes": [(64, 48)]},
    "PPM": {},
    "QOI": {},
    "TGA": {},
    "DDS": {},
    "PCX": {},
    "SGI": {},
    "BLP": {},
}


def written(format_name: str) -> bytes:
    image = quadrants()
    if format_name == "BLP":
        image = image.convert("P", palette=Image.Palette.ADAPTIVE)
    return file_bytes(image, format_name, **WRITERS[format_name])


def psd() -> bytes:
    planes = b"".join(channel.tobytes() for channel in quadrants().split())
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 48, 64, 8, 3) + bytes(12) + bytes(2) + planes


def cursor() -> bytes:
    icon = bytearray(file_bytes(quadrants(64, 48), "ICO", sizes=[(64, 48)], bitmap_format="bmp"))
    icon[2] = 2
    return bytes(icon)


def sun_raster() -> bytes:
    pixels = np.asarray(quadrants())[:, :, ::-1].tobytes()
    return struct.pack(">8I", 0x59A66A95, 64, 48, 24, len(pixels), 1, 0, 0) + pixels


def dcx() -> bytes:
    return struct.pack("<III", 0x3ADE68B1, 12, 0) + file_bytes(quadrants(), "PCX")


def xpm() -> bytes:
    letters = "rgbw"
    colours = [
        f'"{mark} c #{red:02x}{green:02x}{blue:02x}"' for mark, (red, green, blue) in zip(letters, CORNERS, strict=True)
    ]
    rows = ['"' + "r" * 32 + "g" * 32 + '"'] * 24 + ['"' + "b" * 32 + "w" * 32 + '"'] * 24
    return ("/* XPM */\nstatic char *x[] = {\n" + ",\n".join(['"64 48 4 1"', *colours, *rows]) + "\n};\n").encode()


def gimp_brush() -> bytes:
    head = struct.pack(">7I", 30, 2, 64, 48, 4, 0x47494D50, 10)
    return head + b"x\0" + quadrants().convert("RGBA").tobytes()


def fits() -> bytes:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2"]
    cards += ["NAXIS1  =                   64", "NAXIS2  =                   48", "END"]
    grey = quadrants().convert("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM)  # its first row is the lowest
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + grey.tobytes()


def flic() -> bytes:
    """One frame of a palette (greys of 6 bits) and of pixels that are stored as they are."""
    grey = quadrants().convert("L").tobytes()
    palette = (
        struct.pack("<IH", 6 + 4 + 768, 11)
        + struct.pack("<HBB", 1, 0, 0)
        + bytes(n // 4 for n in range(256) for _ in "rgb")
    )
    pixels = struct.pack("<IH", 6 + len(grey), 16) + grey
    frame = struct.pack("<IHH8x", 16 + len(palette) + len(pixels), 0xF1FA, 2) + palette + pixels
    return struct.pack("<IHHHHHHI", 128 + len(frame), 0xAF12, 1, 64, 48, 8, 3, 70).ljust(128, b"\0") + frame


def ftex() -> bytes:
    pixels = quadrants().tobytes()
    return struct.pack("<4s7iI", b"FTEX", 1, 64, 48, 1, 1, 1, 32, len(pixels)) + pixels


def imt() -> bytes:
    return b"* a comment\nwidth 64\nheight 48\npixel n8\n\x0c" + quadrants().convert("L").tobytes()


def ifunc_labs() -> bytes:
    with warnings.catch_warnings():  # Pillow 13 warns that it is to be dropped one day
        warnings.simplefilter("ignore", DeprecationWarning)
        return file_bytes(quadrants(), "IM")


def pixar() -> bytes:
    head = bytearray(1024)
    head[:4] = b"\200\350\0\0"
    head[416:428] = struct.pack("<HH4xHH", 48, 64, 14, 2)
    return bytes(head) + quadrants().tobytes()


# Formats that can only be read, or are best written here, by their names.
CRAFTED: dict[str, Callable[[], bytes]] = {
    "PSD": psd,
    "CUR": cursor,
    "SUN": sun_raster,
    "DCX": dcx,
    "XPM": xpm,
    "GBR": gimp_brush,
    "FTEX": ftex,
    "PIXAR": pixar,
    "IM": ifunc_labs,
}

# Those of them that hold greys.
CRAFTED_GREY: dict[str, Callable[[], bytes]] = {"FITS": fits, "FLI": flic, "IMT": imt}


def sources() -> list[tuple[str, bytes]]:
    """Good files of all formats in their main varieties, by a name with the right ending."""
    photo = quadrants()
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    clear = noise.copy()
    clear.putalpha(photo.convert("L"))
    deep = Image.fromarray(np.asarray(noise.convert("L")).astype(np.uint16) * 257)
    real = Image.fromarray(np.asarray(deep).astype(np.float32))
    bits = noise.convert("1")
    frames = {"save_all": True, "append_images": [noise.rotate(turn) for turn in (90, 180, 270)]}
    stereo = {"save_all": True, "append_images": [noise.rotate(180)]}
    exif = Image.Exif()
    exif.update({0x010F: "Maker", 0x0110: "Model", 0x0112: 6, 0x0132: "2023:07:14 18:05:09"})
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 36.0)})
    varieties: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("plain.jpg", noise, "JPEG", {}),
        ("exif.jpg", noise, "JPEG", {"exif": exif}),
        ("progressive.jpg", noise, "JPEG", {"progressive": True, "optimize": True}),
        ("cmyk.jpg", noise.convert("CMYK"), "JPEG", {}),
        ("stereo.mpo", noise, "MPO", stereo),
        ("plain.png", noise, "PNG", {"exif": exif}),
        ("clear.png", clear, "PNG", {}),
        ("palette.png", noise.quantize(16), "PNG", {"transparency": 3}),
        ("deep.png", deep, "PNG", {}),
        ("frames.apng", noise, "PNG", frames),
        ("plain.gif", noise, "GIF", {}),
        ("frames.gif", noise, "GIF", frames),
        ("lossy.webp", noise, "WEBP", {"exif": exif}),
        ("lossless.webp", clear, "WEBP", {"lossless": True}),
        ("frames.webp", clear, "WEBP", frames),
        ("plain.tif", noise, "TIFF", {"exif": exif}),
        ("lzw.tif", noise, "TIFF", {"compression": "tiff_lzw"}),
        ("deflate.tif", clear, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("jpeg.tif", noise, "TIFF", {"compression": "jpeg"}),
        ("packbits.tif", noise, "TIFF", {"compression": "packbits"}),
        ("fax.tif", bits, "TIFF", {"compression": "group4"}),
        ("deep.tif", deep, "TIFF", {"big_tiff": True}),
        ("real.tif", real, "TIFF", {}),
        ("pages.tif", noise, "TIFF", frames),
        ("plain.bmp", noise, "BMP", {}),
        ("palette.bmp", noise.quantize(16), "BMP", {}),
        ("bitmap.dib", noise, "DIB", {}),
        ("plain.avif", noise, "AVIF", {"exif": exif.tobytes()}),
        ("clear.avif", clear, "AVIF", {}),
        ("frames.avif", noise, "AVIF", frames),
        ("plain.heic", noise, "HEIF", {"exif": exif.tobytes()}),
        ("clear.heic", clear, "HEIF", {"chroma": "444"}),
        ("frames.heic", noise, "HEIF", frames),
        ("lossless.jxl", clear, "JXL", {"lossless": True}),
        ("lossy.jxl", noise, "JXL", {"use_container": True, "exif": exif.tobytes()}),
        ("deep.jxl", deep, "JXL", {"lossless": True}),
        ("plain.jp2", noise, "JPEG2000", {}),
        ("tiles.j2k", clear, "JPEG2000", {"no_jp2": True, "tile_size": (32, 32), "irreversible": True}),
        ("deep.jp2", deep, "JPEG2000", {}),
        ("png.ico", clear, "ICO", {"sizes": [(16, 16), (64, 48)]}),
        ("bitmap.ico", clear, "ICO", {"sizes": [(16, 16), (64, 48)], "bitmap_format": "bmp"}),
        ("plain.icns", photo.resize((64, 64)), "ICNS", {}),
        ("plain.ppm", noise, "PPM", {}),
        ("deep.pgm", deep, "PPM", {}),
        ("bits.pbm", bits, "PPM", {}),
        ("real.pfm", real, "PPM", {}),
        ("plain.qoi", clear, "QOI", {}),
        ("plain.tga", clear, "TGA", {}),
        ("rle.tga", photo, "TGA", {"compression": "tga_rle"}),
        ("plain.dds", clear, "DDS", {}),
        ("dxt1.dds", noise, "DDS", {"pixel_format": "DXT1"}),
        ("dxt5.dds", clear, "DDS", {"pixel_format": "DXT5"}),
        ("bc5.dds", noise, "DDS", {"pixel_format": "BC5"}),
        ("plain.pcx", noise, "PCX", {}),
        ("palette.pcx", noise.quantize(16), "PCX", {}),
        ("plain.sgi", noise, "SGI", {}),
        ("windows.im", bits, "MSP", {}),
        ("plain.blp", noise.quantize(64), "BLP", {}),
        ("plain.xbm", bits, "XBM", {}),
    ]
    files = [(name, file_bytes(image.copy(), kind, **options)) for name, image, kind, options in varieties]
    crafted = {**CRAFTED, **CRAFTED_GREY}
    endings = {"IMT": "im", "SUN": "ras", "FTEX": "ftc", "PIXAR": "pxr", "FITS": "fits", "FLI": "fli"}
    return files + [(f"plain.{endings.get(name, name.lower())}", make()) for name, make in crafted.items()]
