"""Schedules by the bell: so many minutes from the opening or the close of an exchange's session.

Written where a cron expression stands: ``@close+30``, ``@open-15``, ``@close``. An early close
moves the slot with it, and a day without a session has none. ``@close+30 monthly`` is meant of the
first session of each month alone, ``weekly`` of the first one from Monday on.
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
"""Minutes; further from the bell it would be unclear which session is meant."""

USUAL = 50
"""Days a year: a time of day at which fewer slots fall is given to a scheduler day by day."""

_NATIVE_YEARS = range(2020, 2040)
"""The years for which native crons are exact."""


@dataclass(frozen=True, slots=True)
class Bell:
    """A moment of sessions of an exchange: their opening or close, and minutes from it.

    ``every`` says of which: all of them, or the first one of each week or month.
    """

    at: Literal["open", "close"]
    minutes: int
    every: Literal["session", "weekly", "monthly"] = "session"

    def moment(self, calendar: str, day: date) -> datetime | None:
        """When that is on one day, aware UTC; None where the day is no such session."""
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


def is_bell(expression: str) -> bool:
    """Whether the expression speaks of a session's bell; it may still have a fault."""
    return expression.strip().startswith("@")


def bell_fault(expression: str) -> str:
    """Why it cannot be used; empty where it can."""
    form = _FORM.match(expression.strip())
    if form is None:
        return (
            "is no moment of a session; write @close, @close+30 or @open-15 (minutes), "
            "and weekly or monthly after it for the first session alone"
        )
    if int(form[3] or 0) > MAX_OFFSET:
        return f"is more than {MAX_OFFSET} minutes from the bell"
    return ""


def parse_bell(expression: str) -> Bell:
    """The bell of an expression without fault."""
    form = _FORM.match(expression.strip())
    if form is None:
        raise ValueError(bell_fault(expression))
    sign = -1 if form[2] == "-" else 1
    every = cast(Literal["session", "weekly", "monthly"], (form[4] or "session").lower())
    return Bell(cast(Literal["open", "close"], form[1].lower()), sign * int(form[3] or 0), every)


def next_bell(bell: Bell, calendar: str, after: datetime, patience: timedelta) -> datetime | None:
    """The first such moment strictly after another; None where ``patience`` ends before it."""
    # A session may begin the evening before its day, and an offset adds a day at most.
    day = after.date() - timedelta(days=3)
    end = day + patience
    while day < end:
        moment = bell.moment(calendar, day)
        if moment is not None and moment > after:
            return moment
        day += timedelta(days=1)
    return None


@lru_cache(maxsize=64)
def bell_crons(bell: Bell, calendar: str) -> list[str]:
    """Cron expressions, in the exchange's zone, that fire at every slot and little besides.

    A scheduler without calendars fires at a usual hour on holidays too: the run ends at once.
    """
    walls: dict[tuple[int, int], list[datetime]] = {}
    for wall in _walls(bell, calendar):
        walls.setdefault((wall.hour, wall.minute), []).append(wall)
    crons = []
    for (hour, minute), found in sorted(walls.items()):
        if len(found) >= USUAL * len(_NATIVE_YEARS):
            weekdays = {wall.isoweekday() % 7 for wall in found}
            months = {wall.month for wall in found}
            crons.append(f"{minute} {hour} * {_listed(months, 12)} {_listed(weekdays, 7)}")
        elif bell.every == "monthly":
            days, months = {wall.day for wall in found}, {wall.month for wall in found}
            crons.append(f"{minute} {hour} {_listed(days, 31)} {_listed(months, 12)} *")
        else:
            crons += _dated(found)
    return crons


def _walls(bell: Bell, calendar: str) -> list[datetime]:
    zone = session_zone(calendar)
    day, walls = date(_NATIVE_YEARS[0], 1, 1), []
    while day.year in _NATIVE_YEARS:
        if (moment := bell.moment(calendar, day)) is not None:
            walls.append(moment.astimezone(zone).replace(tzinfo=None))
        day += timedelta(days=1)
    return walls


def _dated(walls: list[datetime]) -> list[str]:
    """One expression a month for an unusual hour: the days on which it ever falls."""
    days: dict[int, set[int]] = {}
    for wall in walls:
        days.setdefault(wall.month, set()).add(wall.day)
    hour, minute = walls[0].hour, walls[0].minute
    return [f"{minute} {hour} {_listed(days[month], 31)} {month} *" for month in sorted(days)]


def _listed(values: set[int], size: int) -> str:
    return "*" if len(values) == size else ",".join(map(str, sorted(values)))
