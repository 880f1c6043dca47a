"""Local time: cron expressions, daily windows, and the effect of clock changes on them.

Functions here use *local times*: naive datetimes in some time zone. ``instant`` converts one to a
moment in UTC.
"""

from __future__ import annotations

import re
from copy import copy
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter  # type: ignore[import-untyped]  # it ships no types

_REFERENCE = datetime.combine(date(2024, 1, 1), time())
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_DAY = 24 * 60
_COMMON_DAYS = frozenset(range(1, 29))
"""The days of the month that every month has."""
_LONG_MONTHS = frozenset({1, 3, 5, 7, 8, 10, 12})
_FEBRUARY = 2
_LEAP_DAY = 29
_NUMBERS = re.compile(r"[0-9]{1,4}\Z")
_NTH_LAST = re.compile(r"\dL")
_NTH = re.compile(r"(.+)#([1-5])\Z")
_STEP_OF_ONE = re.compile(r"(?:^|,)(\w+)-\1/")
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Convert a local time to the moment (aware UTC) that it stands for.

    A time that a clock change skips stands for the first moment after the gap; a time that occurs
    twice stands for its first occurrence.
    """
    moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local:
        return moment
    low, high = local.replace(tzinfo=zone, fold=1).astimezone(UTC), moment
    offset = high.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high


def cron_fault(expression: str) -> str:
    """Return why a cron expression cannot be used; empty if it can.

    Besides malformed expressions and those that never fire, this refuses forms that cron
    implementations read differently, because Prefect reads the schedule with another
    implementation.
    """
    parts = expression.upper().split()
    if len(parts) != 5:
        detail = f"it has {len(parts)} of 5 fields" if parts else "it is empty"
        return f"is not a cron expression: {detail} (minute hour day month weekday)"
    if "W" in parts[2] or _NTH_LAST.search(parts[4]):
        return "uses a form (LW, 5L) that Prefect's scheduler does not know; list the days"
    for index, name in enumerate(_FIELDS):
        if not all(_is_term(term, index) for term in parts[index].split(",")):
            return (
                f"is not a cron expression: {parts[index][:40]!r} is no {name}{_hint(parts[index])}"
            )
    if fault := _ambiguity(parts):
        return fault
    any_weekday = " ".join([*parts[:4], "*"])
    fires = next_cron_time(any_weekday, _REFERENCE) and next_cron_time(expression, _REFERENCE)
    return "" if fires else "never occurs: there is no such day"


def _is_term(term: str, index: int) -> bool:
    """Return True if a term (``*``, ``5``, ``1-5``, ``*/2``, ``L``, ``5#3``) fits this field."""
    if index == 2 and term == "L":
        return True
    if index == 4 and (nth := _NTH.match(term)):
        return _is_value(nth[1], index)
    base, slash, step = term.partition("/")
    if slash and not (_NUMBERS.match(step) and int(step)):
        return False
    first, dash, last = base.partition("-")
    if first == "*":
        return not dash
    if not (_is_value(first, index) and (not dash or _is_value(last, index))):
        return False
    return not dash or _number(first, index) <= _number(last, index)


def _is_value(text: str, index: int) -> bool:
    if text in {3: _MONTHS, 4: _DAYS}.get(index, ()):
        return True
    low, high = _RANGES[index]
    top = 7 if index == 4 else high
    return _NUMBERS.match(text) is not None and low <= int(text) <= top


def _ambiguity(parts: list[str]) -> str:
    day, weekday = parts[2], parts[4]
    if any(_STEP_OF_ONE.search(part) for part in parts):
        return "steps through a range of one value; write the value alone"
    special = "#" in weekday or "L" in day or day.startswith("*") or weekday.startswith("*")
    if day != "*" and weekday != "*" and special:
        return "combines day of month and day of week in a way that crons read differently"
    return ""


def _hint(part: str) -> str:
    ends = part.split("-")
    if len(ends) == 2 and all(end in _DAYS for end in ends):
        return " (the week begins on Sunday; write for example SAT,SUN)"
    return ""


def next_cron_time(expression: str, after: datetime) -> datetime | None:
    """Return the first local time of the expression strictly after another; None if there is none.

    croniter finds it. It gets local times only, so that its rules for clock changes never apply,
    and the expressions of ``portable_crons``, so that Prefect finds the same times.
    """
    found = (_next_local(cron, after) for cron in portable_crons(expression))
    return min((local for local in found if local is not None), default=None)


def _next_local(cron: str, after: datetime) -> datetime | None:
    try:
        local: datetime = copy(_engine(cron)).get_next(datetime, start_time=after)
    except (CroniterError, OverflowError, ValueError):
        return None
    return local


@lru_cache(maxsize=1024)
def _engine(cron: str) -> Any:
    """Parse once; a croniter object has a position, so that each caller takes a copy."""
    return croniter(cron, _REFERENCE)


def portable_crons(expression: str) -> list[str]:
    """Return expressions that together have the same slots, in forms that all croniters read alike.

    Prefect contains an old version. It reads ``10-10`` as every value and ``7/5`` as a range that
    begins again at zero. If a month lacks one of the days ``1,30``, it skips the other one in the
    next month; of ``31,L`` it drops the ``L``. No two of the expressions fire at the same time.
    """
    return list(_portable_crons(expression.upper()))


@lru_cache(maxsize=1024)
def _portable_crons(expression: str) -> tuple[str, ...]:
    minute, hour, day, month, weekday = (
        _portable(part, index) for index, part in enumerate(expression.split())
    )
    if "," in day and "L" in day:
        pairs = _pairs_with_last(day, month)
    else:
        pairs = [(days, month) for days in ([day] if weekday != "*" else _split_rare(day))]
    crons = [
        f"{minute} {hour} {days} {months} {names}"
        for days, months in pairs
        for names in _split_nth(weekday)
    ]
    if len(crons) == 1:
        return tuple(crons)
    return tuple(cron for cron in crons if _next_local(cron, _REFERENCE))


def _split_rare(day: str) -> list[str]:
    """Split the days that some months lack from those that every month has."""
    if day in ("*", "L"):
        return [day]
    days = _values(day.split(","), 2)
    common, rare = sorted(days & _COMMON_DAYS), sorted(days - _COMMON_DAYS)
    if not (common and rare) or len(days) == 31:
        return [day]
    return [_listed(common), _listed(rare)]


def _pairs_with_last(day: str, month: str) -> list[tuple[str, str]]:
    """Split days that include ``L`` by length of month, with the last day as a number.

    Returns pairs of day and month fields. February keeps ``L``, unless the days include the 28th.
    """
    days = _values([term for term in day.split(",") if term != "L"], 2)
    months = _values(month.split(","), 3)
    pairs = []
    for some, last in ((_LONG_MONTHS, 31), (frozenset(range(1, 13)) - _LONG_MONTHS, 30)):
        if found := sorted(months & some - {_FEBRUARY}):
            pairs.append((_listed(sorted({*days, last} & set(range(last + 1)))), _listed(found)))
    if _FEBRUARY in months:
        common = sorted(days & _COMMON_DAYS)
        pairs += [(_listed(common), "2")] if common else []
        pairs.append((str(_LEAP_DAY) if _LEAP_DAY - 1 in days else "L", "2"))
    return pairs


def _split_nth(weekday: str) -> list[str]:
    """Split weekdays such as ``1,5#3``: croniter accepts either plain or numbered ones."""
    terms = weekday.split(",")
    plain = [term for term in terms if "#" not in term]
    if not plain or len(plain) == len(terms):
        return [weekday]
    every = _values(plain, 4)
    nth = [term for term in terms if "#" in term and not _values([term[:-2]], 4) <= every]
    return [_listed(sorted(every)), *([",".join(nth)] if nth else [])]


def _portable(field: str, index: int) -> str:
    terms = field.split(",")
    if "#" in field or "L" in field or not any(_is_fragile(term) for term in terms):
        return field
    return _listed(sorted(_values(terms, index)))


def _is_fragile(term: str) -> bool:
    base, _, step = term.partition("/")
    ends = base.split("-")
    return (step != "" and base != "*") or (len(ends) == 2 and ends[0] == ends[1])


def cron_values(field: str, index: int) -> frozenset[int]:
    """Return the numbers in one field (0: minute … 4: weekday, Sunday is 0), without L or #."""
    return frozenset(_values(field.split(","), index))


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
    """List the times every ``minutes`` from ``start`` to ``end`` ("HH:MM", both included).

    They are in order of the day. A window that ends before it starts continues past midnight.
    """
    first, last = minute_of_day(start), minute_of_day(end)
    if last < first:
        last += _DAY
    return [
        time(minute // 60, minute % 60)
        for minute in sorted(minute % _DAY for minute in range(first, last + 1, minutes))
    ]


def next_window_time(times: list[time], after: datetime) -> datetime | None:
    """Return the first daily time strictly after a local time; None only at the end of time."""
    for candidate in times:
        local = datetime.combine(after.date(), candidate)
        if local > after:
            return local
    try:
        return datetime.combine(after.date() + timedelta(days=1), times[0])
    except OverflowError:
        return None


def window_crons(times: list[time]) -> list[str]:
    """Return cron expressions that together fire at exactly these times of day; only few."""
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
    """Return the minutes since midnight of "HH:MM"."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
