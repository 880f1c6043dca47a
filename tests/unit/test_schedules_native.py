"""Prefect's own scheduler fires at the slots of our schedules."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule
from pydantic import ValidationError

from prefect_instances.libs.specs import INTERVAL_ANCHOR, ScheduleSpec, native_crons, slots

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
        CronSchedule(cron=expression, timezone=schedule.timezone)
        for expression in native_crons(schedule)
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
    assert native_crons(schedule) == crons
