"""Exchange calendars: which days are sessions.

The calendars come from exchange-calendars, imported on first use (it loads pandas). A few of them
(XSHG, XBOM) know their holidays only up to a certain year; beyond it every weekday counts as a
session, so that a schedule goes on instead of stopping silently.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def calendar_names() -> frozenset[str]:
    """Every name that may be given as a calendar, aliases included."""
    return frozenset(_library().get_calendar_names())


def is_session_day(calendar: str, day: date) -> bool:
    """Whether the exchange trades on ``day``; always true for the empty calendar."""
    if not calendar:
        return True
    first, last, sessions = _decade(calendar, day.year // 10 * 10)
    if first <= day <= last:
        return day in sessions
    return day.weekday() < 5


@lru_cache(maxsize=64)
def _decade(calendar: str, year: int) -> tuple[date, date, frozenset[date]]:
    """First day, last day and sessions of the ten years from ``year``, as far as recorded."""
    first, last = date(year, 1, 1), date(year + 9, 12, 31)
    try:
        return first, last, _sessions(calendar, first, last)
    except ValueError:
        low, high = _recorded(calendar)
        first, last = max(first, low), min(last, high)
    if first >= last:
        return date.max, date.min, frozenset()
    return first, last, _sessions(calendar, first, last)


def _sessions(calendar: str, first: date, last: date) -> frozenset[date]:
    """The sessions between two days; ValueError where the calendar does not know them all.

    The start is given explicitly: the default reaches back only 20 years from today.
    """
    found = (
        _library().get_calendar(calendar, start=first.isoformat(), end=last.isoformat()).sessions
    )
    return frozenset(session.date() for session in found)


def _recorded(calendar: str) -> tuple[date, date]:
    """The days between which the calendar knows its holidays."""
    kind = type(_library().get_calendar(calendar))
    low, high = kind.bound_min(), kind.bound_max()
    earliest = low.date() if low is not None else date(1900, 1, 1)
    latest = high.date() if high is not None else date(2199, 12, 31)
    return earliest, latest


def _library() -> Any:
    import exchange_calendars  # type: ignore[import-untyped]  # it ships no types

    return exchange_calendars
