"""The sessions of assets that keep different calendars, such as stocks beside coins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

ALIVE_DAYS = 14
"""An asset without a price for longer (calendar days) is suspended or gone; holidays are shorter.
For data whose usual step is longer than a few days it is three steps."""

SHARE = 0.9
"""On a session more than this share of the live assets trade by their usual weekdays."""

WEEKS = 4
"""From how many dates before of the same weekday the usual weekdays of an asset are told."""


def find_sessions(dates: Sequence[date], priced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which dates are sessions of assets that may keep different calendars.

    ``priced`` (date x asset) says where there is a usable price; ``dates`` ascend. A session is a
    date on whose weekday more than nine tenths of the live assets usually trade, and on which at
    least half of them have a price. An asset is live from its first price until it has had none
    for ``alive_days``; it usually trades on a weekday if it had a price on at least half of the
    last four dates of that weekday. Only dates up to each one are looked at.
    """
    if not len(dates) or not priced.size:
        return np.zeros(len(dates), dtype=bool)
    days = np.array(dates, dtype="datetime64[D]").astype(np.int64)
    live = _live(days, priced, alive_days(dates))
    usual = _usual(days, priced)
    count = live.sum(axis=1)
    regular = (usual & live).sum(axis=1) > SHARE * count
    there = (priced & live).sum(axis=1) * 2 >= count
    return np.asarray((count > 0) & regular & there)


def alive_days(dates: Sequence[date]) -> int:
    """Return for how many calendar days an asset without a price still counts as traded."""
    if len(dates) < 2:
        return ALIVE_DAYS
    steps = np.diff(np.array(dates, dtype="datetime64[D]").astype(np.int64))
    return max(ALIVE_DAYS, 3 * int(np.median(steps)))


def _live(days: NDArray[np.int64], priced: NDArray[np.bool_], patience: int) -> NDArray[np.bool_]:
    at = np.where(priced, days[:, None], np.iinfo(np.int64).min // 2)
    newest = np.maximum.accumulate(at, axis=0)
    return np.asarray(days[:, None] - newest <= patience)


def _usual(days: NDArray[np.int64], priced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each asset usually trades on the weekday of each date; a first time counts itself."""
    begun = np.logical_or.accumulate(priced, axis=0)
    usual = priced.copy()
    for weekday in range(7):
        rows = np.nonzero(days % 7 == weekday)[0]
        had = _before(priced[rows].astype(np.int64))
        seen = _before(begun[rows].astype(np.int64))
        usual[rows] = np.where(seen > 0, 2 * had >= seen, priced[rows])
    return usual


def _before(flags: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the last few rows before each row are set."""
    total = np.vstack([np.zeros((1, flags.shape[1]), dtype=np.int64), flags.cumsum(axis=0)])
    ends = np.arange(len(flags))
    return np.asarray(total[ends] - total[np.maximum(ends - WEEKS, 0)])
