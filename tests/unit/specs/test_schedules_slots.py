"""The slots of schedules: clock changes, holidays, leap days and windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prefect_instances.libs.specs import (
    ScheduleSpec,
    due_window,
    is_session,
    is_slot,
    native_crons,
    next_slot,
    served_slot,
    slots,
)

NEW_YORK, LONDON, TOKYO = "America/New_York", "Europe/London", "Asia/Tokyo"
SIX_ON_WEEKDAYS = "0 6 * * 1-5"


def at(text: str) -> datetime:
    """``2026-03-08 06:00`` in UTC, or with an offset behind it."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def cron(expression: str, timezone: str = "UTC", **more: Any) -> ScheduleSpec:
    return ScheduleSpec(type="cron", expression=expression, timezone=timezone, **more)


def every(
    minutes: int, start: str = "", end: str = "", timezone: str = "UTC", **more: Any
) -> ScheduleSpec:
    return ScheduleSpec(
        type="interval",
        minutes=minutes,
        window_start=start,
        window_end=end,
        timezone=timezone,
        **more,
    )


@dataclass(frozen=True)
class Case:
    """After ``after`` the schedule's slots are ``expected``."""

    name: str
    schedule: ScheduleSpec
    after: str
    expected: list[str]


PLAIN = [
    Case("strictly after", cron("0 6 * * *"), "2026-01-05 06:00", ["2026-01-06 06:00"]),
    Case("a second before", cron("0 6 * * *"), "2026-01-05 05:59:59", ["2026-01-05 06:00"]),
    Case(
        "a microsecond after", cron("0 6 * * *"), "2026-01-05 06:00:00.000001", ["2026-01-06 06:00"]
    ),
    Case(
        "a microsecond before",
        cron("0 6 * * *"),
        "2026-01-05 05:59:59.999999",
        ["2026-01-05 06:00"],
    ),
    Case("local time", cron("0 6 * * *", TOKYO), "2026-01-05 00:00", ["2026-01-05 21:00"]),
    Case(
        "weekdays are local",
        cron("0 6 * * 1", TOKYO),
        "2026-01-04 00:00",
        ["2026-01-04 21:00", "2026-01-11 21:00"],
    ),
    Case(
        "end of the month",
        cron("0 18 L * *"),
        "2028-01-31 18:00",
        ["2028-02-29 18:00", "2028-03-31 18:00"],
    ),
    Case(
        "the 31st",
        cron("0 0 31 * *"),
        "2026-01-31 00:00",
        ["2026-03-31 00:00", "2026-05-31 00:00"],
    ),
    Case(
        "leap day, over a century without one",
        cron("0 0 29 2 *"),
        "2092-01-01 00:00",
        ["2092-02-29 00:00", "2096-02-29 00:00", "2104-02-29 00:00"],
    ),
    Case(
        "the 13th or a Friday",
        cron("0 0 13 * 5"),
        "2026-02-06 00:00",
        ["2026-02-13 00:00", "2026-02-20 00:00"],
    ),
]

CLOCK_CHANGES = [
    Case(
        "New York springs forward: the skipped time fires when the clock resumes",
        cron("30 2 * * *", NEW_YORK),
        "2026-03-07 12:00",
        ["2026-03-08 03:00-04:00", "2026-03-09 02:30-04:00"],
    ),
    Case(
        "New York springs forward: a later time keeps its hour",
        cron("0 6 * * *", NEW_YORK),
        "2026-03-07 11:00",
        ["2026-03-08 06:00-04:00", "2026-03-09 06:00-04:00"],
    ),
    Case(
        "New York springs forward: skipped times and the first valid one are one slot",
        cron("0,30 2,3 * * *", NEW_YORK),
        "2026-03-08 06:00",
        ["2026-03-08 03:00-04:00", "2026-03-08 03:30-04:00", "2026-03-09 02:00-04:00"],
    ),
    Case(
        "New York springs forward: quarters of the skipped hour",
        cron("*/15 2 * * *", NEW_YORK),
        "2026-03-08 06:00",
        ["2026-03-08 03:00-04:00", "2026-03-09 02:00-04:00"],
    ),
    Case(
        "New York springs forward: every second hour",
        cron("0 */2 * * *", NEW_YORK),
        "2026-03-08 05:00",
        ["2026-03-08 03:00-04:00", "2026-03-08 04:00-04:00"],
    ),
    Case(
        "New York falls back: the repeated time fires the first time only",
        cron("30 1 * * *", NEW_YORK),
        "2026-10-31 12:00",
        ["2026-11-01 01:30-04:00", "2026-11-02 01:30-05:00"],
    ),
    Case(
        "New York falls back: asked between the two",
        cron("30 1 * * *", NEW_YORK),
        "2026-11-01 01:45-04:00",
        ["2026-11-02 01:30-05:00"],
    ),
    Case(
        "New York falls back: asked during the second pass",
        cron("30 1 * * *", NEW_YORK),
        "2026-11-01 01:15-05:00",
        ["2026-11-02 01:30-05:00"],
    ),
    Case(
        "New York falls back: each hour on the wall once",
        cron("0 * * * *", NEW_YORK),
        "2026-11-01 00:30-04:00",
        ["2026-11-01 01:00-04:00", "2026-11-01 02:00-05:00", "2026-11-01 03:00-05:00"],
    ),
    Case(
        "London springs forward",
        cron("15 1 * * *", LONDON),
        "2026-03-28 12:00",
        ["2026-03-29 02:00+01:00", "2026-03-30 01:15+01:00"],
    ),
    Case(
        "London falls back",
        cron("15 1 * * *", LONDON),
        "2026-10-24 12:00",
        ["2026-10-25 01:15+01:00", "2026-10-26 01:15+00:00"],
    ),
    Case(
        "a gap of half an hour",
        cron("15 2 * * *", "Australia/Lord_Howe"),
        "2026-10-03 12:00",
        ["2026-10-04 02:30+11:00", "2026-10-05 02:15+11:00"],
    ),
    Case(
        "a gap at midnight",
        cron("0 0 * * *", "America/Havana"),
        "2026-03-07 12:00",
        ["2026-03-08 01:00-04:00", "2026-03-09 00:00-04:00"],
    ),
    Case(
        "a day that never was",
        cron("0 12 * * *", "Pacific/Apia"),
        "2011-12-29 12:00-10:00",
        ["2011-12-31 00:00+14:00", "2011-12-31 12:00+14:00"],
    ),
]

