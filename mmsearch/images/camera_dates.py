"""Dates and times as cameras and programs write them into photos."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

# EXIF writes 2019:01:02 03:04:05, XMP and others 2019-01-02T03:04:05.25+02:00. Cameras pad with blanks or not at all,
# and programs write slashes, dots, no seconds, or a date alone.
_DATE = re.compile(
    r"\s*(?P<year>\d{4})\s*(?P<mark>[-:/.])\s*(?P<month>\d{1,2})\s*(?P=mark)\s*(?P<day>\d{1,2})"
    r"(?:[\sT:]+(?P<hour>\d{1,2})\s*[:.]\s*(?P<minute>\d{1,2})(?:\s*[:.]\s*(?P<second>\d{1,2})(?:[.,](?P<part>\d+))?)?"
    r"\s*(?P<offset>Z|[+-]\d{1,2}:?\d{2})?)?(?![\d:])",
    re.ASCII,
)

# There were no photos before; the years 0 and 1 are what programs write for "unknown".
_FIRST_YEAR = 1800

_MOST_HOURS_OFF = 14


def parse(text: str, part: str = "", offset: str = "") -> str | None:
    """A date and time in ISO 8601, as the camera's clock showed it, or None where the text is none.

    Parts of a second and the offset from UTC are kept where the text has them, or else where `part` (digits) and
    `offset` (+HH:MM) give them. A date alone is the start of its day.
    """
    found = _DATE.match(text)
    if not found or int(found["year"]) < _FIRST_YEAR:
        return None
    hour = int(found["hour"] or 0)
    try:
        moment = datetime(
            int(found["year"]),
            int(found["month"]),
            int(found["day"]),
            0 if hour == 24 else hour,  # so do some phones call the hour after midnight
            int(found["minute"] or 0),
            int(found["second"] or 0),
        )
    except ValueError:  # no such day, or a clock that was never set
        return None
    if found["hour"] is None:
        return moment.isoformat()
    return moment.isoformat() + _part(found["part"] or part) + _offset(found["offset"] or offset)


def first(dates: Iterable[str | None]) -> str | None:
    """The first of these, but for one that is the start of a day: then one within the same day, if there is any."""
    known = [date for date in dates if date]
    if known and known[0].endswith("T00:00:00"):
        day = known[0].partition("T")[0]
        return next((date for date in known if date.startswith(day) and not date.endswith("T00:00:00")), known[0])
    return known[0] if known else None


def _part(digits: str) -> str:
    digits = digits.strip()
    return f".{digits}" if digits.isascii() and digits.isdigit() and digits.strip("0") else ""


def _offset(text: str) -> str:
    found = re.fullmatch(r"\s*(?:(Z)|([+-])(\d{1,2}):?(\d{2}))\s*", text, re.ASCII)
    if not found:
        return ""
    if found[1]:
        return "+00:00"
    hours, minutes = int(found[3]), int(found[4])
    return f"{found[2]}{hours:02}:{minutes:02}" if hours <= _MOST_HOURS_OFF and minutes < 60 else ""
