"""Cron expressions for Prefect, whose rule for skipped local times differs from ours.

A time that a clock change skips is due at the first moment after the gap. Prefect fires it later,
by the length of the gap: 02:30 at 03:30, not at 03:00. Such times are left out on the day of the
change, and an expression for that day alone fires at the end of the gap. Most zones change on a
rule such as "the Sunday from the 8th to the 14th of March", which day and weekday together express
(``both``). If the dates follow no rule (Morocco: the moon), nothing is left out: Prefect fires at
the end of the gap, and once more at its own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from prefect_instances.libs.specs.timing.local_time import cron_values

_YEARS = range(2026, 2040)
"""The years whose clock changes are examined."""

_DAY = timedelta(days=1)
_WEEK = 7
_EVERY_DAY = frozenset(range(1, 32))
_SHORT_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}

Days = Mapping[int, frozenset[int]]
"""Days of the month by weekday (Sunday is 0)."""


@dataclass(frozen=True, slots=True)
class NativeCron:
    """One cron expression; with ``both``, day of month and weekday must both match."""

    expression: str
    both: bool = False


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A forward clock change, which skips the times from ``start`` to before ``end``.

    It occurs in ``month`` on a day of ``days`` that is a ``weekday``. ``exact``: on no other days.
    """

    month: int
    days: frozenset[int]
    weekday: int
    start: time
    end: time
    overnight: bool
    exact: bool


@dataclass(frozen=True, slots=True)
class _Cron:
    """A cron expression with its times as numbers and its days as text."""

    minutes: frozenset[int]
    hours: frozenset[int]
    day: str
    months: frozenset[int]
    weekday: str

    def skipped(self, change: ClockChange) -> frozenset[time]:
        """Return the expression's times of day that the change skips."""
        times = (time(hour, minute) for hour in self.hours for minute in self.minutes)
        return frozenset(one for one in times if _is_skipped(one, change))

    def days(self, month: int) -> Days:
        """Return the expression's days that a month has, by weekday."""
        last = _SHORT_MONTHS.get(month, max(_EVERY_DAY))
        days = _days_of(self.day, month) & frozenset(range(1, last + 1))
        if self.weekday == "*":
            return dict.fromkeys(range(_WEEK), days)
        named = _weekdays_of(self.weekday)
        others = days if self.day != "*" else frozenset()
        return {one: named.get(one, frozenset()) | others for one in range(_WEEK)}

    def timed(self, hours: Iterable[int], minutes: Iterable[int]) -> str:
        """Return the expression with other times."""
        months = "*" if len(self.months) == len(range(12)) else _listed(self.months)
        return f"{_listed(minutes)} {_listed(hours)} {self.day} {months} {self.weekday}"


def split_at_changes(crons: list[str], zone: str) -> list[NativeCron]:
    """Return expressions that fire in Prefect exactly when ``crons`` are due in the zone.

    ``crons`` are returned unchanged if Prefect fires as we do: if none of their times is ever
    skipped, or if the later times of a skipped one are slots as well.
    """
    read = [_read(cron) for cron in crons]
    changes = [one for one in changes_forward(zone) if _differs(read, one)]
    if not changes:
        return [NativeCron(cron) for cron in crons]
    exact = [one for one in changes if one.exact]
    pieces = [
        piece
        for text, cron in zip(crons, read, strict=True)
        for piece in (_without(cron, exact) if _meets(cron, exact) else [NativeCron(text)])
    ]
    ends = [end for change in changes if (end := _at_end(read, change)) is not None]
    return list(dict.fromkeys([*pieces, *ends]))


@lru_cache(maxsize=256)
def changes_forward(zone: str) -> tuple[ClockChange, ...]:
    """Return the zone's forward clock changes, one for each rule or month of the year."""
    months: dict[int, list[tuple[datetime, datetime]]] = {}
    for gap in _gaps(ZoneInfo(zone)):
        months.setdefault(gap[0].month, []).append(gap)
    whole = [_changes(month, gaps, exact=True) for month, gaps in sorted(months.items())]
    if all(len(found) == 1 for found in whole) and all(
        _follows(found[0], months[found[0].month]) for found in whole
    ):
        return tuple(found[0] for found in whole)
    return tuple(
        change for month, gaps in months.items() for change in _changes(month, gaps, exact=False)
    )


