"""What a JPEG 2000 file (ISO/IEC 15444-1, annex I) holds beside its codestream."""

from __future__ import annotations

from typing import IO

from mmsearch.images.boxes import boxes, file_size

# Identifiers of the UUID boxes in which programs keep EXIF (digiKam, Exiv2; Photoshop), XMP (Adobe) and IPTC (Exiv2;
# Photoshop).
_KINDS = {
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"): "exif",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
    bytes.fromhex("09a14e97c0b442e0bebf36df6f0ce36f"): "iptc",
}


def metadata(file: IO[bytes]) -> dict[str, bytes]:
    """The first block of EXIF, XMP and IPTC, of those that there are."""
    found: dict[str, bytes] = {}
    for box in boxes(file, 0, file_size(file)):
        if box.kind == b"uuid":
            data = box.read(file)
            kind = _KINDS.get(data[:16])
            if kind:
                found.setdefault(kind, data[16:])
    return found
