"""What IPTC's information interchange model tells of a photo (IIM 4.2, envelope and application records)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmsearch.images import camera_dates

# Record and dataset numbers: when it was created, and when it was digitised.
_DATES = (((2, 55), (2, 60)), ((2, 62), (2, 63)))

_MARK = 0x1C
_HEADER_BYTES = 5


# What each dataset holds, by its record and number.
Fields = dict[tuple[int, int], bytes]


def taken(fields: Fields) -> list[str]:
    """When the picture was taken, and when it was digitised, in ISO 8601."""
    found = (_date(fields.get(day, b""), fields.get(time, b"")) for day, time in _DATES)
    return [date for date in found if date]


def fields(block: bytes) -> Fields:
    """The first of each dataset."""
    return dict(reversed(list(_fields(block))))


def _date(day: bytes, time: bytes) -> str | None:
    date = re.fullmatch(rb"(\d{4})(\d\d)(\d\d)", day)
    clock = re.match(rb"(\d\d)(\d\d)(\d\d)([+-]\d{4})?", time)
    if not date:
        return None
    text = b"-".join(date.groups())
    if clock:
        text += b"T" + b":".join(clock.groups()[:3]) + (clock[4] or b"")
    return camera_dates.parse(text.decode("ascii"))


def _fields(block: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Datasets as far as they can be told. An extended one, of more than 32 kB, is none that is wanted."""
    at = 0
    while at + _HEADER_BYTES <= len(block) and block[at] == _MARK:
        size = int.from_bytes(block[at + 3 : at + 5], "big")
        if size & 0x8000:
            return
        start = at + _HEADER_BYTES
        yield (block[at + 1], block[at + 2]), block[start : start + size].rstrip(b"\0 ")
        at = start + size
