"""Stretches of time as people write them: 2021, 2021-07, yesterday, last summer.

Written by hand, since libraries for this give a moment, not a stretch, and guess where they should refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from mmsearch.base.errors import UsageError
from mmsearch.base.text import shown

Period = tuple[datetime, datetime]

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip

# Meteorological seasons of the northern hemisphere, by their first month. Winter ends in the year after.
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}

# Characters of a date: one of ISO 8601 with all its parts has 42. Python reads digits without end as a time.
_LONGEST = 64

_DAY = timedelta(days=1)
_AGO = re.compile(r"(\d{1,5}) (day|week|month|year)s? ago")
_NAMED = re.compile(r"(?:(last|this) )?([a-z]+)\.?(?: (?:of )?(\d{4}))?")
_NUMBERS = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


def period(text: str, now: datetime | None = None) -> Period:
    """The first moment of a stretch of time and the first after it, in local time without a zone.

    Reads a year, a month, a day, an ISO 8601 date with a time (a stretch of one second), `today`, `yesterday`,
    `this` or `last` `week` (from Monday), `month` or `year`, `3 days ago` (a day; also weeks, months, years), the name
    of a month or a season with a year (`July 2021`), and without one or with `last` the latest that is over; with
    `this` the one of this year. Raises `UsageError`.
    """
    if len(text) > _LONGEST:
        raise _unreadable(text)
    words = " ".join(text.lower().split())
    moment = (now or datetime.now()).replace(tzinfo=None)
    try:
        for read in (_numbers, _relative, _named):
            found = read(words, moment)
            if found:
                return found
        start = datetime.fromisoformat(text.strip())
        start = start.astimezone().replace(tzinfo=None) if start.tzinfo else start
        return start, start + timedelta(seconds=1)
    except (ValueError, OverflowError, OSError) as error:
        raise _unreadable(text) from error


def _unreadable(text: str) -> UsageError:
    hint = "write 2021, 2021-07, 2021-07-31, yesterday, `3 weeks ago`, `July 2021` or `last summer`"
    return UsageError(f"cannot read {shown(text)} as a date", hint)


def _numbers(words: str, now: datetime) -> Period | None:
    found = _NUMBERS.fullmatch(words)
    if not found:
        return None
    year, month, day = (int(part) if part else None for part in found.groups())
    assert year is not None
    if month is None:
        return _months(datetime(year, 1, 1), 12)
    if day is None:
        return _months(datetime(year, month, 1), 1)
    start = datetime(year, month, day)
    return start, start + _DAY


def _relative(words: str, now: datetime) -> Period | None:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    monday, first, new_year = today - today.weekday() * _DAY, today.replace(day=1), today.replace(month=1, day=1)
    fixed: dict[str, Callable[[], Period]] = {
        "today": lambda: (today, today + _DAY),
        "yesterday": lambda: (today - _DAY, today),
        "this week": lambda: (monday, monday + 7 * _DAY),
        "last week": lambda: (monday - 7 * _DAY, monday),
        "this month": lambda: _months(first, 1),
        "last month": lambda: _months(_shifted(first, -1), 1),
        "this year": lambda: _months(new_year, 12),
        "last year": lambda: _months(_shifted(new_year, -12), 12),
    }
    if words in fixed:
        return fixed[words]()
    found = _AGO.fullmatch(words)
    if not found:
        return None
    count, unit = int(found[1]), found[2]
    if unit in {"day", "week"}:
        start = today - count * (7 if unit == "week" else 1) * _DAY
    else:
        month = _shifted(first, -count * (12 if unit == "year" else 1))
        start = month + (min(today.day, (_shifted(month, 1) - month).days) - 1) * _DAY
    return start, start + _DAY


def _named(words: str, now: datetime) -> Period | None:
    """A month or a season, of a year or the latest."""
    found = _NAMED.fullmatch(words)
    if not found or (found[1] and found[3]):
        return None
    which, name, year = found.groups()
    whole = [month for month in MONTHS if month.startswith(name) and len(name) >= 3]
    if name not in SEASONS and len(whole) != 1:
        return None
    month, length = (SEASONS[name], 3) if name in SEASONS else (MONTHS.index(whole[0]) + 1, 1)
    if year or which == "this":
        return _months(datetime(int(year) if year else now.year, month, 1), length)
    latest = _months(datetime(now.year, month, 1), length)
    while latest[1] > now:
        latest = _shifted(latest[0], -12), _shifted(latest[1], -12)
    return latest


def _months(start: datetime, count: int) -> Period:
    return start, _shifted(start, count)


def _shifted(first: datetime, months: int) -> datetime:
    """The first of a month, so many months later."""
    number = first.year * 12 + first.month - 1 + months
    return first.replace(year=number // 12, month=number % 12 + 1)
