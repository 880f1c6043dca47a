"""Schedules as people write them: what is accepted, how it is kept, and the wait for a retry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from prefect_instances.libs.specs import ScheduleSpec, problems_of, retry_delay

ACCEPTED: dict[str, dict[str, Any]] = {
    "nothing but requests": {},
    "every weekday at six": {"type": "cron", "expression": "0 6 * * 1-5"},
    "names and lower case": {"type": "cron", "expression": "0 6 * jan,Feb mon-fri"},
    "last day of the month": {"type": "cron", "expression": "0 18 L * *"},
    "third Friday": {"type": "cron", "expression": "0 18 * * 5#3"},
    "leap day": {"type": "cron", "expression": "0 0 29 2 *"},
    "leap day of an exchange": {"type": "cron", "expression": "0 6 29 2 *", "calendar": "XNYS"},
    "the 15th or a Monday": {"type": "cron", "expression": "0 6 15 * 1"},
    "sessions of an exchange by its alias": {
        "type": "cron",
        "expression": "0 6 * * *",
        "calendar": "NYSE",
    },
    "every minute": {"type": "interval", "minutes": 1},
    "minutes as text": {"type": "interval", "minutes": "15"},
    "a window": {
        "type": "interval",
        "minutes": 30,
        "window_start": "9:30",
        "window_end": "16:00",
        "calendar": "XNYS",
        "timezone": "America/New_York",
    },
    "a form left as it was": {
        "type": "cron",
        "expression": "0 6 * * *",
        "minutes": 0,
        "window_start": "",
        "window_end": "",
        "calendar": "",
    },
    "a window across midnight": {
        "type": "interval",
        "minutes": 30,
        "window_start": "22:00",
        "window_end": "02:00",
    },
    "half an hour after the close": {
        "type": "cron",
        "expression": "@close+30",
        "calendar": "XNYS",
    },
    "half an hour after the first close of a month": {
        "type": "cron",
        "expression": "@close+30 monthly",
        "calendar": "XNYS",
    },
    "a time zone without a schedule": {"type": "manual", "timezone": "Asia/Tokyo"},
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
def test_a_sensible_schedule_is_accepted_and_kept(fields: dict[str, Any]) -> None:
    schedule = ScheduleSpec.model_validate(fields)
    assert ScheduleSpec.model_validate(schedule.model_dump()) == schedule
    assert ScheduleSpec.model_validate(schedule.document()) == schedule


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert ScheduleSpec().model_dump() == {
        "type": "manual",
        "expression": "",
        "minutes": 0,
        "timezone": "UTC",
        "calendar": "",
        "window_start": "",
        "window_end": "",
        "grace_minutes": 60,
        "enabled": True,
        "max_retries": 0,
        "backoff": "none",
        "backoff_seconds": 30,
        "backoff_jitter": 0,
    }


def test_times_of_day_are_kept_with_two_digits() -> None:
    schedule = ScheduleSpec.model_validate(ACCEPTED["a window"])
    assert (schedule.window_start, schedule.window_end) == ("09:30", "16:00")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"expression": "0 6 * * *"}, "write `type: cron`"),
        ({"minutes": 5}, "write `type: interval`"),
        ({"type": "cron", "expression": "0 0 31 2 *"}, "never occurs"),
        ({"type": "cron", "expression": "0 6 * * SAT-SUN"}, "SAT,SUN"),
        ({"type": "cron", "expression": "0 6 * *"}, "4 of 5 fields"),
        ({"type": "cron", "expression": "0 24 * * *"}, "'24' is no hour"),
        ({"type": "cron", "expression": "0 6 * * 6", "calendar": "XNYS"}, "session of XNYS"),
        ({"type": "cron", "expression": "@close+30"}, "are those of an exchange"),
        ({"type": "cron", "expression": "@noon", "calendar": "XNYS"}, "write @close"),
        ({"type": "cron", "expression": "@open-1441", "calendar": "XNYS"}, "more than 1440"),
        ({"type": "cron", "expression": "@close yearly", "calendar": "XNYS"}, "weekly or monthly"),
        (
            {"type": "interval", "minutes": 5, "window_start": "9:00", "window_end": "09:00"},
            "leave both out",
        ),
        ({"type": "crom"}, "did you mean 'cron'"),
        ({"type": "cron", "expression": "0 6 * * *", "calendar": "nyse"}, "did you mean 'NYSE'"),
    ],
)
def test_the_message_says_what_would_be_right(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ScheduleSpec.model_validate(fields)
    assert said in str(problems_of(caught.value)[0])


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        ("none", [30, 30, 30, None, None]),
        ("linear", [30, 60, 90, None, None]),
        ("exponential", [30, 60, 120, None, None]),
    ],
)
def test_the_wait_before_a_retry_grows_as_the_back_off_says(
    backoff: Any, seconds: list[int | None]
) -> None:
    schedule = ScheduleSpec(max_retries=3, backoff=backoff)
    waits = [retry_delay(schedule, attempt) for attempt in range(1, 6)]
    assert waits == [None if s is None else timedelta(seconds=s) for s in seconds]


def test_without_retries_there_is_no_wait() -> None:
    assert retry_delay(ScheduleSpec(), 1) is None


def test_a_retry_never_waits_longer_than_a_day() -> None:
    schedule = ScheduleSpec(max_retries=100, backoff="exponential", backoff_seconds=86_400)
    assert retry_delay(schedule, 100) == timedelta(days=1)


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_count_from_one(attempt: int) -> None:
    with pytest.raises(ValueError, match="count from 1"):
        retry_delay(ScheduleSpec(max_retries=1), attempt)


def test_a_spread_lengthens_each_wait_by_up_to_its_share_and_always_alike() -> None:
    schedule = ScheduleSpec(max_retries=3, backoff_seconds=1000, backoff_jitter=50)
    waits = [retry_delay(schedule, 1, f"run {number}") for number in range(200)]
    seconds = [wait.total_seconds() for wait in waits if wait is not None]
    assert len(seconds) == 200
    assert min(seconds) >= 1000
    assert max(seconds) <= 1500
    assert max(seconds) - min(seconds) > 400
    assert retry_delay(schedule, 1, "run 7") == waits[7]
