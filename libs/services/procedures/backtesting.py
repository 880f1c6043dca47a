"""The fixed procedure of backtests: signals to weights, weights through the market, a tear sheet.

A decision on the close of a date sees only signals and weights dated that day or before; it is
executed on the close of the next bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.quant.backtest import Costs, History, Slippage, simulate
from prefect_instances.libs.quant.calendar import Frequency, decision_bars
from prefect_instances.libs.quant.measures import drawdown_of, measures
from prefect_instances.libs.quant.statistics import ranks
from prefect_instances.libs.services.composition.components import open_output
from prefect_instances.libs.services.procedures.panels import (
    Panel,
    long_of,
    of_role,
    only,
    panel_of,
)
from prefect_instances.libs.services.rendering.plots import equity_plot, weights_plot
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result
from prefect_instances.libs.specs import BacktestSpec

Floats = NDArray[np.float64]

PORTFOLIO, BENCHMARK = "PORTFOLIO", "BENCHMARK"
"""Symbols of the rows of the equity frame."""

SHOWN_TRADES = 200
"""Trades that the artifact lists, the newest first; the equity frame has all of their effect."""


@dataclass(frozen=True)
class _Market:
    """Prices on the bars of the backtest, and the benchmark's."""

    prices: Panel
    benchmark: Floats | None


def backtest(job: Job) -> Result:
    """Equity, cash, drawdown and exposure a bar of the portfolio; the benchmark beside it."""
    assert isinstance(job.spec, BacktestSpec)
    spec = job.spec
    market = _market(job, spec)
    targets = _targets(job, spec, market.prices)
    if not targets:
        raise DataRejected("no signal has a value on any rebalancing date of the backtest")
    config = spec.config
    costs = Costs(config.transaction_costs, Slippage(config.slippage_model), config.slippage_rate)
    history = simulate(market.prices.values, targets, config.initial_capital, costs)
    found = measures(history, market.benchmark)
    store = open_output(job.services, job.instance.id, job.kind)
    frame = _frame(spec, market, history)
    return Result(Frame(frame, store), found, _pages(job, market, history, found))


def _market(job: Job, spec: BacktestSpec) -> _Market:
    column = spec.assets.price_column
    prices = panel_of(only(job, "prices"), column)
    universe = list(dict.fromkeys(spec.assets.universe)) or list(prices.symbols)
    missing = [symbol for symbol in universe if symbol not in prices.symbols]
    if missing:
        raise DataRejected(f"the prices have no {', '.join(missing)}", {"missing": missing})
    start = date.fromisoformat(spec.date_range.start)
    end = date.fromisoformat(spec.date_range.end) if spec.date_range.end else date.max
    inside = [at for at, day in enumerate(prices.dates) if start <= day <= end]
    if len(inside) < 2:
        raise DataRejected(f"the prices have fewer than two bars from {start} to {end}")
    dates = tuple(prices.dates[at] for at in inside)
    chosen = Panel(dates, tuple(universe), prices.limited(universe).values[inside])
    return _Market(chosen, _benchmark(job, spec, prices, dates))


def _benchmark(
    job: Job, spec: BacktestSpec, prices: Panel, dates: tuple[date, ...]
) -> Floats | None:
    """The benchmark's price on each bar: the newest there is."""
    symbol = spec.assets.benchmark
    if not symbol:
        return None
    other = of_role(job, "benchmark")
    panel = panel_of(other[0], spec.assets.price_column) if other else prices
    if symbol not in panel.symbols:
        raise DataRejected(f"there are no prices of the benchmark {symbol!r}")
    known = panel.limited([symbol]).known(dates, spec.config.max_age_days)[:, 0]
    if not np.isfinite(known).all():
        raise DataRejected(f"the benchmark {symbol!r} has no price on some of the bars")
    return known


def _targets(job: Job, spec: BacktestSpec, prices: Panel) -> dict[int, Floats]:
    """Weights by the bar on which they were decided; bars without any signal are left out."""
    config = spec.config
    bars = decision_bars(prices.dates, Frequency(config.rebalance_frequency), config.rebalance_day)
    days = [prices.dates[bar] for bar in bars]
    held = of_role(job, "optimizer")
    if held:
        rows = panel_of(held[0], "weight").limited(prices.symbols).known(days, config.max_age_days)
        rows = np.where(np.isfinite(rows).any(axis=1, keepdims=True), np.nan_to_num(rows), np.nan)
    else:
        rows = _from_signals(job, spec, prices, days)
    decided = {bar: row for bar, row in zip(bars, rows, strict=True) if np.isfinite(row).any()}
    return {bar: np.nan_to_num(row) for bar, row in decided.items()}


