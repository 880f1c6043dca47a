"""Calendar days that people and sources write: which texts and which years are taken."""

from __future__ import annotations

import re
from datetime import date

EARLIEST, LATEST = date(1700, 1, 1), date(2199, 12, 31)
"""Days outside of these are mistakes: a year of two digits is the year 24, not 2024."""

DAY = "a date like 2024-01-31"
"""What to write, for messages."""

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse_day(text: str) -> date:
    """Return the calendar day that an ISO text with a year of four digits names.

    Raises ``ValueError``, whose text says what is wanted, for any other text, a day that does not
    exist, and one before ``EARLIEST`` or after ``LATEST``.
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
    """Return what is wrong with a day outside of ``EARLIEST`` to ``LATEST``; empty if nothing."""
    return "" if EARLIEST <= day <= LATEST else f"must be a date from {EARLIEST} to {LATEST}"
