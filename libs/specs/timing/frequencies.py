"""The data frequency of a source, and the newest date that it must have at a slot; pure.

A frequency is ``daily``, ``weekly`` (on Friday) or ``weekly:MON``, ``monthly``, ``quarterly`` or
``irregular``. With an exchange calendar, a day counts once its session has closed; without one, a
weekday counts once it is over in the schedule's time zone. Months and quarters are dated by their
last such day; so is a week whose day is not a session, by the session before it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from prefect_instances.libs.specs.timing.schedules import ScheduleSpec
from prefect_instances.libs.specs.timing.sessions import session_hours

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
FREQUENCIES = ("daily", "weekly", "monthly", "quarterly", "irregular")
_LOOK_BACK = 200
"""In days: longer than a quarter with any sequence of holidays."""


def frequency_fault(frequency: str) -> str:
    """Return why a frequency is invalid; empty if it is valid."""
    name, _, day = frequency.partition(":")
    if name not in FREQUENCIES:
        return f"{frequency!r} is not one of {', '.join(FREQUENCIES)}"
    if day and (name != "weekly" or day.upper() not in WEEKDAYS):
        return f"{frequency!r}: only weekly can have a day, one of {', '.join(WEEKDAYS)}"
    return ""


def expected_data_date(frequency: str, schedule: ScheduleSpec, slot: datetime) -> date | None:
    """Return the newest date that a source of this frequency has at a slot.

    None for an irregular source. Raises ValueError for an invalid frequency.
    """
    if fault := frequency_fault(frequency):
        raise ValueError(fault)
    name, _, day = frequency.partition(":")
    if name == "irregular":
        return None
    closed = _closed_days(schedule, slot)
    return next((one for one in closed if _ends_period(name, day, one, schedule)), None)


def _closed_days(schedule: ScheduleSpec, slot: datetime) -> list[date]:
    """Return the days with data that were over at the slot, newest first."""
    local = slot.astimezone(ZoneInfo(schedule.timezone)).date()
    days = (local + timedelta(days=1) - timedelta(days=back) for back in range(_LOOK_BACK))
    return [day for day in days if _closed(schedule, day, slot, local)]


def _closed(schedule: ScheduleSpec, day: date, slot: datetime, today: date) -> bool:
    if not schedule.calendar:
        return day < today and day.weekday() < 5
    hours = session_hours(schedule.calendar, day)
    return hours is not None and hours[1] <= slot


def _ends_period(name: str, weekday: str, day: date, schedule: ScheduleSpec) -> bool:
    """Return True if the day is the last with data in its week, month or quarter."""
    if name == "daily":
        return True
    following = _next_with_data(schedule, day)
    return _PERIODS[name](day, weekday) != _PERIODS[name](following, weekday)


def _next_with_data(schedule: ScheduleSpec, day: date) -> date:
    day += timedelta(days=1)
    while not _has_data(schedule, day):
        day += timedelta(days=1)
    return day


def _has_data(schedule: ScheduleSpec, day: date) -> bool:
    if not schedule.calendar:
        return day.weekday() < 5
    return session_hours(schedule.calendar, day) is not None


def _week(day: date, weekday: str) -> object:
    """Return the last day, which is the weekday, of the week that contains the day."""
    end = WEEKDAYS.index((weekday or "FRI").upper())
    return day + timedelta(days=(end - day.weekday()) % 7)


def _month(day: date, weekday: str) -> object:
    del weekday
    return day.year, day.month


def _quarter(day: date, weekday: str) -> object:
    del weekday
    return day.year, (day.month - 1) // 3


_PERIODS: dict[str, Callable[[date, str], object]] = {
    "weekly": _week,
    "monthly": _month,
    "quarterly": _quarter,
}