def _gaps(zone: ZoneInfo) -> Iterable[tuple[datetime, datetime]]:
    """Yield the first skipped local time and the first one after it, for each forward change."""
    moment = datetime(_YEARS[0], 1, 1, tzinfo=UTC)
    before = moment.astimezone(zone).utcoffset() or timedelta()
    while moment.year in _YEARS:
        moment += _DAY
        after = moment.astimezone(zone).utcoffset() or timedelta()
        if after > before:
            yield _gap(zone, moment, after - before)
        before = after


def _gap(zone: ZoneInfo, moment: datetime, length: timedelta) -> tuple[datetime, datetime]:
    """Find the gap of ``length`` in the day before ``moment``, to the minute."""
    low, high = moment - _DAY, moment
    offset = high.astimezone(zone).utcoffset()
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    end = high.astimezone(zone).replace(tzinfo=None)
    return end - length, end


def _changes(
    month: int, gaps: list[tuple[datetime, datetime]], *, exact: bool
) -> list[ClockChange]:
    """Return one change for each weekday and time of day among the gaps of a month."""
    groups: dict[tuple[int, time, time, bool], set[int]] = {}
    for start, end in gaps:
        key = (start.isoweekday() % _WEEK, start.time(), end.time(), end.date() > start.date())
        groups.setdefault(key, set()).add(start.day)
    return [
        ClockChange(
            month, _week_of(days) if exact else frozenset(days), weekday, start, end, late, exact
        )
        for (weekday, start, end, late), days in groups.items()
    ]


def _week_of(days: set[int]) -> frozenset[int]:
    """Return the seven days of the month that end with the last of these, as clock rules do."""
    last = max(*days, _WEEK)
    return frozenset(range(last - _WEEK + 1, last + 1))


def _follows(change: ClockChange, gaps: list[tuple[datetime, datetime]]) -> bool:
    """Return True if the rule matches the days of the gaps and no other days, in every year."""
    named = {
        day
        for year in _YEARS
        for number in change.days
        if (day := date(year, change.month, number)).isoweekday() % _WEEK == change.weekday
    }
    next_month = change.overnight and max(change.days) + 1 > _SHORT_MONTHS.get(change.month, 31)
    return named == {start.date() for start, _ in gaps} and not next_month


def _differs(crons: list[_Cron], change: ClockChange) -> bool:
    """Return True if Prefect would fire otherwise than once at the end of the gap."""
    hit = [cron for cron in crons if change.month in cron.months and cron.skipped(change)]
    if not hit:
        return False
    if len(crons) > 1 or change.overnight:
        return True
    shift = datetime.combine(date.min, change.end) - datetime.combine(date.min, change.start)
    late = {(datetime.combine(date.min, one) + shift).time() for one in hit[0].skipped(change)}
    return any(
        one.hour not in hit[0].hours or one.minute not in hit[0].minutes
        for one in (late | {change.end}) - (late & {change.end})
    )


def _meets(cron: _Cron, changes: list[ClockChange]) -> bool:
    return any(one.month in cron.months and cron.skipped(one) for one in changes)


def _without(cron: _Cron, changes: list[ClockChange]) -> list[NativeCron]:
    """Return the expression without its skipped times on the days of the changes."""
    skipped = frozenset[time]().union(*(cron.skipped(one) for one in changes))
    kept = [NativeCron(cron.timed(hours, minutes)) for hours, minutes in _grouped(cron, skipped)]
    affected = {one.month for one in changes if cron.skipped(one)} & cron.months
    for hours, minutes in _by_hour(skipped):
        others = cron.months - affected
        if rest := frozenset(one for one in others if any(cron.days(one).values())):
            other = _Cron(cron.minutes, cron.hours, cron.day, rest, cron.weekday)
            kept.append(NativeCron(other.timed(hours, minutes)))
        for month in sorted(affected):
            days = dict(cron.days(month))
            for change in changes:
                if change.month == month and cron.skipped(change):
                    days[change.weekday] -= change.days
            kept += _dated(hours, minutes, month, days)
    return kept


