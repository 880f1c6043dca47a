"""Calendar days in text: the accepted format and the accepted years."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

EARLIEST, LATEST = date(1700, 1, 1), date(2199, 12, 31)
"""Days outside this range are mistakes: a year of two digits means the year 24, not 2024."""

DAY = "a date like 2024-01-31"
"""The accepted form, for messages."""

EARLIEST_ZONE = timedelta(hours=14)
"""How far the earliest time zone is ahead of UTC."""

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse_day(text: str) -> date:
    """Parse an ISO date with a year of four digits.

    Raises ``ValueError``, whose text says what is accepted, for any other text, a day that does not
    exist, and a day before ``EARLIEST`` or after ``LATEST``.
    """
    if not _ISO.fullmatch(text):
        raise ValueError(f"must be {DAY}")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"must be {DAY}") from None
    if fault := day_fault(day):
        raise ValueError(fault)
    return day


def day_fault(day: date) -> str:
    """Return why a day lies outside ``EARLIEST`` to ``LATEST``; empty if it does not."""
    return "" if EARLIEST <= day <= LATEST else f"must be a date from {EARLIEST} to {LATEST}"


def future_fault(day: date, now: datetime) -> str:
    """Return why no data can be read up to a day that has begun nowhere on earth; empty if it has.

    ``now`` is an aware time.
    """
    if day <= (now.astimezone(UTC) + EARLIEST_ZONE).date():
        return ""
    return f"{day} is in the future"


def as_of_fault(day: date, now: datetime) -> str:
    """Return why a run cannot read up to a day that has not begun; empty if it can."""
    fault = future_fault(day, now)
    return f"{fault}; leave it out to read the newest data" if fault else ""
