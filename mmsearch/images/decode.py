"""Bytes to upright RGB images. The only place that opens an image (Pillow and its plug-ins).

Every format becomes 8-bit RGB: EXIF orientation is applied, transparency is laid over white, 16-bit and floating-point
samples are scaled down, of an animation the first frame is taken.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, TYPE_CHECKING

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from mmsearch.base.errors import DecodeError, ImageTooLargeError, NotAnImageError
from mmsearch.base.records import ImageFacts
from mmsearch.base.text import one_line
from mmsearch.images import formats as known_formats
from mmsearch.images import heif, jxl_header
from mmsearch.images.formats import FORMATS
from mmsearch.images.metadata import Metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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

# What stands for the words of Python and of decoders that only their developers can use, by how they start.
_PLAIN_WORDS = (
    ("Generic Error.", "its decoder gave up"),  # all that the JPEG XL plug-in says, before advice for its developers
    ("invalid literal for int()", "a number in its header is invalid"),
    ("could not convert string to float", "a number in its header is invalid"),
    ("b'Token too long in file header", "a number in its header is invalid"),
    ("Decompressed data too large", "a text or a profile in it is too large"),
)


# Pixels that are converted at a time. Samples of 16 bits and transparent images pass through copies of up to 28 bytes a
# pixel; in bands, only the source and the result are ever there as a whole.
_BAND_PIXELS = 1 << 20


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
    """
    with _translated(), _pixel_limit(max_pixels):
        image = _open(file, max_pixels, formats, ending)
        width, height = image.size
        turn = _turn(image, file)
        upright = (height, width) if turn in _QUARTER_TURNS else (width, height)
        facts = Metadata.of(image, file).facts(image.format or "", upright)
        if target is not None:
            _scale_while_decoding(image, target)
        image.load()
        return to_rgb(image if turn is None else image.transpose(turn)), facts


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as 8-bit RGB; transparent parts over white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _in_bands(image, _to_8_bits(image))
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        return _in_bands(image, _over_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What `convert` makes of the image in RGB, with a few rows at a time."""
    if image.width * image.height <= _BAND_PIXELS:
        return convert(image)
    whole = Image.new("RGB", image.size)
    for top, band in _bands(image):
        whole.paste(convert(band), (0, top))
    return whole


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in pieces of its whole width, each with its top row."""
    rows = max(1, _BAND_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _over_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")


def _to_8_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Integers of up to 16 bits keep their scale (65535 is white); anything else is stretched from its own range."""
    import numpy as np

    low, high = 0.0, 0.0
    ranges = [(levels.min(), levels.max()) for _, band in _bands(image) if (levels := _levels(band)).size]
    if ranges:
        low, high = float(min(least for least, _ in ranges)), float(max(most for _, most in ranges))

    def convert(band: Image.Image) -> Image.Image:
        values = _levels(band)
        if image.mode == "F" or low < 0 or high > 65535:
            values = (values - low) / max(high - low, 1e-12) * 255
        elif high > 255 or image.mode.startswith("I;16"):
            values = values / 257
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")

    return convert


def _levels(image: Image.Image) -> NDArray[np.float64]:
    import numpy as np

    return np.nan_to_num(np.asarray(image, np.float64))


def _open(file: IO[bytes], max_pixels: int, opened: str, ending: str) -> ImageFile.ImageFile:
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
            raise DecodeError("damaged image (its header cannot be read)") from error
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
        raise DecodeError(f"damaged image ({_meaning(error)})") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how a plug-in in Rust fails; it is no Exception
            raise
        raise DecodeError("damaged image (its decoder gave up)") from error


def _meaning(error: Exception) -> str:
    """What a decoder says of damaged bytes, in words for people."""
    reason = one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__
    return next((plain for start, plain in _PLAIN_WORDS if reason.startswith(start)), reason)


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