def _from_signals(job: Job, spec: BacktestSpec, prices: Panel, days: list[date]) -> Floats:
    config = spec.config
    known = [
        panel_of(item).limited(prices.symbols).known(days, config.max_age_days)
        for item in of_role(job, "primary", "secondary")
    ]
    if config.weighting == "proportional":
        return np.array([_proportional(rows) for rows in _by_day(known)])
    return np.array([_top(rows, config.top_fraction) for rows in _by_day(known)])


def _by_day(known: list[Floats]) -> list[Floats]:
    """Per day signals x assets."""
    return [np.stack([values[day] for values in known]) for day in range(len(known[0]))]


def _top(signals: Floats, fraction: float) -> Floats:
    """Equal weights of the assets whose mean rank is highest; NaN where no asset has all signals.

    Of equal ranks the first in the order of the universe is taken.
    """
    usable = np.nonzero(np.isfinite(signals).all(axis=0))[0]
    weights = np.full(signals.shape[1], np.nan)
    if not len(usable):
        return weights
    mean = np.mean([ranks(row[usable]) for row in signals], axis=0)
    count = max(1, round(fraction * len(usable)))
    best = usable[np.argsort(-mean, kind="stable")[:count]]
    weights[:] = 0.0
    weights[best] = 1.0 / count
    return weights


def _proportional(signals: Floats) -> Floats:
    """Weights in proportion to the positive part of the mean signal; all cash without any."""
    usable = np.isfinite(signals).all(axis=0)
    weights = np.full(signals.shape[1], np.nan)
    if not usable.any():
        return weights
    strength = np.where(usable, np.maximum(np.nan_to_num(signals).mean(axis=0), 0.0), 0.0)
    total = strength.sum()
    return np.asarray(strength / total if total > 0 else strength, dtype=np.float64)


def _frame(spec: BacktestSpec, market: _Market, history: History) -> pl.DataFrame:
    capital = spec.config.initial_capital
    columns = [PORTFOLIO] + ([BENCHMARK] if market.benchmark is not None else [])
    exposure = history.weights.sum(axis=1)
    equities = [history.equity]
    others: Mapping[str, list[Floats]] = {"cash": [history.cash], "exposure": [exposure]}
    if market.benchmark is not None:
        equities.append(market.benchmark / market.benchmark[0] * capital)
        others["cash"].append(np.zeros(len(history.equity)))
        others["exposure"].append(np.ones(len(history.equity)))
    return long_of(
        market.prices.dates,
        columns,
        equity=np.stack(equities, axis=1),
        drawdown=np.stack([drawdown_of(equity) for equity in equities], axis=1),
        **{name: np.stack(values, axis=1) for name, values in others.items()},
    )


def _pages(job: Job, market: _Market, history: History, found: Mapping[str, float]) -> list[Page]:
    dates, name = market.prices.dates, job.instance.label
    drawdown = drawdown_of(history.equity)
    curve = equity_plot("equity and drawdown", dates, history.equity, drawdown, market.benchmark)
    held = {s: history.weights[:, i] for i, s in enumerate(market.prices.symbols)}
    shown = {symbol: row for symbol, row in held.items() if row.any()}
    plots = [f"![equity and drawdown]({curve})"]
    if shown:
        plots.append(f"![weights]({weights_plot('weights', dates, shown)})")
    sheet = "\n\n".join([_tear_sheet(name, dates, found), *plots])
    return [
        Page("tear-sheet", "markdown", sheet, "Measures, equity, drawdown and weights"),
        Page("trades", "table", _trades(market, history), "Trades, the newest first"),
    ]


_PERCENT = frozenset(
    {
        "total_return",
        "cagr",
        "volatility",
        "max_drawdown",
        "win_rate",
        "alpha",
        "tracking_error",
        "benchmark_return",
    }
)


def _tear_sheet(name: str, dates: tuple[date, ...], found: Mapping[str, float]) -> str:
    lines = [f"## {name}", "", f"{dates[0]} to {dates[-1]}, {len(dates)} sessions", ""]
    lines += ["| measure | |", "|---|---:|"]
    for measure, value in found.items():
        shown = f"{value:.2%}" if measure in _PERCENT else f"{value:,.2f}".removesuffix(".00")
        lines.append(f"| {measure.replace('_', ' ')} | {shown} |")
    return "\n".join(lines)


def _trades(market: _Market, history: History) -> list[dict[str, object]]:
    trades = history.trades
    newest = range(len(trades.bar) - 1, max(-1, len(trades.bar) - 1 - SHOWN_TRADES), -1)
    return [
        {
            "date": str(market.prices.dates[trades.bar[at]]),
            "symbol": market.prices.symbols[trades.asset[at]],
            "shares": round(float(trades.shares[at]), 4),
            "price": round(float(trades.price[at]), 4),
            "cost": round(float(trades.cost[at]), 2),
        }
        for at in newest
    ]
