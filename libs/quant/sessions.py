"""Common sessions of assets with different calendars, such as stocks and coins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

ALIVE_DAYS = 14
"""An asset without a price for more calendar days than this is suspended or delisted; holidays are
shorter. For data whose usual step is longer than a few days, the limit is three steps."""

SHARE = 0.9
"""On a session, more than this share of the live assets usually trade on that weekday."""

WEEKS = 4
"""Number of earlier dates of the same weekday that decide an asset's usual weekdays."""


def find_sessions(dates: Sequence[date], priced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each date whether it is a session of assets with different calendars.

    ``priced`` (date x asset) says whether there is a usable price; ``dates`` ascend. A session is a
    date on whose weekday more than nine tenths of the live assets usually trade, and on which at
    least half of them have a price. An asset is live from its first price until it has had none for
    ``alive_days``; it usually trades on a weekday if it had a price on at least half of the last
    four dates of that weekday. The result for a date depends only on dates up to it.
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
    """Return for how many calendar days without a price an asset still counts as live."""
    if len(dates) < 2:
        return ALIVE_DAYS
    steps = np.diff(np.array(dates, dtype="datetime64[D]").astype(np.int64))
    return max(ALIVE_DAYS, 3 * int(np.median(steps)))


def _live(days: NDArray[np.int64], priced: NDArray[np.bool_], patience: int) -> NDArray[np.bool_]:
    at = np.where(priced, days[:, None], np.iinfo(np.int64).min // 2)
    newest = np.maximum.accumulate(at, axis=0)
    return np.asarray(days[:, None] - newest <= patience)


def _usual(days: NDArray[np.int64], priced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether each asset usually trades on each date's weekday; a first date counts."""
    begun = np.logical_or.accumulate(priced, axis=0)
    usual = priced.copy()
    for weekday in range(7):
        rows = np.nonzero(days % 7 == weekday)[0]
        had = _before(priced[rows].astype(np.int64))
        seen = _before(begun[rows].astype(np.int64))
        usual[rows] = np.where(seen > 0, 2 * had >= seen, priced[rows])
    return usual


def _before(flags: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count, for each row, how many of the last few rows before it are set."""
    total = np.vstack([np.zeros((1, flags.shape[1]), dtype=np.int64), flags.cumsum(axis=0)])
    ends = np.arange(len(flags))
    return np.asarray(total[ends] - total[np.maximum(ends - WEEKS, 0)])
