"""Bytes to upright RGB images. The only place that opens an image (Pillow and its plug-ins).

Every format becomes 8-bit sRGB: EXIF orientation is applied, transparency is laid over white, 16-bit and floating-point
samples are scaled down, of an animation the first frame is taken.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import IO

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from mmsearch.base.errors import DecodeError, ImageTooLargeError, NotAnImageError
from mmsearch.base.records import ImageFacts
from mmsearch.images import colour, corrections, cut_short, heif, jxl_header, levels, png_chunks, raw, reasons
from mmsearch.images import formats as known_formats
from mmsearch.images.formats import FORMATS
from mmsearch.images.metadata import Metadata

# Formats of plug-ins to Pillow, which are registered when a file of theirs is opened.
_PLUG_INS = ("HEIF", "JXL")

# Pillow reads these itself; it tries them in this order.
PILLOW_FORMATS = tuple(entry.name for entry in FORMATS if entry.name not in _PLUG_INS)

# A file with one of these endings that cannot be read is worth a word to the user; any other is simply no image.
EXTENSIONS = frozenset(f".{ending}" for entry in FORMATS for ending in entry.endings.split())
PREFIX_BYTES = 64

# How many times larger than the target the decoder's own scaling may leave an image. 2 keeps the embedding's cosine
# to a full decode above 0.999 (the final bicubic step still averages over two pixels each way).
DRAFT_MARGIN = 2

# What brings an image of each EXIF orientation upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


def has_image_extension(path: str) -> bool:
    """Whether the file's name claims that it is an image."""
    return os.path.splitext(path)[1].lower() in EXTENSIONS


