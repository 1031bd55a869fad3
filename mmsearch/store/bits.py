"""Which bit has flipped: of all values that are one bit away from a damaged one, one has the checksum."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmsearch.store import checksums

# Bytes of a row, as Python writes it, within which a bit is looked for: all of them in turn, in 0.1 s.
_LONGEST_ROW = 4_000


def written_row(
    covered: Mapping[str, Any], checksum: int, may_hold: Callable[[str, Any], bool]
) -> tuple[str, Any] | None:
    """The column of a row in which one bit has flipped, and its value before; None where that is not what is wrong.

    `covered` are the columns that the checksum is of, in its order; `may_hold` says whether a column can have a value.
    """
    if len(ascii(list(covered.values()))) > _LONGEST_ROW:
        return None
    computed = checksums.of_row(*covered.values())
    for name, value in covered.items():
        for other in _one_bit_away(value):
            if checksums.of_row(*{**covered, name: other}.values()) == checksum and may_hold(name, other):
                return name, other
    is_all_right = all(may_hold(name, value) for name, value in covered.items())
    return ("checksum", computed) if is_all_right and (checksum ^ computed).bit_count() == 1 else None


def written_vector(content_id: int, vector: bytes, checksum: int | None) -> bytes | None:
    """The embedding of a content before one bit of it, or of its checksum, flipped; None where that is not so."""
    if checksum is None:
        return None
    if (checksums.of_vector(content_id, vector) ^ checksum).bit_count() <= 1:
        return vector
    flipped = (other for other in _flipped(vector) if checksums.of_vector(content_id, other) == checksum)
    return next(flipped, None)


def _one_bit_away(value: Any) -> Iterator[Any]:
    if isinstance(value, int):
        yield from (value ^ (1 << bit) for bit in range(63))
    elif isinstance(value, float):
        yield from (struct.unpack("<d", data)[0] for data in _flipped(struct.pack("<d", value)))
    elif isinstance(value, str):
        for data in _flipped(value.encode("utf-8", "surrogateescape")):
            yield data.decode("utf-8", "surrogateescape")
    elif isinstance(value, bytes):
        yield from _flipped(value)


def _flipped(data: bytes) -> Iterator[bytes]:
    flipped = bytearray(data)
    for place in range(len(data)):
        for bit in range(8):
            flipped[place] ^= 1 << bit
            yield bytes(flipped)
            flipped[place] ^= 1 << bit
