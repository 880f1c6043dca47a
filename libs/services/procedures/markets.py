"""The market of a backtest: prices of its universe on the universe's bars, and the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.quant.prices import usable
from prefect_instances.libs.services.procedures.panels import (
    Panel,
    get_input,
    read_panel,
    select_inputs,
    take_bars,
)
from prefect_instances.libs.services.runs.run_context import Job
from prefect_instances.libs.specs import BacktestSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Market:
    """Prices of the universe and the benchmark, on the bars of the backtest.

    ``prices``: NaN if there is no usable price; without a calendar each bar has at least one.
    ``benchmark``: its price on each bar, or None. ``unusable``: number of prices of the universe
    that are infinite, zero or negative. ``partial``: number of bars on which a symbol has no price
    between its first and its last. ``outside``: number of usable prices that are not on a session
    of the calendar.
    """

    prices: Panel
    benchmark: Floats | None
    unusable: int
    partial: int
    outside: int = 0


def read_market(job: Job, spec: BacktestSpec) -> Market:
    """Read the market of a backtest.

    Raises DataRejected if a symbol is missing or if there are fewer than two bars.
    """
    prices = read_panel(get_input(job, "prices"), spec.assets.price_column)
    universe = list(dict.fromkeys(spec.assets.universe)) or list(prices.symbols)
    missing = [symbol for symbol in universe if symbol not in prices.symbols]
    if missing:
        raise DataRejected(f"the prices have no {', '.join(missing)}", {"missing": missing})
    start = date.fromisoformat(spec.date_range.start)
    end = date.fromisoformat(spec.date_range.end) if spec.date_range.end else date.max
    given = prices.between(start, end)
    chosen = take_bars(given, universe, spec.config.calendar)
    if len(chosen.dates) < 2:
        raise DataRejected(
            f"the universe has no two bars with a price from {start} to "
            f"{spec.date_range.end or 'the newest price'}"
        )
    values = given.limited(universe).values
    unusable = int((~np.isnan(values) & ~usable(values)).sum())
    outside = int(usable(values).sum()) - int(np.isfinite(chosen.values).sum())
    benchmark = _benchmark(job, spec, prices, chosen.dates)
    return Market(chosen, benchmark, unusable, _partial(np.isfinite(chosen.values)), outside)


def _partial(priced: NDArray[np.bool_]) -> int:
    """Count the bars on which a symbol has no price, but earlier and later ones."""
    before = np.logical_or.accumulate(priced, axis=0)
    after = np.logical_or.accumulate(priced[::-1], axis=0)[::-1]
    return int((before & after & ~priced).any(axis=1).sum())


def _benchmark(
    job: Job, spec: BacktestSpec, prices: Panel, dates: tuple[date, ...]
) -> Floats | None:
    """Return the newest known price of the benchmark on each bar; None if there is no benchmark."""
    symbol = spec.assets.benchmark
    if not symbol:
        return None
    other = select_inputs(job, "benchmark")
    panel = read_panel(other[0], spec.assets.price_column) if other else prices
    if symbol not in panel.symbols:
        raise DataRejected(f"there are no prices of the benchmark {symbol!r}")
    known = panel.priced([symbol]).known(dates, spec.config.max_age_days)[:, 0]
    if not np.isfinite(known).all():
        raise DataRejected(f"the benchmark {symbol!r} has no price on some of the bars")
    return known
