"""Prefect's own scheduler fires at the slots of our schedules."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from prefect.server.schemas import schedules as prefect_schedules
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule
from pydantic import ValidationError

from prefect_instances.libs.adapters.prefect.schedules import build_native_schedules
from prefect_instances.libs.specs import (
    INTERVAL_ANCHOR,
    NativeCron,
    ScheduleSpec,
    native_crons,
    next_slot,
    slots,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def cron(expression: str) -> ScheduleSpec:
    return ScheduleSpec(type="cron", expression=expression)


def every(minutes: int, start: str = "", end: str = "") -> ScheduleSpec:
    return ScheduleSpec(type="interval", minutes=minutes, window_start=start, window_end=end)


def expected(schedule: ScheduleSpec, count: int) -> list[datetime]:
    """Our slots from ``START`` on."""
    return slots(schedule, START - timedelta(seconds=1), count)


windows = st.builds(
    lambda minutes, ends: every(minutes, f"{min(ends):02}:15", f"{max(ends):02}:45"),
    st.integers(1, 300),
    st.tuples(st.integers(0, 23), st.integers(0, 23)),
)


def term(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ordered = st.tuples(number, number).map(sorted)
    step = st.integers(1, high + 2)
    return st.one_of(
        st.just("*"),
        number.map(str),
        ordered.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        step.map(lambda by: f"*/{by}"),
        st.tuples(number, step).map(lambda pair: f"{pair[0]}/{pair[1]}"),
        st.tuples(ordered, step).map(lambda pair: f"{pair[0][0]}-{pair[0][1]}/{pair[1]}"),
        st.tuples(number, number).map(lambda pair: f"{pair[0]},{pair[1]}"),
    )


expressions = st.tuples(
    term(0, 59),
    term(0, 23),
    term(1, 31) | st.just("L"),
    term(1, 12) | st.sampled_from(["JAN", "feb,mar"]),
    term(0, 7) | st.sampled_from(["MON-FRI", "sun", "5#3"]),
).map(" ".join)


def native(schedule: ScheduleSpec, count: int) -> list[datetime]:
    """What Prefect's own scheduler makes of the expressions that a deployment is given."""
    prefect = [
        CronSchedule(cron=one.expression, timezone=schedule.timezone, day_or=not one.both)
        for one in native_crons(schedule)
    ]

    async def dates() -> list[datetime]:
        return [date for one in prefect for date in await one.get_dates(n=count, start=START)]

    return sorted(asyncio.run(dates()))[:count]


@given(expressions)
@example("16 12 */5 2-9 *")
@example("0 6 7-7 3-3 *")
@example("0 6 1,30 * *")
@example("0 6 * * 7/5")
def test_prefect_fires_at_every_slot_of_an_accepted_expression(expression: str) -> None:
    try:
        schedule = cron(expression)
    except ValidationError:
        assume(False)
    found = expected(schedule, 12)
    assert native(schedule, len(found)) == found


@given(windows)
def test_prefect_fires_at_every_slot_of_a_window(schedule: ScheduleSpec) -> None:
    assert native(schedule, 12) == expected(schedule, 12)


@given(st.integers(1, 3000))
def test_prefect_fires_at_every_slot_of_an_interval(minutes: int) -> None:
    prefect = IntervalSchedule(
        interval=timedelta(minutes=minutes), anchor_date=INTERVAL_ANCHOR, timezone="UTC"
    )
    found = asyncio.run(prefect.get_dates(n=5, start=START))
    assert list(found) == expected(every(minutes), 5)


def test_an_interval_without_a_window_needs_no_cron() -> None:
    assert native_crons(every(30)) == []
    assert native_crons(ScheduleSpec()) == []


@pytest.mark.parametrize(
    ("schedule", "crons"),
    [
        (cron("0 6 * * 1-5"), ["0 6 * * 1-5"]),
        (every(60, "09:30", "16:00"), ["30 9,10,11,12,13,14,15 * * *"]),
        (every(30, "09:30", "11:00"), ["30 9,10 * * *", "0 10,11 * * *"]),
        (every(7, "09:00", "09:20"), ["0,7,14 9 * * *"]),
    ],
    ids=["as written", "hourly", "half-hourly", "one hour"],
)
def test_native_crons_are_few_and_readable(schedule: ScheduleSpec, crons: list[str]) -> None:
    assert native_crons(schedule) == [NativeCron(one) for one in crons]


# --- clock changes --------------------------------------------------------------------------------

CHANGES_FORWARD = {
    "America/New_York": "2026-03-08",
    "Europe/London": "2027-03-28",
    "Australia/Lord_Howe": "2026-10-04",
    "Australia/Sydney": "2029-10-07",
    "America/Havana": "2026-03-08",
    "America/Santiago": "2028-09-03",
    "America/Nuuk": "2026-03-28",
    "Antarctica/Troll": "2026-03-29",
    "Africa/Cairo": "2026-04-24",
    "Asia/Jerusalem": "2030-03-29",
}
CHANGES_BACK = {"America/New_York": "2026-11-01", "Europe/London": "2026-10-25"}
DAYS = timedelta(days=4)
"""Around a change; Prefect gives no more than 1,000 dates at once."""


def fired(schedule: ScheduleSpec, start: datetime, end: datetime) -> list[datetime]:
    """When Prefect fires in [start, end], once for each of its schedules."""
    prefect = [CronSchedule(**one) for one in build_native_schedules(schedule).values()]

    async def dates() -> list[datetime]:
        return [day for one in prefect for day in await one.get_dates(start=start, end=end)]

    return sorted(day.astimezone(UTC) for day in asyncio.run(dates()))