SESSIONS = [
    Case(
        "a weekend and the fourth of July",
        cron(SIX_ON_WEEKDAYS, NEW_YORK, calendar="XNYS"),
        "2026-07-02 06:00-04:00",
        ["2026-07-06 06:00-04:00"],
    ),
    Case(
        "Thanksgiving is none, the half day after it is",
        cron("0 18 * * *", NEW_YORK, calendar="XNYS"),
        "2026-11-25 18:00-05:00",
        ["2026-11-27 18:00-05:00", "2026-11-30 18:00-05:00"],
    ),
    Case(
        "Christmas in London, with Boxing Day on a Saturday",
        cron("0 7 * * *", LONDON, calendar="XLON"),
        "2026-12-24 07:00",
        ["2026-12-29 07:00", "2026-12-30 07:00"],
    ),
    Case(
        "Golden Week in Tokyo",
        cron("0 9 * * *", TOKYO, calendar="XTKS"),
        "2026-05-01 09:00+09:00",
        ["2026-05-07 09:00+09:00"],
    ),
    Case(
        "a leap day that is a session",
        cron("0 6 29 2 *", NEW_YORK, calendar="XNYS"),
        "2016-03-01 00:00",
        ["2024-02-29 06:00-05:00", "2028-02-29 06:00-05:00"],
    ),
    Case(
        "the session is that of the local day",
        cron("0 20 * * *", NEW_YORK, calendar="XNYS"),
        "2026-07-02 20:00-04:00",
        ["2026-07-06 20:00-04:00"],
    ),
    Case(
        "before the open, after a holiday",
        cron("@open-15", calendar="XNYS"),
        "2026-07-02 09:00-04:00",
        ["2026-07-02 09:15-04:00", "2026-07-06 09:15-04:00"],
    ),
    Case(
        "a session after a clock change",
        cron(SIX_ON_WEEKDAYS, NEW_YORK, calendar="XNYS"),
        "2026-03-06 06:00-05:00",
        ["2026-03-09 06:00-04:00"],
    ),
    Case(
        "before the calendar's default reach of twenty years",
        cron("0 6 * * *", NEW_YORK, calendar="XNYS"),
        "2001-09-10 06:00-04:00",
        ["2001-09-17 06:00-04:00"],
    ),
    Case(
        "beyond what the calendar records, every weekday",
        cron("0 9 * * *", "Asia/Shanghai", calendar="XSHG"),
        "2031-10-02 09:00+08:00",
        ["2031-10-03 09:00+08:00", "2031-10-06 09:00+08:00"],
    ),
    Case(
        "an exchange that never closes",
        cron("0 0 * * *", calendar="24/7"),
        "2026-12-24 00:00",
        ["2026-12-25 00:00", "2026-12-26 00:00"],
    ),
]

