"""Why an image cannot be used, in words that a person can search for.

Only what is damaged is called damaged: a variety of a format that no decoder here reads is "not supported".
"""

from __future__ import annotations

import re
from typing import IO, Any

from PIL import Image

from mmsearch.base.text import one_line

# What decoders say, by a pattern, and what that means. The first that matches counts.
_DAMAGE = (
    (r"truncated|Truncated|not enough image data|bytes not processed|Unexpected end of file|Expected to read",
     "its end is missing"),
    (r"Generic Error\.", "its decoder gave up"),  # all that the JPEG XL plug-in says
    (r"invalid literal for int|could not convert string to float|Token too long in file header",
     "a number in its header is invalid"),
    (r"decoder error|decoding error|broken data stream|image buffer overrun|Decoding error",
     "its data cannot be decoded"),
    (r"function takes|object|NoneType|index out of range|unpack|expected|argument", "its header makes no sense"),
)  # fmt: skip

# Messages about what a decoder does not know, rather than about damage.
_UNSUPPORTED = re.compile(
    r"^(?:unsupported|unimplemented|unknown|cannot handle|not supported)\b|\bnot supported\b|\bunsupported\b",
    re.IGNORECASE,
)

# Varieties for which a decoder has words of its own.
_VARIETIES = (
    (r"PCX mode", "PCX with this number of bits and planes"),
    (r"BMP bitfields layout", "BMP with these bit fields"),
)

# What TIFF 6.0 and its supplements call the kinds of pictures, samples and compression.
_PHOTOMETRIC = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab",
    10: "ITULab", 32803: "raw sensor", 32844: "LogL", 32845: "LogLuv", 34892: "raw sensor",
}  # fmt: skip
_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_COMPRESSION = {
    7: "JPEG", 32867: "Kodak KDC", 34661: "JBIG", 34712: "JPEG 2000", 34713: "Nikon NEF", 34887: "LERC",
    34892: "lossy JPEG", 50002: "JPEG XL", 52546: "JPEG XL", 65535: "Pentax PEF",
}  # fmt: skip
_BITS = {1, 2, 4, 8, 10, 12, 14, 16, 24, 32, 64}
_PSD_MODES = {0: "bitmap", 1: "grey", 2: "palette", 3: "RGB", 4: "CMYK", 7: "multichannel", 8: "duotone", 9: "Lab"}


def of(error: Exception) -> str:
    """The reason that a decoder's error gives."""
    said = one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__
    if _UNSUPPORTED.search(said):
        return f"not supported: {_variety(said)}"
    meaning = next((words for pattern, words in _DAMAGE if re.search(pattern, said)), said)
    return f"damaged image ({meaning})"


def of_header(file: IO[bytes], prefix: bytes, formats: tuple[str, ...]) -> str:
    """The reason why none of these formats' decoders opens a file, which begins as one of them does."""
    variety = None
    try:
        error = _first_error(file, prefix, formats)
        if prefix.startswith(b"MM\0+"):
            variety = "big-endian BigTIFF"
        elif str(error) in {"unknown pixel mode", "unknown data organization"} or _is_key_error(error):
            variety = _psd(prefix) if prefix.startswith(b"8BPS") else of_tiff(file)
        elif prefix.startswith(b"\xff\xd8"):
            variety = of_jpeg(file)
        elif error and of(error).startswith("not supported"):
            return of(error)
    except Exception:  # what cannot be told of a damaged header
        variety = None
    return f"not supported: {variety}" if variety else "damaged image (its header cannot be read)"


def _is_key_error(error: Exception | None) -> bool:
    """Whether a decoder did not find a number in its tables."""
    return isinstance(error, KeyError) or isinstance(getattr(error, "__cause__", None), KeyError)


def _first_error(file: IO[bytes], prefix: bytes, formats: tuple[str, ...]) -> Exception | None:
    """What the decoder says that takes the file for its own."""
    for name in formats:
        if name not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[name]
        try:
            if accepts is not None and accepts(prefix) is not True:
                continue
            file.seek(0)
            factory(file, "")
        except Exception as error:
            return error
    return None


def _variety(said: str) -> str:
    """What is not supported, without the words that say so."""
    for pattern, words in _VARIETIES:
        if re.search(pattern, said):
            return words
    plain = re.sub(r"^(unsupported|unimplemented|cannot handle|unknown)\s+", "", said, flags=re.IGNORECASE)
    return plain if plain != said or "support" not in said else re.sub(r"\s*(is |are )?not supported\b.*", "", said)


def of_tiff(file: IO[bytes]) -> str | None:
    """What kind of TIFF a file is, None where it makes no sense."""
    from PIL import TiffImagePlugin

    file.seek(0)
    prefix = file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix + (file.read(8) if prefix[2:3] == b"+" else b""))
    file.seek(tags.next)
    tags.load(file)
    compression = tags.get(259, 1)
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"TIFF with {_COMPRESSION[compression]} compression" if compression in _COMPRESSION else None
    bits, kind, picture = _numbers(tags.get(258, 1)), _numbers(tags.get(339, 1))[0], tags.get(262)
    if not set(bits) <= _BITS or kind not in _SAMPLES or picture not in _PHOTOMETRIC:
        return None
    channels = len(bits) if len(bits) > 1 else tags.get(277, 1)
    several = "" if channels in {1, 3} else f"{channels} channels of "
    return f"TIFF with {several}{max(bits)}-bit {_SAMPLES[kind]} {_PHOTOMETRIC[picture]} samples"


def _psd(prefix: bytes) -> str | None:
    version, bits, mode = (int.from_bytes(prefix[at : at + 2], "big") for at in (4, 22, 24))
    if version == 2:
        return "PSB, Photoshop's format for large documents"
    return f"PSD with {bits}-bit {_PSD_MODES[mode]} channels" if bits in _BITS and mode in _PSD_MODES else None


def of_jpeg(file: IO[bytes]) -> str | None:
    """The way in which a JPEG is coded, if it is one that no browser reads either (ISO/IEC 10918-1, B.2.2)."""
    file.seek(2)
    while len(mark := file.read(4)) == 4 and mark[0] == 0xFF:
        if mark[1] in {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}:
            return "lossless JPEG" if mark[1] in {0xC3, 0xCB} else "hierarchical JPEG"
        if mark[1] in {0xC0, 0xC1, 0xC2}:
            bits = file.read(1)[0]
            return f"JPEG with {bits} bits a sample" if bits != 8 else None
        file.seek(int.from_bytes(mark[2:], "big") - 2, 1)
    return None


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