def due(schedule: ScheduleSpec, start: datetime, end: datetime) -> list[datetime]:
    """Our slots in [start, end]."""
    found, after = [], start - timedelta(microseconds=1)
    while (slot := next_slot(schedule, after)) is not None and slot <= end:
        found.append(slot)
        after = slot
    return found


def around(day: str) -> tuple[datetime, datetime]:
    moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return moment - DAYS, moment + DAYS


@pytest.mark.parametrize("zone", CHANGES_FORWARD)
@pytest.mark.parametrize(
    "expression",
    [
        "30 2 * * *",
        "15 0,1,2,23 * * *",
        "*/20 2 * * 0",
        "5 1-3 1,8 * 5",
        "40 23 28,L * *",
        "0,15 */2 * * *",
        "20 2 * * 0#2,5#5",
        "0 * * * *",
        "59 0-3 L * *",
    ],
)
def test_prefect_fires_at_the_slots_and_only_there_when_the_clock_springs_forward(
    zone: str, expression: str
) -> None:
    schedule = ScheduleSpec(type="cron", expression=expression, timezone=zone)
    start, end = around(CHANGES_FORWARD[zone])
    assert fired(schedule, start, end) == due(schedule, start, end)


@given(
    st.sampled_from([*CHANGES_FORWARD.items(), *CHANGES_BACK.items()]),
    st.tuples(
        st.sampled_from(["0", "30", "59", "15,45", "*/20", "10-12", "1/25"]),
        st.sampled_from(["0", "1", "2", "3", "23", "0-3", "*/2", "1,2", "22-23", "*"]),
        st.sampled_from(["*", "1-15", "8", "L", "31,L", "28,L", "*/3"]),
        st.sampled_from(["*", "3", "3,4,9,10", "10-12"]),
        st.sampled_from(["*", "0", "5,6", "0#2", "1,0#5", "SUN"]),
    ).map(" ".join),
    st.integers(0, 9),
)
@example(("America/New_York", "2026-03-08"), "30 2 * * *", 0)
@example(("America/Santiago", "2028-09-03"), "0 0 */3 * *", 0)
def test_prefect_fires_at_the_slots_and_only_there_in_zones_with_clock_changes(
    change: tuple[str, str], expression: str, years: int
) -> None:
    zone, day = change
    try:
        schedule = ScheduleSpec(type="cron", expression=expression, timezone=zone)
    except ValidationError:
        assume(False)
    year = int(day[:4]) + years % (2039 - int(day[:4]))
    start, end = around(f"{year}{day[4:]}")
    assert fired(schedule, start, end) == due(schedule, start, end)


@pytest.mark.parametrize("zone", CHANGES_FORWARD)
@given(windows.filter(lambda window: window.minutes > 15))
@settings(max_examples=3)
def test_prefect_fires_at_the_slots_of_a_window_when_the_clock_springs_forward(
    zone: str, window: ScheduleSpec
) -> None:
    schedule = window.model_copy(update={"timezone": zone})
    start, end = around(CHANGES_FORWARD[zone])
    assert fired(schedule, start, end) == due(schedule, start, end)


def test_a_skipped_time_fires_at_the_end_of_the_gap() -> None:
    schedule = cron("30 2 * * *").model_copy(update={"timezone": "America/New_York"})
    start, end = datetime(2027, 3, 14, tzinfo=UTC), datetime(2027, 3, 15, tzinfo=UTC)
    assert fired(schedule, start, end) == [datetime(2027, 3, 14, 7, tzinfo=UTC)]


def test_a_day_of_a_list_with_last_fires_in_every_month() -> None:
    schedule = cron("0 6 31,L * *")
    start, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 6, 30, 23, tzinfo=UTC)
    ends = [(1, 31), (2, 28), (3, 31), (4, 30), (5, 31), (6, 30)]
    assert fired(schedule, start, end) == [
        datetime(2027, month, day, 6, tzinfo=UTC) for month, day in ends
    ]


@pytest.fixture
def newer_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's code for Python 3.13 and later, which does not use pendulum."""
    monkeypatch.setattr(prefect_schedules, "sys", SimpleNamespace(version_info=(3, 13)))
    monkeypatch.setattr(prefect_schedules, "_WHENEVER_DELTA_TYPES", (), raising=False)


@pytest.mark.usefixtures("newer_python")
@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Africa/Cairo"])
def test_prefect_fires_at_the_slots_in_newer_pythons_too(zone: str) -> None:
    start, end = around(CHANGES_FORWARD[zone])
    for expression in ("15 0,1,2,23 * * *", "40 23 31,L * *"):
        schedule = ScheduleSpec(type="cron", expression=expression, timezone=zone)
        assert fired(schedule, start, end) == due(schedule, start, end)


@pytest.mark.usefixtures("newer_python")
def test_prefect_fires_at_every_slot_of_an_interval_in_newer_pythons_too() -> None:
    (document,) = build_native_schedules(every(90)).values()
    interval = timedelta(seconds=document.pop("interval"))
    prefect = IntervalSchedule(interval=interval, **document)
    found = asyncio.run(prefect.get_dates(n=5, start=START))
    assert list(found) == expected(every(90), 5)


def test_where_changes_follow_no_rule_no_slot_is_missed() -> None:
    schedule = cron("30 2 * * *").model_copy(update={"timezone": "Africa/Casablanca"})
    for year in range(2026, 2036):
        start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 31, tzinfo=UTC)
        assert set(due(schedule, start, end)) <= set(fired(schedule, start, end))