INTERVALS = [
    Case(
        "every half hour", every(30), "2026-01-05 10:10", ["2026-01-05 10:30", "2026-01-05 11:00"]
    ),
    Case("on a slot", every(30), "2026-01-05 10:30", ["2026-01-05 11:00"]),
    Case(
        "before the anchor", every(60), "2019-12-31 22:30", ["2019-12-31 23:00", "2020-01-01 00:00"]
    ),
    Case(
        "elapsed time through a clock change",
        every(60, timezone=NEW_YORK),
        "2026-11-01 05:00",
        ["2026-11-01 01:00-05:00", "2026-11-01 02:00-05:00"],
    ),
    Case(
        "an interval that divides no day goes on from the anchor",
        every(1000),
        "2020-01-01 00:00",
        ["2020-01-01 16:40", "2020-01-02 09:20"],
    ),
    Case(
        "an interval skips days without a session",
        every(720, timezone=NEW_YORK, calendar="XNYS"),
        "2026-07-02 19:00-04:00",
        ["2026-07-02 20:00-04:00", "2026-07-06 08:00-04:00"],
    ),
    Case(
        "a window, its ends included",
        every(30, "15:00", "16:00", NEW_YORK),
        "2026-01-05 12:00",
        [
            "2026-01-05 15:00-05:00",
            "2026-01-05 15:30-05:00",
            "2026-01-05 16:00-05:00",
            "2026-01-06 15:00-05:00",
        ],
    ),
    Case(
        "a window begins anew each day",
        every(45, "09:30", "11:00"),
        "2026-01-05 10:00",
        ["2026-01-05 10:15", "2026-01-05 11:00", "2026-01-06 09:30"],
    ),
    Case(
        "a window over the skipped hour",
        every(30, "01:30", "03:30", NEW_YORK),
        "2026-03-08 00:00-05:00",
        ["2026-03-08 01:30-05:00", "2026-03-08 03:00-04:00", "2026-03-08 03:30-04:00"],
    ),
    Case(
        "a window on sessions only",
        every(60, "15:00", "16:00", NEW_YORK, calendar="XNYS"),
        "2026-07-02 15:30-04:00",
        ["2026-07-02 16:00-04:00", "2026-07-06 15:00-04:00"],
    ),
]

