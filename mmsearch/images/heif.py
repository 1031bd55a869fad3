"""What a HEIF file says of turning its picture (ISO/IEC 23008-12, item properties)."""

from __future__ import annotations

from typing import IO

from mmsearch.images.boxes import Box, boxes, file_size

# The brand of files that leave the orientation to properties alone, whatever EXIF says (ISO/IEC 23000-22).
_MIAF = b"miaf"

_TURNS = {b"irot", b"imir"}


def is_turned_by_exif(file: IO[bytes]) -> bool:
    """Whether EXIF's orientation is still to be applied: nothing in the file turns the main picture, nor rules it out.

    So do phones and desktops, which show the photos of some cameras' programs upright.
    """
    top = {box.kind: box for box in boxes(file, 0, file_size(file))}
    brands = top[b"ftyp"].read(file) if b"ftyp" in top else b""
    return _MIAF not in {brands[at : at + 4] for at in range(8, len(brands), 4)} and not _is_turned(top, file)


def _is_turned(top: dict[bytes, Box], file: IO[bytes]) -> bool:
    """Whether a property turns or mirrors the main picture, for a decoder to apply."""
    meta = _inside(top.get(b"meta"), file, skip=4)  # after its version and flags
    properties = _inside(meta.get(b"iprp"), file)
    if b"ipco" not in properties or b"ipma" not in properties or b"pitm" not in meta:
        return False
    held = properties[b"ipco"]
    kinds = [box.kind for box in boxes(file, held.start, held.end)]
    primary = meta[b"pitm"].read(file)
    number = int.from_bytes(primary[4:6] if primary[:1] == b"\0" else primary[4:8], "big")
    wanted = _associated(properties[b"ipma"].read(file), number)
    return any(kinds[index - 1] in _TURNS for index in wanted if 0 < index <= len(kinds))


def _inside(box: Box | None, file: IO[bytes], skip: int = 0) -> dict[bytes, Box]:
    if box is None:
        return {}
    return {inner.kind: inner for inner in boxes(file, box.start + skip, box.end)}


def _associated(data: bytes, item: int) -> list[int]:
    """The numbers, from 1, of an item's properties (ItemPropertyAssociationBox)."""
    version, flags = data[0] if data else 0, int.from_bytes(data[1:4], "big")
    id_bytes, index_bytes = (4 if version else 2), (2 if flags & 1 else 1)
    at = 8
    for _ in range(int.from_bytes(data[4:8], "big")):
        if at + id_bytes >= len(data):
            break
        number, count = int.from_bytes(data[at : at + id_bytes], "big"), data[at + id_bytes]
        start = at + id_bytes + 1
        at = start + count * index_bytes
        if number == item:
            most = (1 << (8 * index_bytes - 1)) - 1  # the highest bit says that the property is essential
            parts = (data[place : place + index_bytes] for place in range(start, min(at, len(data)), index_bytes))
            return [int.from_bytes(part, "big") & most for part in parts]
    return []
