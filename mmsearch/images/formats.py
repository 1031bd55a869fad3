"""The formats of images that can be opened, and which of them are open unless the user says otherwise.

Every decoder is code that reads what strangers have made. Open are those of formats in which people keep pictures
today, or once kept them; the others have to be asked for: `mmsearch index --formats default,fits`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmsearch.base.errors import UsageError
from mmsearch.base.version import __version__

DEFAULT = "default"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, as Pillow and results have it; the endings of its files; whether it is open by default, and
    why."""

    name: str
    endings: str
    is_open: bool
    reason: str


# In the order in which Pillow is to try them. Left out are formats that run another program (EPS, WMF), that Pillow
# only identifies (BUFR, GRIB, HDF5, MPEG), and that have no signature to tell them by (PCD, SPIDER, MCIDAS, IPTC,
# XVTHUMB).
FORMATS: tuple[Format, ...] = (
    Format("JPEG", "jpg jpeg jpe jfif mpo", True, "photos of cameras and of the web"),
    Format("PNG", "png apng", True, "screenshots and graphics"),
    Format("GIF", "gif", True, "graphics and animations of the web"),
    Format("WEBP", "webp", True, "photos and graphics of the web"),
    Format("TIFF", "tif tiff", True, "scans, and photos that are edited"),
    Format("BMP", "bmp", True, "graphics of Windows"),
    Format("DIB", "dib", True, "BMP without its file header, by the same decoder"),
    Format("AVIF", "avif avifs", True, "photos of the web and of phones"),
    Format("JPEG2000", "jp2 j2k jpx jpf", True, "scans of archives and libraries"),
    Format("ICO", "ico", True, "icons of Windows and of the web"),
    Format("ICNS", "icns", True, "icons of macOS"),
    Format("CUR", "cur", True, "ICO with a hot spot, by the same decoder"),
    Format("PPM", "ppm pgm pbm pnm pfm", True, "what scripts and cameras for research write"),
    Format("PSD", "psd", True, "pictures of Photoshop; only the flat one is read, no layer"),
    Format("QOI", "qoi", True, "graphics of games and tools"),
    Format("TGA", "tga", True, "textures and renderings"),
    Format("DDS", "dds", True, "textures, which artists keep beside their pictures"),
    Format("PCX", "pcx", True, "pictures and scans of the 1990s"),
    Format("DCX", "dcx", False, "faxes of the 1990s: PCX pages in a container that nothing writes any more"),
    Format("SGI", "sgi rgb bw", True, "renderings and effects"),
    Format("SUN", "ras", False, "screenshots of Sun workstations"),
    Format("MSP", "", False, "Microsoft Paint before Windows 3; .msp is an update of Windows today"),
    Format("IM", "im", False, "IFUNC Image Memory, of laboratories in the 1990s; a header of free text"),
    Format("IMT", "", False, "IM Tools, of the same laboratories; no signature"),
    Format("FLI", "fli flc", False, "animations of Autodesk Animator, 1989 to 1995"),
    Format("FTEX", "ftu ftc", False, "textures of one game of 2003"),
    Format("GBR", "gbr", False, "brushes of GIMP, not pictures"),
    Format("BLP", "blp", False, "textures of one maker's games"),
    Format("PIXAR", "pxr", False, "renderings of a computer of 1986"),
    Format("FITS", "fits", False, "measurements of astronomers; compressed tables of any size"),
    Format("XBM", "xbm", False, "C source with cursors of X11"),
    Format("XPM", "xpm", False, "C source with icons of X11"),
    Format("HEIF", "heic heif hif", True, "photos of phones"),
    Format("JXL", "jxl", True, "photos, and JPEG files made smaller"),
)

_BY_NAME = {entry.name.lower(): entry for entry in FORMATS}
_BY_ENDING = {ending: entry for entry in FORMATS for ending in entry.endings.split()}


def parse(text: str, *, strict: bool = True) -> frozenset[str]:
    """The names of the formats that a list such as `default,fits` or `default,-psd` opens, from left to right.

    `default` and `all` stand for those formats; a name is a format's or an ending of its files, and one after a minus
    is closed. A list that begins with a minus takes from the default. Raises `UsageError` for an unknown name and for a
    list that opens nothing; one that is not `strict`, as an older version stored it, passes over the name.
    """
    words = text.lower().replace(",", " ").split()
    opened = _named(DEFAULT) if words and words[0].startswith("-") else frozenset()
    for word in words:
        named = _named(word.removeprefix("-"))
        if strict and not named:
            known = ", ".join(sorted(entry.name.lower() for entry in FORMATS))
            raise UsageError(f"unknown image format: {word}", f"known are default, all, {known}")
        opened = opened - named if word.startswith("-") else opened | named
    if strict and not opened:
        raise UsageError(f"no image format is open with {text!r}", "begin with default, as in --formats default,-psd")
    return opened


def reader() -> str:
    """The versions of what reads images: where another one refused a file, it is worth another try."""
    from importlib.metadata import PackageNotFoundError, version

    told = [f"mmsearch {__version__}"]
    for library in ("pillow", "pillow-heif", "pillow-jxl-plugin"):
        try:
            told.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return ", ".join(told)


def at_ending(ending: str) -> str | None:
    """The format of files whose names end so (`.fits`)."""
    entry = _BY_ENDING.get(ending.lower().removeprefix("."))
    return entry.name if entry else None


def _named(word: str) -> frozenset[str]:
    if word in {DEFAULT, ALL}:
        return frozenset(entry.name for entry in FORMATS if entry.is_open or word == ALL)
    entry = _BY_NAME.get(word) or _BY_ENDING.get(word)
    return frozenset([entry.name] if entry else [])