CASES = [*PLAIN, *CLOCK_CHANGES, *SESSIONS, *INTERVALS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_slots_are_those_that_the_calendar_and_the_clock_give(case: Case) -> None:
    expected = [at(moment) for moment in case.expected]
    assert slots(case.schedule, at(case.after), len(expected)) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_slot_is_a_slot_and_nothing_around_it_is(case: Case) -> None:
    for slot in slots(case.schedule, at(case.after), len(case.expected)):
        assert slot.tzinfo is UTC
        assert is_slot(case.schedule, slot)
        assert is_slot(case.schedule, slot.astimezone(ZoneInfo(TOKYO)))
        assert not is_slot(case.schedule, slot + timedelta(seconds=1))
        assert is_session(case.schedule, slot)


@pytest.mark.parametrize(
    "schedule",
    [ScheduleSpec(), cron("* * * * *", enabled=False), every(1, enabled=False)],
    ids=["manual", "cron disabled", "interval disabled"],
)
def test_a_schedule_that_fires_nothing_has_no_slots(schedule: ScheduleSpec) -> None:
    assert next_slot(schedule, at("2026-01-01 00:00")) is None
    assert slots(schedule, at("2026-01-01 00:00"), 3) == []
    assert due_window(schedule, at("2026-01-01 00:00")) is None
    assert not is_slot(schedule, at("2026-01-01 00:00"))


def test_a_schedule_that_meets_no_session_ends_instead_of_searching_for_ever() -> None:
    schedule = cron("0 6 1 1 *", NEW_YORK)
    schedule.calendar = "XNYS"
    assert next_slot(schedule, at("2026-01-01 00:00")) is None


def test_a_moment_without_a_time_zone_is_refused() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001  # that is the point
    for ask in (next_slot, is_session):
        with pytest.raises(ValueError, match="time zone"):
            ask(cron("0 6 * * *"), naive)


@pytest.mark.parametrize(
    ("day", "open_"),
    [
        ("2026-07-02 23:59-04:00", True),
        ("2026-07-03 00:00-04:00", False),
        ("2026-07-06 03:59", False),
        ("2026-07-06 04:00", True),
    ],
)
def test_a_session_is_a_local_day(day: str, open_: bool) -> None:
    assert is_session(cron("0 6 * * *", NEW_YORK, calendar="XNYS"), at(day)) is open_


def test_output_is_due_at_the_next_slot_and_overdue_after_the_grace() -> None:
    schedule = cron(SIX_ON_WEEKDAYS, NEW_YORK, calendar="XNYS", grace_minutes=120)
    assert due_window(schedule, at("2026-07-02 06:00-04:00")) == (
        at("2026-07-06 06:00-04:00"),
        at("2026-07-06 08:00-04:00"),
    )


# --- laws -------------------------------------------------------------------------------------

ZONES = ["UTC", NEW_YORK, LONDON, "Australia/Lord_Howe", "America/Havana", "Africa/Casablanca"]
minutes_field = st.sampled_from(["0", "30", "*/15", "5,35", "7-9", "*"])
hours_field = st.sampled_from(["*", "*/2", "1", "2", "1-3", "0,23", "6"])
weekdays = st.sampled_from(["*", "1-5", "0", "sun,wed"])
crons = st.builds(
    lambda minute, hour, weekday, zone, calendar: cron(
        f"{minute} {hour} * * {weekday}", zone, calendar=calendar
    ),
    minutes_field,
    hours_field,
    weekdays,
    st.sampled_from(ZONES),
    st.sampled_from(["", "", "24/7"]),
)
windows = st.builds(
    lambda minutes, ends, zone: every(minutes, f"{ends[0]:02}:15", f"{ends[1]:02}:45", zone),
    st.integers(1, 300),
    st.tuples(st.integers(0, 23), st.integers(0, 23)),
    st.sampled_from(ZONES),
)
grids = st.builds(every, st.integers(1, 5000))
bells = st.builds(
    lambda bell, minutes, every, calendar: cron(f"@{bell}{minutes:+}{every}", calendar=calendar),
    st.sampled_from(["open", "close"]),
    st.integers(-1440, 1440),
    st.sampled_from(["", " weekly", " monthly"]),
    st.sampled_from(["XNYS", "XLON", "XASX", "CMES", "24/7"]),
)
schedules = crons | windows | grids | bells
near_changes = st.sampled_from(
    ["2026-03-08 07:00", "2026-11-01 06:00", "2026-10-25 01:00"]
).flatmap(
    lambda change: st.integers(-7200, 7200).map(
        lambda seconds: at(change) + timedelta(seconds=seconds)
    )
)
any_time = st.datetimes(
    datetime(1975, 1, 1),  # noqa: DTZ001  # Hypothesis wants naive bounds
    datetime(2090, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
moments = near_changes | any_time


@given(schedules, moments)
def test_slots_only_ever_move_forward(schedule: ScheduleSpec, after: datetime) -> None:
    found = slots(schedule, after, 12)
    assert len(found) == 12
    assert all(one < other for one, other in pairwise([after, *found]))


@given(schedules, moments)
def test_the_slot_after_a_slot_is_the_next_of_the_list(
    schedule: ScheduleSpec, after: datetime
) -> None:
    found = slots(schedule, after, 6)
    assert [next_slot(schedule, slot) for slot in found[:-1]] == found[1:]


@given(schedules, moments, st.floats(0, 1))
def test_no_slot_lies_between_two_neighbours(
    schedule: ScheduleSpec, after: datetime, share: float
) -> None:
    first, second = slots(schedule, after, 2)
    between = first + share * (second - first)
    assume(first <= between < second)
    assert next_slot(schedule, between) == second


@given(schedules, moments, st.timedeltas(timedelta(), timedelta(days=9)))
def test_what_is_due_next_never_moves_back_and_changes_only_by_a_slot(
    schedule: ScheduleSpec, served: datetime, later: timedelta
) -> None:
    due, again = due_window(schedule, served), due_window(schedule, served + later)
    assert due is not None
    assert again is not None
    assert again >= due
    assert (again == due) is (due[0] > served + later)
    assert served_slot(schedule, due[0]) == due[0]
    assert due_window(schedule, due[0]) > due


@given(crons | windows, near_changes)
def test_no_local_time_fires_twice(schedule: ScheduleSpec, after: datetime) -> None:
    zone = ZoneInfo(schedule.timezone)
    shown = [slot.astimezone(zone).replace(tzinfo=None) for slot in slots(schedule, after, 60)]
    assert len(set(shown)) == len(shown)


@given(crons | windows, moments)
def test_every_local_time_of_the_schedule_fires(schedule: ScheduleSpec, after: datetime) -> None:
    """Outside of clock changes the slots are what the crons say, field by field."""
    found = slots(schedule, after, 5)
    zone = ZoneInfo(schedule.timezone)
    for slot in found:
        offsets = {(slot + timedelta(hours=h)).astimezone(zone).utcoffset() for h in (-3, 0, 3)}
        if len(offsets) == 1:
            local = slot.astimezone(zone)
            assert any(_fits(cron_.expression, local) for cron_ in native_crons(schedule))


def _fits(expression: str, local: datetime) -> bool:
    minute, hour, *_ = expression.split()
    return local.minute in _values(minute, 60) and local.hour in _values(hour, 24)


def _values(field: str, size: int) -> set[int]:
    if field.startswith("*"):
        return set(range(0, size, int(field.partition("/")[2] or 1)))
    ranges = [part.partition("-") for part in field.split(",")]
    return {n for low, _, high in ranges for n in range(int(low), int(high or low) + 1)}
