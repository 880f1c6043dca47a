"""Sessions of assets that stop trading: until when a missing price speaks against a date."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from prefect_instances.libs.quant.sessions import ALIVE_DAYS, find_sessions


def test_assets_that_stopped_count_for_fourteen_days_and_no_longer() -> None:
    assert ALIVE_DAYS == 14, "the test counts on it"
    dates = [date(2026, 1, 1) + timedelta(days=day) for day in range(40)]
    priced = np.ones((40, 3), dtype=bool)
    priced[20:, 1:] = False

    # Two of three are missing from the 21st date on; the last of their 14 days is the 34th.
    assert find_sessions(dates, priced).tolist() == [True] * 20 + [False] * 14 + [True] * 6