def has_image_signature(prefix: bytes) -> bool:
    """Whether a file's first `PREFIX_BYTES` bytes are the signature of a format that `decode` reads."""
    if _is_heif(prefix) or jxl_header.is_jxl(prefix):
        return True
    for name in _signed_formats():
        accept = Image.OPEN[name][1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if accept is not None and accept(prefix) is True:
                return not _is_prose(prefix)
    return False


def _is_prose(prefix: bytes) -> bool:
    """Whether a text that merely starts with a word such as BM or SIMPLE was taken for an image."""
    if prefix.startswith(b"BM"):
        return int.from_bytes(prefix[14:18], "little") not in {12, 40, 52, 56, 64, 108, 124}  # sizes of a BMP's header
    if prefix.startswith(b"DDS "):
        return prefix[4:8] != b"\x7c\0\0\0"
    return prefix.startswith(b"SIMPLE") and not prefix.startswith(b"SIMPLE  =")


@cache
def _signed_formats() -> tuple[str, ...]:
    Image.init()
    # A few formats "accept" by one or two bytes, which any text file may have.
    weak = {"PCX", "DCX", "ICO", "CUR", "TGA", "FLI", "XBM", "PPM", "DIB", "IM", "IMT", "FTEX", "GBR", "SGI", "MSP"}
    return tuple(name for name in PILLOW_FORMATS if name in Image.OPEN and name not in weak)


# A limit of pixels that no header passes.
_ANY_PIXELS = 1 << 62


@dataclass(frozen=True, slots=True)
class _Request:
    """What `decode` was asked for; see there."""

    max_pixels: int
    target: int | None
    formats: str
    ending: str


def decode(
    file: IO[bytes], *, max_pixels: int, target: int | None = None, formats: str = known_formats.ALL, ending: str = ""
) -> tuple[Image.Image, ImageFacts]:
    """Read one image from a seekable binary file.

    `max_pixels` bounds width x height as the header states them, before pixels are decoded. With `target` (pixels) the
    decoder may scale a larger JPEG down while decoding, never below `DRAFT_MARGIN` x `target` on the shorter side.
    `formats` are those that may be opened, as `formats.parse` reads them; `ending` is that of the file's name, by which
    a file of a closed format is known that has no signature.
    Returns the upright 8-bit RGB image and its facts (size before any scaling). Raises `NotAnImageError`,
    `ImageTooLargeError`, or `DecodeError` for a damaged image; `OSError` where the file cannot be read.

    With `target` a colour profile of RGB or grey is left to `colour.finished`, which is to be called once the image has
    been scaled down: for a photo of 12 megapixels that takes 2 ms rather than 40.
    """
    image, facts = _decoded(file, _Request(max_pixels, target, formats, ending))
    return (colour.finished(image) if target is None else image), facts


def header(file: IO[bytes]) -> tuple[str, int, int]:
    """The format of an image, its width and its height in pixels as stored, from its header alone. Raises as `decode`
    does."""
    with _translated(), _pixel_limit(_ANY_PIXELS):
        image = _open(file, _Request(_ANY_PIXELS, None, known_formats.ALL, ""))
        return image.format or "", image.width, image.height


def _decoded(file: IO[bytes], wanted: _Request) -> tuple[Image.Image, ImageFacts]:
    with _translated(), _pixel_limit(wanted.max_pixels):
        try:
            return _read(file, wanted)
        except (OSError, ValueError) as error:
            if png_chunks.is_too_large(error):
                return _read(png_chunks.without_large(file), wanted)
            if variety := _variety_of_jpeg(file):
                raise DecodeError(f"not supported: {variety}") from error
            if not cut_short.is_cut_short(error):
                raise
        return _read_what_is_there(file, wanted)


def _variety_of_jpeg(file: IO[bytes]) -> str | None:
    if file.closed:
        return None
    file.seek(0)
    return reasons.of_jpeg(file) if _common_format(file.read(PREFIX_BYTES)) == "JPEG" else None


def _read(file: IO[bytes], wanted: _Request) -> tuple[Image.Image, ImageFacts]:
    image, turn, facts = _loaded(file, wanted)
    return _upright(image, turn), facts


def _read_what_is_there(file: IO[bytes], wanted: _Request) -> tuple[Image.Image, ImageFacts]:
    """A picture whose file ends too early, if most of it is there."""
    file.seek(0)
    opened = _open(file, wanted)
    if opened.format not in cut_short.FORMATS:
        raise DecodeError("damaged image (its end is missing)")
    share = cut_short.share(opened, file)
    if share < cut_short.ENOUGH:
        raise DecodeError(f"damaged image (its end is missing: only {share:.0%} of the picture is there)")
    file.seek(0)
    with cut_short.tolerated():
        image, turn, facts = _loaded(file, wanted)
    return _upright(image, turn), replace(facts, remark=f"its end is missing: {share:.0%} of the picture is there")


def _loaded(file: IO[bytes], wanted: _Request) -> tuple[Image.Image, Image.Transpose | None, ImageFacts]:
    """The image as stored, what brings it upright, and its facts."""
    image = _open(file, wanted)
    if image.format == "PNG":
        image.load()  # what it tells may come after its pixels
    if photo := raw.of(image, file):
        return _preview(photo, image, file, wanted)
    turn = _turn(image, file)
    facts = Metadata.of(image, file).facts(image.format or "", _turned(image.size, turn))
    if wanted.target is not None:
        _scale_while_decoding(image, wanted.target)
    return corrections.load(image, file), turn, facts


def _preview(
    photo: raw.Raw, image: ImageFile.ImageFile, file: IO[bytes], wanted: _Request
) -> tuple[Image.Image, Image.Transpose | None, ImageFacts]:
    """The largest preview of a RAW photo, which `image` is opened from, with the facts of the photo."""
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    facts = Metadata.of(image, file).facts(photo.kind, _turned(photo.size, turn))
    preview = photo.preview
    _check_size(preview.size, wanted.max_pixels)
    remark = f"only its preview is read, of {preview.width} x {preview.height} pixels"
    if preview is image:
        turn = None  # Pillow turns a TIFF by itself
    elif wanted.target is not None:
        _scale_while_decoding(preview, wanted.target)
    preview.load()
    return preview, turn, replace(facts, remark=remark)


def _turned(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    width, height = size
    return (height, width) if turn in _QUARTER_TURNS else (width, height)


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return to_rgb(image if turn is None else image.transpose(turn))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as 8-bit RGB; transparent parts over white. It is sRGB after `colour.finished`."""
    if levels.has_levels(image):
        return levels.to_rgb(image)
    mode = colour.mode_of(image)
    if mode in {"CMYK", "LAB"}:
        return levels.in_bands(image, colour.converted)
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        plain = levels.in_bands(image, _over_white)
    else:
        plain = image if image.mode == "RGB" else image.convert("RGB")
    return colour.unfinished(plain, image, mode)


def _over_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")


def _open(file: IO[bytes], wanted: _Request) -> ImageFile.ImageFile:
    max_pixels, opened, ending = wanted.max_pixels, wanted.formats, wanted.ending
    prefix = file.read(PREFIX_BYTES)
    file.seek(0)
    if not prefix:
        raise NotAnImageError("the file is empty")
    allowed = known_formats.parse(opened, strict=False)
    formats = PILLOW_FORMATS
    if _is_heif(prefix):
        formats += ("HEIF",)
        if "HEIF" in allowed:
            _register_heif()
    elif jxl_header.is_jxl(prefix):
        formats = ("JXL",)
        _check_open("JXL", allowed, opened)
        _register_jxl()
        size = jxl_header.read_size(file)
        if size is None:  # without a size there is no limit, and its decoder would find none either
            raise DecodeError("damaged image (its header cannot be read)")
        _check_size(size, max_pixels)
    elif common := _common_format(prefix):
        formats = (common,)
        _check_open(common, allowed, opened)
        Image.preinit()
    else:
        _register_pillow()
    try:
        image = Image.open(file, formats=[name for name in formats if name in allowed and name in Image.OPEN])
    except UnidentifiedImageError as error:
        _check_open(_closed_format(prefix, ending, allowed), allowed, opened)
        if has_image_signature(prefix):
            raise DecodeError(reasons.of_header(file, prefix, formats)) from error
        raise NotAnImageError("not in a known image format") from error
    _check_size(image.size, max_pixels)
    return image


def _check_open(name: str | None, allowed: frozenset[str], opened: str) -> None:
    """Raise `DecodeError`, with what opens it, for a format that is not among those `allowed`, which `opened` lists."""
    if name is not None and name not in allowed:
        option = f"--formats {opened.replace(' ', ',')},{name.lower()}"
        raise DecodeError(f"files in the format {name} are opened only after `mmsearch index {option}`")


def _closed_format(prefix: bytes, ending: str, allowed: frozenset[str]) -> str | None:
    """The format that a file seems to have, of those that are not open: by its ending and first bytes, or these alone.

    Some formats have no signature, and then the ending says it.
    """
    if _is_heif(prefix) and "HEIF" not in allowed:
        return "HEIF"
    Image.init()
    named = known_formats.at_ending(ending)
    for name in (named, *PILLOW_FORMATS):
        if name in Image.OPEN and name not in allowed:
            accept = Image.OPEN[name][1]
            if name == named if accept is None else accept(prefix) is True and not _is_prose(prefix):
                return name
    return None


def _common_format(prefix: bytes) -> str | None:
    """The formats of most photos are known at once: Pillow need not import its other plug-ins, which takes 0.05 s."""
    if prefix.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "PNG" if prefix.startswith(b"\x89PNG\r\n\x1a\n") else None


def _is_heif(prefix: bytes) -> bool:
    # Brands of ISO/IEC 23008-12; AVIF's are Pillow's own.
    return prefix[4:8] == b"ftyp" and prefix[8:12] in {
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1", b"avci",
        b"miaf",
    }  # fmt: skip


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLargeError(f"{width} x {height} pixels is over the limit of {max_pixels:,}")


# Decoders use the thread that calls them: a worker runs on each core already, and threads for each core in each worker
# would take memory for nothing. (HEIC's library starts one of its own all the same.)


@cache
def _register_pillow() -> None:
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()


@cache
def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener(decode_threads=1)
    Image.init()


@cache
def _register_jxl() -> None:
    from pillow_jxl import JpegXLImagePlugin  # registers itself

    JpegXLImagePlugin.DECODE_THREADS = 0  # none beside the one that calls
    Image.init()


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Make Pillow's own check, which nested images of ICO, ICNS and TIFF pass through, use the same limit."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\d+", str(error))
        pixels = f"{int(found[0]):,}" if found else "more"
        raise ImageTooLargeError(f"{pixels} pixels is over the limit of {max_pixels:,}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _translated() -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes becomes a `DecodeError` of one line; errors of the disk pass."""
    try:
        yield
    except DecodeError:
        raise
    except MemoryError as error:
        raise ImageTooLargeError("not enough memory to decode it") from error
    except Exception as error:  # decoders raise anything from struct.error to ZeroDivisionError on damaged bytes
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:  # EINVAL: a seek before the start
            raise
        raise DecodeError(reasons.of(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how a plug-in in Rust fails; it is no Exception
            raise
        raise DecodeError("damaged image (its decoder gave up)") from error


def _turn(image: Image.Image, file: IO[bytes]) -> Image.Transpose | None:
    """What the EXIF orientation asks for; None where nothing is left to do.

    Pillow turns a TIFF by itself. JPEG XL keeps an orientation of its own, already applied, unless it repacks a JPEG.
    HEIF mostly does; its plug-in sets EXIF's aside.
    """
    if image.format == "TIFF" or (image.format == "JXL" and not getattr(image, "jpeg", False)):
        return None
    try:
        if image.format == "HEIF":
            orientation = image.info.get("original_orientation") if heif.is_turned_by_exif(file) else None
        else:
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        return _TURNS.get(orientation or 1)
    except Exception:  # a damaged tag must not cost the picture
        return None


def _scale_while_decoding(image: ImageFile.ImageFile, target: int) -> None:
    """Let libjpeg skip detail that the resize would throw away (a no-op for other formats)."""
    if image.format in {"JPEG", "MPO"}:
        width, height = image.size
        scale = DRAFT_MARGIN * target / min(width, height)
        if scale < 1:
            image.draft(None, (round(width * scale), round(height * scale)))
