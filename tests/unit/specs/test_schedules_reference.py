"""Slots against a reference that shares nothing with them but the libraries.

The reference walks through every minute of UTC with a clock on the wall beside it. A wall time
fires when the clock first shows it or anything later: so a time that is skipped fires at the end
of the gap, and one that is repeated fires once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars  # type: ignore[import-untyped]  # it ships no types
import numpy as np
import pandas as pd
import pytest
from cronsim import CronSim, CronSimError
from pydantic import ValidationError

from prefect_instances.libs.specs import ScheduleSpec, is_session, native_crons, native_zone, slots

MINUTE, DAY, MONTH = timedelta(minutes=1), timedelta(days=1), timedelta(days=31)
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """A schedule, and the days (local midnights, as UTC) within which its slots are compared."""

    name: str
    fields: dict[str, Any] = field(repr=False)
    first: str
    days: int = 3

    @property
    def start(self) -> datetime:
        return datetime.fromisoformat(self.first).replace(tzinfo=UTC) - timedelta(hours=14)

    @property
    def end(self) -> datetime:
        return self.start + DAY * self.days + timedelta(hours=26)


def cron(expression: str, zone: str = "UTC", calendar: str = "") -> dict[str, Any]:
    return {"type": "cron", "expression": expression, "timezone": zone, "calendar": calendar}


def every(
    minutes: int, start: str = "", end: str = "", zone: str = "UTC", calendar: str = ""
) -> dict[str, Any]:
    return {
        "type": "interval",
        "minutes": minutes,
        "window_start": start,
        "window_end": end,
        "timezone": zone,
        "calendar": calendar,
    }


NEW_YORK, LONDON = "America/New_York", "Europe/London"
SYDNEY, LORD_HOWE = "Australia/Sydney", "Australia/Lord_Howe"
CHANGES = {
    (NEW_YORK, "forward"): "2026-03-08",
    (NEW_YORK, "back"): "2026-11-01",
    (LONDON, "forward"): "2026-03-29",
    (LONDON, "back"): "2026-10-25",
    (SYDNEY, "back"): "2026-04-05",
    (SYDNEY, "forward"): "2026-10-04",
    (LORD_HOWE, "back"): "2026-04-05",
    (LORD_HOWE, "forward"): "2026-10-04",
}
AROUND_A_CHANGE = [
    "30 1 * * *",
    "0 2 * * *",
    "15 2 * * *",
    "45 1,2 * * *",
    "0 3 * * *",
    "*/20 * * * *",
    "0 */2 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "10 1-3 * * 0",
    "0 6 * * 1-5",
]
WINDOWS = [
    (45, "22:00", "03:30"),
    (20, "23:30", "01:10"),
    (60, "00:30", "04:30"),
]

CLOCK = [
    Case(f"{zone} {way}: {expression}", cron(expression, zone), day)
    for (zone, way), day in CHANGES.items()
    for expression in AROUND_A_CHANGE
] + [
    Case(f"{zone} {way}: {start}-{end} by {step}", every(step, start, end, zone), day)
    for (zone, way), day in CHANGES.items()
    for step, start, end in WINDOWS
]

DATES = [
    Case(name, cron(expression, zone), first, days)
    for name, expression, zone, first, days in [
        ("leap day", "0 12 29 2 *", NEW_YORK, "2028-02-20", 20),
        ("leap day, a common year", "0 12 29 2 *", NEW_YORK, "2027-02-20", 20),
        ("leap day by the last of the month", "0 18 L * *", LONDON, "2028-02-20", 45),
        ("last of February", "0 18 L 2 *", SYDNEY, "2027-02-20", 20),
        ("the 31st", "5 0 31 * *", "UTC", "2026-03-25", 70),
        ("the 30th and 31st", "5 0 30,31 * *", "Asia/Tokyo", "2026-01-28", 70),
        ("the first", "0 0 1 * *", "Pacific/Auckland", "2026-12-20", 50),
        ("third Friday", "0 18 * * 5#3", NEW_YORK, "2026-01-01", 60),
        ("quarters", "0 7 1 1,4,7,10 *", LONDON, "2026-03-20", 20),
        ("the 13th or a Friday", "0 0 13 * 5", "UTC", "2026-02-01", 30),
        ("year's end", "59 23 31 12 *", "America/Sao_Paulo", "2026-12-25", 10),
        ("names", "30 8 * JAN,jul mon-fri", "Asia/Kolkata", "2026-06-25", 20),
        ("a quarter of an hour's zone", "0 9 * * *", "Asia/Kathmandu", "2026-06-25", 5),
        ("a gap at midnight", "0 0 * * *", "America/Havana", "2026-03-08", 3),
        ("a gap at midnight, half past", "30 0 * * *", "America/Havana", "2026-03-08", 3),
        ("no summer time in Phoenix", "30 2 * * *", "America/Phoenix", "2026-03-08", 3),
        ("the clock of Ramadan", "30 2 * * *", "Africa/Casablanca", "2026-02-15", 3),
        ("and back", "30 2 * * *", "Africa/Casablanca", "2026-03-22", 3),
    ]
]

SESSIONS = [
    Case(f"{calendar} {name}", cron("30 7 * * *", zone, calendar), first, days)
    for calendar, zone, name, first, days in [
        ("XNYS", NEW_YORK, "New Year", "2026-12-30", 6),
        ("XNYS", NEW_YORK, "Good Friday", "2026-03-31", 8),
        ("XNYS", NEW_YORK, "Thanksgiving", "2026-11-23", 8),
        ("XNYS", NEW_YORK, "Independence Day on a Saturday", "2026-06-30", 8),
        ("XNYS", NEW_YORK, "a day of mourning", "2025-01-06", 6),
        ("XNYS", NEW_YORK, "September 2001", "2001-09-08", 12),
        ("XLON", LONDON, "Easter", "2026-03-31", 9),
        ("XLON", LONDON, "a coronation", "2023-05-01", 10),
        ("XTKS", "Asia/Tokyo", "Golden Week", "2026-04-27", 12),
        ("XTKS", "Asia/Tokyo", "the turn of the year", "2026-12-28", 9),
        ("XASX", SYDNEY, "Australia Day", "2026-01-22", 8),
        ("XHKG", "Asia/Hong_Kong", "the lunar new year", "2026-02-12", 12),
        ("XNYS", "Asia/Tokyo", "session days are local", "2026-11-23", 8),
    ]
] + [
    Case(
        "an interval within sessions", every(30, "15:00", "16:00", NEW_YORK, "XNYS"), "2026-11-25"
    ),
    Case(
        "a night window on sessions", every(60, "22:00", "01:00", NEW_YORK, "XNYS"), "2026-11-24", 5
    ),
    Case("elapsed hours on sessions", every(180, zone=NEW_YORK, calendar="XNYS"), "2026-12-24", 5),
]

BELLS = [
    Case(f"{calendar} {expression} {name}", cron(expression, calendar=calendar), first, days)
    for calendar, expression, name, first, days in [
        ("XNYS", "@close", "Thanksgiving's half day", "2026-11-24", 7),
        ("XNYS", "@close+30", "Thanksgiving's half day", "2026-11-24", 7),
        ("XNYS", "@close+30", "Christmas Eve", "2026-12-22", 7),
        ("XNYS", "@close+30", "before Independence Day", "2025-07-01", 7),
        ("XNYS", "@close+30", "spring", "2026-03-05", 7),
        ("XNYS", "@close+30", "autumn", "2026-10-29", 7),
        ("XNYS", "@open-15", "spring", "2026-03-05", 7),
        ("XNYS", "@open+5", "a holiday", "2026-01-15", 7),
        ("XNYS", "@close+480", "past midnight", "2026-11-24", 7),
        ("XNYS", "@close+1440", "a day later", "2026-11-24", 7),
        ("XNYS", "@close-60", "before it", "2026-11-24", 7),
        ("XLON", "@close+15", "Christmas Eve", "2026-12-22", 9),
        ("XLON", "@open", "autumn", "2026-10-22", 7),
        ("XTKS", "@close+30", "longer since November 2024", "2024-10-31", 8),
        ("XHKG", "@close+10", "the eve of the lunar new year", "2026-02-12", 12),
        ("XASX", "@close+20", "autumn", "2026-04-01", 9),
        ("CMES", "@open", "the evening before", "2026-01-14", 7),
        ("24/7", "@close", "every midnight", "2026-12-24", 4),
        ("XNYS", "@close+90 monthly", "from a Sunday on", "2026-10-30", 40),
        ("XNYS", "@close+90 monthly", "after New Year", "2026-12-28", 40),
        ("XNYS", "@close+90 monthly", "a half day before Independence Day", "2023-06-29", 8),
        ("XNYS", "@open-60 monthly", "Labour Day", "2026-08-30", 10),
        ("XNYS", "@close+1440 monthly", "a day later", "2026-10-30", 8),
        ("CMES", "@open monthly", "the evening before", "2026-05-28", 8),
        ("XNYS", "@close weekly", "Labour Day", "2026-08-30", 16),
        ("XNYS", "@open-15 weekly", "Christmas on a Friday", "2026-12-18", 16),
        ("24/7", "@close weekly", "every Monday", "2026-12-24", 16),
    ]
]

GRIDS = [
    Case("every minute", every(1), "2026-02-28", 1),
    Case("every half hour through a clock change", every(30, zone=NEW_YORK), "2026-11-01"),
    Case("an interval that divides no day", every(1000), "2026-02-28", 10),
    Case("two days", every(2880), "2026-02-20", 20),
    Case("seven hours", every(420, zone=LORD_HOWE), "2026-10-04"),
]

CASES = [*CLOCK, *DATES, *SESSIONS, *BELLS, *GRIDS]
IMPOSSIBLE = [
    "0 0 30 2 *",
    "0 0 31 2 *",
    "0 0 31 4,6,9,11 *",
    "60 * * * *",
    "* 24 * * *",
    "0 0 0 * *",
    "0 0 32 * *",
    "0 0 * 13 *",
    "0 0 * 0 *",
    "0 0 * * 8",
    "0 0 * * 1-9",
    "*/0 * * * *",
    "5-1 * * * *",
    "0 0 * *",
    "0 0 * * * * *",
    "every day",
    "0 0 * * FUNDAY",
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_slots_are_those_of_the_reference(case: Case) -> None:
    schedule = ScheduleSpec.model_validate(case.fields)
    expected = list(reference(schedule, case.start, case.end))
    found = [slot for slot in slots(schedule, case.start, len(expected) + 1) if slot <= case.end]
    assert found == expected
    assert bool(expected) is not ("a common year" in case.name)


@pytest.mark.parametrize("case", [*BELLS, *SESSIONS], ids=lambda case: case.name)
def test_a_scheduler_without_calendars_fires_at_every_slot(case: Case) -> None:
    schedule = ScheduleSpec.model_validate(case.fields)
    fired = {
        moment
        for cron in native_crons(schedule)
        for moment in minutes_of_cron(cron.expression, native_zone(schedule), case.start, case.end)
    }
    expected = set(reference(schedule, case.start, case.end))
    if native_crons(schedule):
        assert expected <= fired
        assert {moment for moment in fired if is_session(schedule, moment)} == expected


@pytest.mark.parametrize("expression", IMPOSSIBLE)
def test_an_impossible_cron_is_refused_where_the_reference_finds_nothing(expression: str) -> None:
    try:
        found = next(CronSim(expression, datetime.combine(date(2026, 1, 1), time())), None)
    except CronSimError:
        found = None
    assert found is None or len(expression.split()) != 5
    with pytest.raises(ValidationError):
        ScheduleSpec(type="cron", expression=expression)


def test_the_table_is_as_large_as_it_claims() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) + len(IMPOSSIBLE) >= 150


# --- the reference ------------------------------------------------------------------------------


def reference(schedule: ScheduleSpec, start: datetime, end: datetime) -> Iterator[datetime]:
    """The slots in (start, end]."""
    if schedule.expression.startswith("@"):
        yield from _bells(schedule, start, end)
        return
    zone = schedule.timezone
    if schedule.type == "cron":
        found: Iterable[datetime] = minutes_of_cron(schedule.expression, zone, start, end)
    elif schedule.window_start:
        walls = set(_window_walls(schedule, start, end))
        found = fired(walls, zone, start, end)
    else:
        found = _grid(schedule.minutes, start, end)
    for moment in found:
        if _is_session(schedule.calendar, moment.astimezone(ZoneInfo(zone)).date()):
            yield moment


def minutes_of_cron(
    expression: str, zone: str, start: datetime, end: datetime
) -> Iterator[datetime]:
    """When the wall times of an expression fire."""
    wall, last = _wall(start, zone) - DAY, _wall(end, zone) + DAY
    walls = set()
    for moment in CronSim(expression, wall):
        if moment > last:
            break
        walls.add(moment)
    return fired(walls, zone, start, end)


def fired(walls: set[datetime], zone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """Each minute at which the clock on the wall first shows, or skips past, one of the walls."""
    moments, highest = _minutes(zone, start, end)
    before = _wall(start - DAY, zone)
    seen = (wall for wall in walls if before < wall <= highest[-1])
    for at in sorted({bisect_left(highest, wall) for wall in seen}):
        if moments[at] > start:
            yield moments[at]


@lru_cache(maxsize=2)
def _minutes(
    zone: str, start: datetime, end: datetime
) -> tuple[Sequence[datetime], Sequence[datetime]]:
    """Each minute, and the highest that the clock on the wall has shown until then.

    Neighbouring cases share their days.
    """
    moments = pd.date_range(start - DAY + MINUTE, end, freq="min").tz_convert(UTC)
    walls = moments.tz_convert(ZoneInfo(zone)).tz_localize(None)
    highest = np.maximum.accumulate(walls.to_numpy())
    return moments.to_pydatetime().tolist(), pd.DatetimeIndex(highest).to_pydatetime().tolist()


def _wall(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _window_walls(schedule: ScheduleSpec, start: datetime, end: datetime) -> Iterator[datetime]:
    day = _wall(start, schedule.timezone).date() - 2 * DAY
    while day <= _wall(end, schedule.timezone).date() + DAY:
        wall = datetime.combine(day, time.fromisoformat(schedule.window_start))
        until = datetime.combine(day, time.fromisoformat(schedule.window_end))
        until += DAY if until < wall else timedelta()
        while wall <= until:
            yield wall
            wall += MINUTE * schedule.minutes
        day += DAY


def _grid(minutes: int, start: datetime, end: datetime) -> Iterator[datetime]:
    moment = start
    while (moment := moment + MINUTE) <= end:
        if (moment - EPOCH) // MINUTE % minutes == 0:
            yield moment


@lru_cache(maxsize=64)
def _calendar(name: str) -> Any:
    """The calendar of an exchange for all years of the cases; making another takes its time."""
    return exchange_calendars.get_calendar(name, start="2000-01-01", end="2029-12-31")


def _is_session(calendar: str, day: date) -> bool:
    return not calendar or bool(_calendar(calendar).is_session(day.isoformat()))


def _bells(schedule: ScheduleSpec, start: datetime, end: datetime) -> Iterator[datetime]:
    calendar = _calendar(schedule.calendar)
    bell, sign, offset = "", 1, 0
    said, _, every = schedule.expression.partition(" ")
    for name in ("open", "close"):
        rest = said.removeprefix(f"@{name}")
        if rest != said:
            bell, sign, offset = name, -1 if rest[:1] == "-" else 1, int(rest[1:] or 0)
    times = getattr(calendar, f"{bell}s")
    near = 2 * MONTH
    times = times[(times > start - near) & (times < end + near)]
    period = {"": "D", "weekly": "W-SUN", "monthly": "M"}[every]
    times = times.groupby(times.index.to_period(period)).first()
    for moment in times:
        slot = moment.to_pydatetime().astimezone(UTC) + MINUTE * sign * offset
        if start < slot <= end:
            yield slot
