"""Local time: cron expressions, daily windows, and what a clock change does to them.

Everything here is in *wall times*: naive datetimes as a clock on the wall of some zone shows them.
``instant`` turns one into the moment it stands for.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_REFERENCE = datetime.combine(date(2024, 1, 1), time())
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_DAY = 24 * 60
_COMMON_DAYS = frozenset(range(1, 29))
"""Days that every month has."""
_STEP_OF_ONE = re.compile(r"(?:^|,)(\w+)-\1/")
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment (aware UTC) that a wall time stands for.

    A time that the clock skips stands for the first moment after the gap; one that it shows twice
    for the first of the two.
    """
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    low, high = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), moment
    offset = high.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high


def cron_fault(expression: str) -> str:
    """Why a cron expression cannot be used; empty where it can.

    Refused, besides what is malformed or never fires: forms that cron implementations read
    differently, because the schedule is also given to Prefect, which reads it with another one.
    """
    parts = expression.upper().split()
    if len(parts) != 5:
        detail = f"it has {len(parts)} of 5 fields" if parts else "it is empty"
        return f"is not a cron expression: {detail} (minute hour day month weekday)"
    for index, name in enumerate(_FIELDS):
        alone = ["*"] * 5
        alone[index] = parts[index]
        try:
            CronSim(" ".join(alone), _REFERENCE)
        except (CronSimError, ValueError):
            return (
                f"is not a cron expression: {parts[index][:40]!r} is no {name}{_hint(parts[index])}"
            )
    if fault := _ambiguity(parts):
        return fault
    any_weekday = " ".join([*parts[:4], "*"])
    fires = next_cron_wall(any_weekday, _REFERENCE) and next_cron_wall(expression, _REFERENCE)
    return "" if fires else "never occurs: there is no such day"


def _ambiguity(parts: list[str]) -> str:
    day, weekday = parts[2], parts[4]
    if any(_STEP_OF_ONE.search(part) for part in parts):
        return "steps through a range of one value; write the value alone"
    if "W" in day or "L" in weekday:
        return "uses a form (LW, 5L) that Prefect's scheduler does not support; list the days"
    special = "#" in weekday or "L" in day or day.startswith("*") or weekday.startswith("*")
    if day != "*" and weekday != "*" and special:
        return "combines day of month and day of week in a way that crons read differently"
    return ""


def _hint(part: str) -> str:
    ends = part.split("-")
    if len(ends) == 2 and all(end in _DAYS for end in ends):
        return " (the week begins on Sunday; write for example SAT,SUN)"
    return ""


def next_cron_wall(expression: str, after: datetime) -> datetime | None:
    """The first wall time of the expression strictly after another; None where there is none."""
    try:
        return next(CronSim(expression, after), None)
    except (CronSimError, OverflowError):
        return None


def portable_crons(expression: str) -> list[str]:
    """Expressions with the same slots, without what croniter, Prefect's reader, gets wrong.

    It takes ``10-10`` for every value and ``7/5`` for a range that begins again at zero; and where
    a month lacks one of the days ``1,30`` it skips the other one in the month after.
    """
    parts = [_portable(part, index) for index, part in enumerate(expression.upper().split())]
    special = parts[2] == "*" or "L" in parts[2] or parts[4] != "*"
    days = set() if special else _values(parts[2].split(","), 2)
    common, rare = sorted(days & _COMMON_DAYS), sorted(days - _COMMON_DAYS)
    if not (common and rare) or len(days) == 31:
        return [" ".join(parts)]
    apart = [" ".join([*parts[:2], _listed(some), *parts[3:]]) for some in (common, rare)]
    return [cron for cron in apart if next_cron_wall(cron, _REFERENCE)]


def _portable(field: str, index: int) -> str:
    terms = field.split(",")
    if "#" in field or "L" in field or not any(_is_fragile(term) for term in terms):
        return field
    return _listed(sorted(_values(terms, index)))


def _is_fragile(term: str) -> bool:
    base, _, step = term.partition("/")
    ends = base.split("-")
    return (step != "" and base != "*") or (len(ends) == 2 and ends[0] == ends[1])


def _values(terms: list[str], index: int) -> set[int]:
    low, high = _RANGES[index]
    top = 7 if index == 4 else high
    values: set[int] = set()
    for term in terms:
        base, _, step = term.partition("/")
        first, _, last = base.partition("-")
        start = low if first == "*" else _number(first, index)
        end = _number(last, index) if last else top if step or first == "*" else start
        values.update(range(start, end + 1, int(step or 1)))
    return {value % 7 for value in values} if index == 4 else values


def _number(text: str, index: int) -> int:
    if index == 3 and text in _MONTHS:
        return _MONTHS.index(text) + 1
    return _DAYS.index(text) if index == 4 and text in _DAYS else int(text)


def daily_times(start: str, end: str, minutes: int) -> list[time]:
    """Every ``minutes`` from ``start`` to ``end`` ("HH:MM", both included), in order of the day.

    A window that ends before it starts goes on past midnight.
    """
    first, last = minute_of_day(start), minute_of_day(end)
    if last < first:
        last += _DAY
    return [
        time(minute // 60, minute % 60)
        for minute in sorted(minute % _DAY for minute in range(first, last + 1, minutes))
    ]


def next_window_wall(times: list[time], after: datetime) -> datetime | None:
    """The first of the daily times strictly after a wall time; None only at the end of time."""
    for candidate in times:
        wall = datetime.combine(after.date(), candidate)
        if wall > after:
            return wall
    try:
        return datetime.combine(after.date() + timedelta(days=1), times[0])
    except OverflowError:
        return None


def window_crons(times: list[time]) -> list[str]:
    """Cron expressions that together fire at exactly these times of day, as few as is simple."""
    by_minute: dict[int, list[int]] = {}
    by_hour: dict[int, list[int]] = {}
    for moment in times:
        by_minute.setdefault(moment.minute, []).append(moment.hour)
        by_hour.setdefault(moment.hour, []).append(moment.minute)
    if len(by_minute) <= len(by_hour):
        return [f"{minute} {_listed(hours)} * * *" for minute, hours in by_minute.items()]
    return [f"{_listed(minutes)} {hour} * * *" for hour, minutes in by_hour.items()]


def _listed(values: list[int]) -> str:
    return ",".join(str(value) for value in values)


def minute_of_day(text: str) -> int:
    """Minutes since midnight of "HH:MM"."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