def _at_end(crons: list[_Cron], change: ClockChange) -> NativeCron | None:
    """Return the expression for the end of the gap; None if another slot is at that time anyway."""
    due: frozenset[int] = frozenset()
    regular: frozenset[int] = frozenset()
    ahead = 1 if change.overnight else 0
    weekday = (change.weekday + ahead) % _WEEK
    for cron in crons:
        if change.month not in cron.months:
            continue
        if cron.skipped(change):
            due |= cron.days(change.month)[change.weekday] & change.days
        if change.end.hour in cron.hours and change.end.minute in cron.minutes:
            regular |= frozenset(one - ahead for one in cron.days(change.month)[weekday])
    days = frozenset(one + ahead for one in due - regular)
    found = _dated([change.end.hour], [change.end.minute], change.month, {weekday: days})
    return found[0] if found else None


def _dated(
    hours: Iterable[int], minutes: Iterable[int], month: int, days: Days
) -> list[NativeCron]:
    """Return expressions for the days of one month; weekdays with equal days share one."""
    groups: dict[frozenset[int], list[int]] = {}
    for weekday, some in sorted(days.items()):
        groups.setdefault(some, []).append(weekday)
    times = f"{_listed(minutes)} {_listed(hours)}"
    return [
        NativeCron(f"{times} {_days_text(some)} {month} {_weekdays_text(names)}", both=True)
        for some, names in groups.items()
        if some
    ]


def _grouped(cron: _Cron, skipped: frozenset[time]) -> list[tuple[list[int], list[int]]]:
    """Return (hours, minutes) of the times that are never skipped."""
    times = {time(hour, minute) for hour in cron.hours for minute in cron.minutes}
    return _by_hour(times - skipped)


def _by_hour(times: Iterable[time]) -> list[tuple[list[int], list[int]]]:
    """Return (hours, minutes) that together are these times; hours with equal minutes share one."""
    minutes: dict[int, list[int]] = {}
    for one in sorted(times):
        minutes.setdefault(one.hour, []).append(one.minute)
    hours: dict[tuple[int, ...], list[int]] = {}
    for hour, some in minutes.items():
        hours.setdefault(tuple(some), []).append(hour)
    return [(some, list(found)) for found, some in hours.items()]


def _is_skipped(one: time, change: ClockChange) -> bool:
    return one >= change.start and (change.overnight or one < change.end)


def _read(cron: str) -> _Cron:
    minute, hour, day, month, weekday = cron.split()
    return _Cron(cron_values(minute, 0), cron_values(hour, 1), day, cron_values(month, 3), weekday)


def _days_of(day: str, month: int) -> frozenset[int]:
    if day == "L":
        return frozenset({_SHORT_MONTHS.get(month, 31)})
    return cron_values(day, 2)


def _weekdays_of(weekday: str) -> dict[int, frozenset[int]]:
    """Return the days by weekday for a field with names and numbers, or with ``5#3``."""
    found: dict[int, frozenset[int]] = {}
    for term in weekday.split(","):
        name, numbered, nth = term.partition("#")
        last = int(nth) * _WEEK if numbered else 0
        days = frozenset(range(last - _WEEK + 1, last + 1)) & _EVERY_DAY if nth else _EVERY_DAY
        for one in cron_values(name, 4):
            found[one] = found.get(one, frozenset()) | days
    return found


def _days_text(days: frozenset[int]) -> str:
    return "*" if days == _EVERY_DAY else _listed(days)


def _weekdays_text(weekdays: list[int]) -> str:
    return "*" if len(weekdays) == _WEEK else _listed(weekdays)


def _listed(values: Iterable[int]) -> str:
    """Return a list for a cron field; three or more consecutive numbers become a range."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs
    )
