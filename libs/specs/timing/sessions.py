"""Exchange calendars: which days are sessions, and when these open and close.

The calendars come from exchange-calendars, imported on first use (it loads pandas). Some (XSHG,
XBOM) know their holidays only up to a certain year; after that every weekday counts as a session,
so that a schedule does not stop silently.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo


@lru_cache(maxsize=1)
def calendar_names() -> frozenset[str]:
    """Return every valid calendar name, aliases included."""
    return frozenset(_library().get_calendar_names())


def is_session_day(calendar: str, day: date) -> bool:
    """Return True if the exchange trades on ``day``; always True for the empty calendar."""
    return not calendar or session_hours(calendar, day) is not None


def list_sessions(calendar: str, first: date, last: date) -> list[date]:
    """List the sessions of an exchange from ``first`` to ``last``, both included."""
    days = (first + timedelta(days=at) for at in range((last - first).days + 1))
    return [day for day in days if is_session_day(calendar, day)]


def session_hours(calendar: str, day: date) -> tuple[datetime, datetime] | None:
    """Return when the session of ``day`` opens and closes (aware UTC); None without a session.

    Early closes are included. Outside the recorded dates, every weekday is a session, with the
    hours of the last recorded day.
    """
    first, last, sessions = _decade(calendar, day.year // 10 * 10)
    if first <= day <= last:
        return sessions.get(day)
    if day.weekday() >= 5:
        return None
    return _usual_hours(calendar, day)


@lru_cache(maxsize=64)
def session_zone(calendar: str) -> ZoneInfo:
    """Return the exchange's own time zone."""
    return ZoneInfo(str(_library().get_calendar(calendar).tz))


Hours = dict[date, tuple[datetime, datetime]]


def _usual_hours(calendar: str, day: date) -> tuple[datetime, datetime]:
    """Return the local hours of the last recorded session, moved to another day."""
    zone = session_zone(calendar)
    known = _library().get_calendar(calendar).schedule.iloc[-1]
    anchor = known.name.date()
    opening, closing = (
        datetime.combine(
            day + ((local := moment.to_pydatetime().astimezone(zone)).date() - anchor),
            local.time(),
            zone,
        ).astimezone(UTC)
        for moment in (known["open"], known["close"])
    )
    return opening, closing


@lru_cache(maxsize=64)
def _decade(calendar: str, year: int) -> tuple[date, date, Hours]:
    """Return first day, last day and sessions of the decade from ``year``, as far as recorded."""
    first, last = date(year, 1, 1), date(year + 9, 12, 31)
    try:
        return first, last, _sessions(calendar, first, last)
    except ValueError:
        low, high = _recorded(calendar)
        first, last = max(first, low), min(last, high)
    if first >= last:
        return date.max, date.min, {}
    return first, last, _sessions(calendar, first, last)


def _sessions(calendar: str, first: date, last: date) -> Hours:
    """Return the sessions between two days; raise ValueError if the calendar lacks some of them.

    The start is given explicitly: the default reaches back only 20 years from today.
    """
    found = _library().get_calendar(calendar, start=first.isoformat(), end=last.isoformat())
    schedule = found.schedule
    days = [session.date() for session in schedule.index]
    opens = [moment.to_pydatetime() for moment in schedule["open"]]
    closes = [moment.to_pydatetime() for moment in schedule["close"]]
    return {
        day: (opening.astimezone(UTC), closing.astimezone(UTC))
        for day, opening, closing in zip(days, opens, closes, strict=True)
    }


def _recorded(calendar: str) -> tuple[date, date]:
    """Return the first and last day for which the calendar knows its holidays."""
    kind = type(_library().get_calendar(calendar))
    low, high = kind.bound_min(), kind.bound_max()
    earliest = low.date() if low is not None else date(1900, 1, 1)
    latest = high.date() if high is not None else date(2199, 12, 31)
    return earliest, latest


def _library() -> Any:
    import exchange_calendars  # type: ignore[import-untyped]  # it ships no types

    return exchange_calendars
