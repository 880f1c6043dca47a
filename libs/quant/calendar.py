"""Bars: on which of them a portfolio is decided, and how many make a year."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise

DAYS_A_YEAR = 365.25

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")


class Frequency(StrEnum):
    """How often a portfolio is rebalanced."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


def bars_per_year(dates: Sequence[date]) -> float:
    """Return the number of bars in a year, from the calendar days between first and last bar.

    ``dates`` ascend. About 252 for the sessions of an exchange, 365.25 for every day, 52.2 for
    weeks, 12 for months; NaN for fewer than two bars.
    """
    if len(dates) < 2:
        return math.nan
    return (len(dates) - 1) * DAYS_A_YEAR / (dates[-1] - dates[0]).days


def decision_bars(dates: Sequence[date], frequency: Frequency, day: str = "") -> list[int]:
    """Return the indices of the bars on which to decide: the first, then one per period.

    ``dates`` ascend. Weekly: the first bar on or after the weekday ``day`` of each week (friday if
    empty), else the last bar of the week. Monthly: the first bar on or after day ``day`` of the
    month, else the month's last bar; an empty ``day`` and ``end`` mean the last bar too. The last
    period counts only if a later bar, or the day itself, shows that its bar is final.
    """
    if not dates:
        return []
    if frequency is Frequency.DAILY:
        return list(range(len(dates)))
    period = _week if frequency is Frequency.WEEKLY else _month
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(dates)) if period(a) != period(b))]
    ends = [*starts[1:], len(dates)]
    chosen = {0}
    for start, end in zip(starts, ends, strict=True):
        wanted = _wanted(dates[start], frequency, day)
        reached = [i for i in range(start, end) if wanted is not None and dates[i] >= wanted]
        if reached:
            chosen.add(reached[0])
        elif end < len(dates):
            chosen.add(end - 1)
    return sorted(chosen)


def _week(day: date) -> tuple[int, int]:
    year, week, _ = day.isocalendar()
    return year, week


def _month(day: date) -> tuple[int, int]:
    return day.year, day.month


def _wanted(first: date, frequency: Frequency, day: str) -> date | None:
    """Return the configured day in the period of ``first``; None for the period's last bar."""
    if frequency is Frequency.WEEKLY:
        weekday = WEEKDAYS.index(day.lower() or "friday")
        return first - timedelta(days=first.weekday()) + timedelta(days=weekday)
    if day.lower() in ("", "end"):
        return None
    return _day_of_month(first, int(day))


def _day_of_month(first: date, day: int) -> date:
    following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return min(first.replace(day=1) + timedelta(days=day - 1), following - timedelta(days=1))
