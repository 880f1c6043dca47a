"""Schedules by session events: minutes before or after a session of an exchange opens or closes.

They are written in the place of a cron expression: ``@close+30``, ``@open-15``, ``@close``. An
early close moves the slot, and a day without a session has none. ``@close+30 monthly`` means only
the first session of each month, ``weekly`` the first one from Monday on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal, cast

from prefect_instances.libs.specs.timing.sessions import is_session_day, session_hours, session_zone

_FORM = re.compile(
    r"@(open|close)\s*(?:([+-])\s*(\d{1,4}))?(?:\s+(weekly|monthly))?\Z", re.IGNORECASE
)
MAX_OFFSET = 24 * 60
"""In minutes; with a larger offset it would be unclear which session is meant."""

USUAL = 50
"""In days per year: a time of day with fewer slots gets cron expressions for single days."""

_NATIVE_YEARS = range(2020, 2040)
"""The years for which native crons are exact."""


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """An event of an exchange's sessions: opening or close, plus an offset in minutes.

    ``every`` selects the sessions: all, or the first one of each week or month.
    """

    at: Literal["open", "close"]
    minutes: int
    every: Literal["session", "weekly", "monthly"] = "session"

    def moment(self, calendar: str, day: date) -> datetime | None:
        """Return the event's time on one day, aware UTC; None if the day is not such a session."""
        hours = session_hours(calendar, day)
        if hours is None or not self._is_first(calendar, day):
            return None
        return hours[self.at == "close"] + timedelta(minutes=self.minutes)

    def _is_first(self, calendar: str, day: date) -> bool:
        if self.every == "session":
            return True
        passed = day.weekday() if self.every == "weekly" else day.day - 1
        earlier = (day - timedelta(days=back) for back in range(1, passed + 1))
        return not any(is_session_day(calendar, one) for one in earlier)


def is_session_event(expression: str) -> bool:
    """Return True if the expression names a session event; it may still be invalid."""
    return expression.strip().startswith("@")


def session_event_fault(expression: str) -> str:
    """Return why the expression cannot be used; empty if it can."""
    form = _FORM.match(expression.strip())
    if form is None:
        return (
            "is no moment of a session; write @close, @close+30 or @open-15 (minutes), "
            "and weekly or monthly after it for the first session alone"
        )
    if int(form[3] or 0) > MAX_OFFSET:
        return f"is more than {MAX_OFFSET} minutes from the open or close"
    return ""


def parse_session_event(expression: str) -> SessionEvent:
    """Parse a valid expression; raises ValueError for an invalid one."""
    form = _FORM.match(expression.strip())
    if form is None:
        raise ValueError(session_event_fault(expression))
    sign = -1 if form[2] == "-" else 1
    every = cast(Literal["session", "weekly", "monthly"], (form[4] or "session").lower())
    return SessionEvent(
        cast(Literal["open", "close"], form[1].lower()), sign * int(form[3] or 0), every
    )


def next_event_time(
    event: SessionEvent, calendar: str, after: datetime, limit: timedelta
) -> datetime | None:
    """Return the first such event strictly after ``after``; None if none is within ``limit``."""
    # A session may begin on the evening before its day, and an offset adds at most a day.
    day = after.date() - timedelta(days=3)
    end = day + limit
    while day < end:
        moment = event.moment(calendar, day)
        if moment is not None and moment > after:
            return moment
        day += timedelta(days=1)
    return None


@lru_cache(maxsize=64)
def session_event_crons(event: SessionEvent, calendar: str) -> list[str]:
    """Return cron expressions, in the exchange's time zone, that fire at every slot.

    Cron knows no exchange holidays, so they also fire at the usual hour on a holiday; the run then
    ends ``NotASession``.
    """
    times: dict[tuple[int, int], list[datetime]] = {}
    for local in _local_times(event, calendar):
        times.setdefault((local.hour, local.minute), []).append(local)
    crons = []
    for (hour, minute), found in sorted(times.items()):
        if len(found) >= USUAL * len(_NATIVE_YEARS):
            weekdays = {local.isoweekday() % 7 for local in found}
            months = {local.month for local in found}
            crons.append(f"{minute} {hour} * {_listed(months, 12)} {_listed(weekdays, 7)}")
        elif event.every == "monthly":
            days, months = {local.day for local in found}, {local.month for local in found}
            crons.append(f"{minute} {hour} {_listed(days, 31)} {_listed(months, 12)} *")
        else:
            crons += _dated(found)
    return crons


def _local_times(event: SessionEvent, calendar: str) -> list[datetime]:
    zone = session_zone(calendar)
    day, times = date(_NATIVE_YEARS[0], 1, 1), []
    while day.year in _NATIVE_YEARS:
        if (moment := event.moment(calendar, day)) is not None:
            times.append(moment.astimezone(zone).replace(tzinfo=None))
        day += timedelta(days=1)
    return times


def _dated(times: list[datetime]) -> list[str]:
    """Return one expression per month for an unusual hour, with all days on which it occurs."""
    days: dict[int, set[int]] = {}
    for local in times:
        days.setdefault(local.month, set()).add(local.day)
    hour, minute = times[0].hour, times[0].minute
    return [f"{minute} {hour} {_listed(days[month], 31)} {month} *" for month in sorted(days)]


def _listed(values: set[int], size: int) -> str:
    return "*" if len(values) == size else ",".join(map(str, sorted(values)))
