"""What XMP tells of a photo (ISO 16684-1): dates, camera and position, as attributes or as elements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mmsearch.images import camera_dates
from mmsearch.images.facts import Position, camera, coordinate, position

_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_TIFF = "{http://ns.adobe.com/tiff/1.0/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"

_TAKEN = (_EXIF + "DateTimeOriginal", _PHOTOSHOP + "DateCreated", _EXIF + "DateTimeDigitized", _XMP + "CreateDate")
_MODIFIED = (_XMP + "ModifyDate", _TIFF + "DateTime")

# Bytes of a packet that is read. Those of editing programs have up to some hundred kilobytes.
_MOST_BYTES = 1 << 20

# Degrees, minutes and seconds, or minutes with decimals, and the side: 48,51.5N (ISO 16684-2, GPSCoordinate).
_COORDINATE = re.compile(r"\s*([\d.,\s-]+?)\s*([NSEW])?\s*", re.IGNORECASE | re.ASCII)


class Xmp:
    """The properties of one packet. One that cannot be read has none."""

    def __init__(self, packet: bytes) -> None:
        self._properties = _properties(packet)

    def taken(self) -> list[str]:
        """When the picture was taken, made or digitised, in ISO 8601, what counts most first."""
        return self._dates(_TAKEN)

    def modified(self) -> list[str]:
        """When it was last changed."""
        return self._dates(_MODIFIED)

    def camera(self) -> str | None:
        """Maker and model."""
        return camera(self._properties.get(_TIFF + "Make", ""), self._properties.get(_TIFF + "Model", ""))

    def position(self) -> Position | None:
        """Latitude and longitude in degrees."""
        latitude, longitude = (self._properties.get(_EXIF + name, "") for name in ("GPSLatitude", "GPSLongitude"))
        return position(_degrees(latitude, 90), _degrees(longitude, 180))

    def _dates(self, names: tuple[str, ...]) -> list[str]:
        found = (camera_dates.parse(self._properties.get(name, "")) for name in names)
        return [date for date in found if date]


def _properties(packet: bytes) -> Mapping[str, str]:
    """Simple values by their qualified names, the first of each, up to where the packet is damaged or ends."""
    from xml.etree import ElementTree

    packet = packet.strip(b"\0 \r\n\t")
    if len(packet) > _MOST_BYTES or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return {}
    parser: Any = ElementTree.XMLPullParser(("end",))
    found: dict[str, str] = {}
    with suppress(ElementTree.ParseError, ValueError, LookupError):
        parser.feed(packet)
        parser.close()
    with suppress(ElementTree.ParseError):
        for _, element in parser.read_events():
            for name, value in {**element.attrib, element.tag: element.text or ""}.items():
                if value.strip():
                    found.setdefault(name, value.split("\0", 1)[0].strip())
    return found


def _degrees(text: str, limit: float) -> float | None:
    found = _COORDINATE.fullmatch(text)
    if not found:
        return None
    try:
        return coordinate([float(part) for part in found[1].split(",")], found[2] or "", limit)
    except ValueError:
        return None
