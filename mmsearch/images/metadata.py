"""Where the formats keep what they tell of a photo, and which of it counts.

EXIF comes before XMP and IPTC, the moment of the exposure before that of a scan, and both before that of an edit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import IO, Any

from PIL import Image

from mmsearch.base.records import ImageFacts
from mmsearch.images import camera_dates, iptc, jp2
from mmsearch.images import exif as exif_facts
from mmsearch.images.boxes import boxes, file_size
from mmsearch.images.facts import Position
from mmsearch.images.xmp import Xmp

# Photoshop's image resources (its file format's specification): IPTC, EXIF and XMP.
_IPTC, _EXIF, _XMP = 0x0404, 0x0422, 0x0424

# Tags of TIFF: XMP (ISO 16684-3), and IPTC as it is (newspapers) or among Photoshop's resources.
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377

# How a JPEG's segment 1 begins that holds XMP, which ImageMagick copies into a PNG as a whole.
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass
class Metadata:
    """What an opened image has of EXIF, XMP (a packet) and IPTC, wherever its format keeps them."""

    exif: Image.Exif
    xmp: bytes = b""
    iptc: iptc.Fields = field(default_factory=dict)

    @classmethod
    def of(cls, image: Image.Image, file: IO[bytes]) -> Metadata:
        """Read it. Damage costs only what is damaged."""
        found = cls(_or(image.getexif, Image.Exif()))
        for read in (_info, _tiff, _photoshop, _png, _boxed):
            _or(partial(read, found, image, file), None)
        return found

    def facts(self, format_name: str, size: tuple[int, int]) -> ImageFacts:
        """The facts of an image of this format and size (width and height in pixels, upright)."""
        latitude, longitude = self._position() or (None, None)
        return ImageFacts(*size, format_name, self._taken_at(), self._camera(), latitude, longitude)

    @cached_property
    def _packet(self) -> Xmp:
        return Xmp(self.xmp)

    def _taken_at(self) -> str | None:
        """When it was taken: EXIF's word counts most, then XMP's and IPTC's; that of a last change least."""
        return camera_dates.first(
            [
                *exif_facts.taken(self.exif),
                *(self._packet.taken() if self.xmp else ()),
                *iptc.taken(self.iptc),
                *exif_facts.modified(self.exif),
                *(self._packet.modified() if self.xmp else ()),
            ]
        )

    def _camera(self) -> str | None:
        return exif_facts.camera_of(self.exif) or (self._packet.camera() if self.xmp else None)

    def _position(self) -> Position | None:
        return exif_facts.position_of(self.exif) or (self._packet.position() if self.xmp else None)


def _or(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except Exception:  # damaged metadata must not cost the picture
        return otherwise


def _info(found: Metadata, image: Image.Image, file: IO[bytes]) -> None:
    """What Pillow and its plug-ins have read."""
    found.xmp = _bytes(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))


def _tiff(found: Metadata, image: Image.Image, file: IO[bytes]) -> None:
    tags = getattr(image, "tag_v2", None) or {}
    found.xmp = found.xmp or _bytes(tags.get(_TIFF_XMP))
    if _TIFF_IPTC in tags:
        from PIL import ImageFile, IptcImagePlugin

        assert isinstance(image, ImageFile.ImageFile)
        told = IptcImagePlugin.getiptcinfo(image) or {}
        found.iptc = {name: value[0] if isinstance(value, list) else value for name, value in told.items()}
    if _TIFF_PHOTOSHOP in tags:
        _take_resources(found, _resources(_bytes(tags.get(_TIFF_PHOTOSHOP))))


def _photoshop(found: Metadata, image: Image.Image, file: IO[bytes]) -> None:
    """A JPEG's segment 13, and a PSD."""
    of_jpeg = image.info.get("photoshop")
    if isinstance(of_jpeg, dict):
        _take_resources(found, of_jpeg)
    for number, _, data in getattr(image, "resources", ()):
        _take_resources(found, {number: data})


def _png(found: Metadata, image: Image.Image, file: IO[bytes]) -> None:
    """Texts in which ImageMagick keeps what a PNG had no place for: "Raw profile type", in hexadecimal digits."""
    for name in ("exif", "APP1", "xmp", "iptc"):
        text = image.info.get(f"Raw profile type {name}")
        if not isinstance(text, str):
            continue
        block = bytes.fromhex("".join(text.split("\n")[3:]))
        if block.startswith(_XMP_SEGMENT):
            found.xmp = found.xmp or block[len(_XMP_SEGMENT) :]
        elif name == "xmp":
            found.xmp = found.xmp or block
        elif name == "iptc":
            _take_resources(found, _resources(block) or {_IPTC: block})
        else:
            _take_exif(found, block)


def _boxed(found: Metadata, image: Image.Image, file: IO[bytes]) -> None:
    """JPEG 2000 and JPEG XL, of whose boxes the plug-ins read few."""
    if image.format not in {"JPEG2000", "JXL"}:
        return
    before = file.tell()
    if image.format == "JPEG2000":
        blocks = jp2.metadata(file)
        _take_exif(found, blocks.get("exif", b""))
        found.xmp = found.xmp or blocks.get("xmp", b"")
        found.iptc = found.iptc or iptc.fields(blocks.get("iptc", b""))
    elif image.format == "JXL" and not found.xmp:
        packets = (box.read(file) for box in boxes(file, 0, file_size(file)) if box.kind == b"xml ")
        found.xmp = next(packets, b"")
    file.seek(before)


def _take_resources(found: Metadata, resources: dict[int, Any]) -> None:
    found.iptc = found.iptc or iptc.fields(_bytes(resources.get(_IPTC)))
    found.xmp = found.xmp or _bytes(resources.get(_XMP))
    _take_exif(found, _bytes(resources.get(_EXIF)))


def _take_exif(found: Metadata, block: bytes) -> None:
    """EXIF from where Pillow does not look, unless it has found some."""
    if block and not len(found.exif):
        found.exif.load(block)


def _resources(block: bytes) -> dict[int, bytes]:
    """Photoshop's image resources, by their numbers."""
    found: dict[int, bytes] = {}
    at = 0
    while block[at : at + 4] == b"8BIM":
        name = block[at + 6] if at + 6 < len(block) else 0
        start = at + 6 + name + 1 + (name + 1) % 2  # the name is padded to an even length
        size = int.from_bytes(block[start : start + 4], "big")
        found.setdefault(int.from_bytes(block[at + 4 : at + 6], "big"), block[start + 4 : start + 4 + size])
        at = start + 4 + size + size % 2
    return found


def _bytes(value: Any) -> bytes:
    if isinstance(value, tuple):  # of numbers from 0 to 255, as a TIFF may call bytes
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else b""
