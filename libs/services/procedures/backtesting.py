"""The procedure of backtests: signals to weights, simulated trades, a tear sheet.

Bars are the dates on which a symbol of the universe has a usable price, or the sessions of the
declared calendar. A decision on the close of a bar sees only signals and weights dated that day or
before. It is executed on the close of the next bar; an order without a price there waits for the
next bar that has one, at most as long as ``order_expiry`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.quant.backtest import (
    EXPIRED,
    NEVER,
    Costs,
    History,
    Slippage,
    Unpayable,
    simulate,
)
from prefect_instances.libs.quant.calendar import Frequency, bars_per_year, decision_bars
from prefect_instances.libs.quant.measures import drawdown_of, measures
from prefect_instances.libs.quant.statistics import ranks
from prefect_instances.libs.services.composition.components import open_output
from prefect_instances.libs.services.procedures.hindsight import count_hindsight
from prefect_instances.libs.services.procedures.markets import Market, read_market
from prefect_instances.libs.services.procedures.panels import (
    Panel,
    build_long_frame,
    read_panel,
    select_inputs,
)
from prefect_instances.libs.services.procedures.trials import (
    JUDGED,
    PORTFOLIO,
    describe_trials,
    judge_sharpe,
)
from prefect_instances.libs.services.rendering.plots import plot_equity, plot_weights
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result
from prefect_instances.libs.specs import BacktestSpec

Floats = NDArray[np.float64]

BENCHMARK = "BENCHMARK"
"""Symbol of the benchmark's rows in the equity frame; `PORTFOLIO` has those of the portfolio."""

SHOWN_TRADES = 200
"""How many trades the artifact lists, newest first; the equity frame includes all of them."""


def backtest(job: Job) -> Result:
    """Simulate the portfolio and compare it with the benchmark.

    The output has equity, cash, drawdown and exposure for each bar, of both.
    """
    assert isinstance(job.spec, BacktestSpec)
    spec = job.spec
    market = read_market(job, spec)
    targets = _targets(job, spec, market.prices)
    if not targets:
        raise DataRejected("no signal has a value on any rebalancing date of the backtest")
    history = _simulated(spec, market, targets)
    found = _measured(market, history) | count_hindsight(job)
    found |= judge_sharpe(job, market.prices.dates, history.equity)
    store = open_output(job.services, job.instance.id, job.kind)
    frame = _frame(spec, market, history)
    pages = [] if job.replay else _pages(job, market, history, found)
    return Result(Frame(frame, store), found, pages)


def _simulated(spec: BacktestSpec, market: Market, targets: Mapping[int, Floats]) -> History:
    """Simulate the trades.

    Raises DataRejected if the portfolio cannot pay a trade's costs, or has lost all its value.
    """
    config, dates = spec.config, market.prices.dates
    costs = Costs(config.transaction_costs, Slippage(config.slippage_model), config.slippage_rate)
    try:
        prices, capital = market.prices.values, config.initial_capital
        history = simulate(prices, targets, capital, costs, config.order_expiry)
    except Unpayable as error:
        raise DataRejected(
            f"the trades of {dates[error.bar]} cost more than the portfolio is worth; lower "
            "transaction_costs, slippage_rate or the leverage"
        ) from error
    lost = np.nonzero(history.equity <= 0)[0]
    if len(lost):
        raise DataRejected(
            f"on {dates[lost[0]]} the portfolio has lost all that it was worth, by short positions "
            "or leverage; lower the gross exposure of the weights"
        )
    return history


def _measured(market: Market, history: History) -> dict[str, float]:
    found = measures(history, bars_per_year(market.prices.dates), market.benchmark)
    return found | {
        "unusable_prices": float(market.unusable),
        "partial_bars": float(market.partial),
        "prices_outside_calendar": float(market.outside),
    }


def _targets(job: Job, spec: BacktestSpec, prices: Panel) -> dict[int, Floats]:
    """Return the weights by the bar of their decision; bars without any signal are left out."""
    config = spec.config
    bars = decision_bars(prices.dates, Frequency(config.rebalance_frequency), config.rebalance_day)
    days = [prices.dates[bar] for bar in bars]
    held = select_inputs(job, "optimizer")
    if held:
        rows = _of_optimizer(read_panel(held[0], "weight"), prices, days, config.max_age_days)
    else:
        rows = _from_signals(job, spec, prices, days)
    decided = {bar: row for bar, row in zip(bars, rows, strict=True) if np.isfinite(row).any()}
    return {bar: np.nan_to_num(row) for bar, row in decided.items()}


def _of_optimizer(weights: Panel, prices: Panel, days: list[date], max_age_days: int) -> Floats:
    """Return the newest decision of each day as a whole portfolio; NaN if there is none.

    An asset that the decision does not hold is 0.
    """
    whole = weights.whole_rows(days, max_age_days)
    decided = np.isfinite(whole).any(axis=1)
    rows = Panel(tuple(days), weights.symbols, whole).limited(prices.symbols).values
    rows[decided] = np.nan_to_num(rows[decided])
    return rows


def _from_signals(job: Job, spec: BacktestSpec, prices: Panel, days: list[date]) -> Floats:
    config = spec.config
    known = [
        read_panel(item).limited(prices.symbols).known(days, config.max_age_days)
        for item in select_inputs(job, "primary", "secondary")
    ]
    if config.weighting == "proportional":
        return np.array([_proportional(rows) for rows in _by_day(known)])
    return np.array([_top(rows, config.top_fraction) for rows in _by_day(known)])


def _by_day(known: list[Floats]) -> list[Floats]:
    """Arrange the values as one matrix (signals x assets) for each day."""
    return [np.stack([values[day] for values in known]) for day in range(len(known[0]))]


def _top(signals: Floats, fraction: float) -> Floats:
    """Weight the assets with the highest mean rank equally; NaN if no asset has all signals.

    Among equal ranks, the order of the universe decides.
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
    """Weight assets in proportion to the positive part of their mean signal.

    All weights are 0 (cash) if no mean is positive, and NaN if no asset has all signals.
    """
    usable = np.isfinite(signals).all(axis=0)
    weights = np.full(signals.shape[1], np.nan)
    if not usable.any():
        return weights
    strength = np.where(usable, np.maximum(np.nan_to_num(signals).mean(axis=0), 0.0), 0.0)
    total = strength.sum()
    return np.asarray(strength / total if total > 0 else strength, dtype=np.float64)


def _frame(spec: BacktestSpec, market: Market, history: History) -> pl.DataFrame:
    capital = spec.config.initial_capital
    columns = [PORTFOLIO] + ([BENCHMARK] if market.benchmark is not None else [])
    exposure = history.weights.sum(axis=1)
    equities = [history.equity]
    others: Mapping[str, list[Floats]] = {"cash": [history.cash], "exposure": [exposure]}
    if market.benchmark is not None:
        equities.append(market.benchmark / market.benchmark[0] * capital)
        others["cash"].append(np.zeros(len(history.equity)))
        others["exposure"].append(np.ones(len(history.equity)))
    return build_long_frame(
        market.prices.dates,
        columns,
        equity=np.stack(equities, axis=1),
        drawdown=np.stack([drawdown_of(equity) for equity in equities], axis=1),
        **{name: np.stack(values, axis=1) for name, values in others.items()},
    )


def _pages(job: Job, market: Market, history: History, found: Mapping[str, float]) -> list[Page]:
    dates, name = market.prices.dates, job.instance.label
    drawdown = drawdown_of(history.equity)
    curve = plot_equity("equity and drawdown", dates, history.equity, drawdown, market.benchmark)
    held = {s: history.weights[:, i] for i, s in enumerate(market.prices.symbols)}
    shown = {symbol: row for symbol, row in held.items() if row.any()}
    plots = [f"![equity and drawdown]({curve})"]
    if shown:
        plots.append(f"![weights]({plot_weights('weights', dates, shown)})")
    notes = [f"- {text}" for text in list_notes(found)]
    parts = [_tear_sheet(name, dates, found), describe_trials(found), "\n".join(notes)]
    sheet = "\n\n".join(part for part in [*parts, *plots] if part)
    pages = [
        Page("tear-sheet", "markdown", sheet, "Measures, equity, drawdown and weights"),
        Page("trades", "table", _trades(market, history), "Trades, the newest first"),
    ]
    if len(history.waiting.due):
        table = _waiting(market, history)
        pages.append(Page("waiting-orders", "table", table, "Orders that met no price"))
    return pages


def list_notes(found: Mapping[str, float]) -> list[str]:
    """List, in sentences, what a reader of a backtest must know about its data."""
    told = (
        (
            "unusable_prices",
            "{:,.0f} prices of the universe are infinite, zero or negative; they count as missing.",
        ),
        (
            "partial_bars",
            "On {:,.0f} bars a symbol has no price, although it has earlier and later ones. Its "
            "position keeps the last price. A bar is a date on which at least one symbol of the "
            "universe has a price.",
        ),
        (
            "orders_waited",
            "{:,.0f} orders met no price on their bar and waited for the next one.",
        ),
        (
            "orders_never_executed",
            "{:,.0f} orders met no price before the next decision or the end, and were dropped.",
        ),
        (
            "orders_expired",
            "{:,.0f} orders met no price within order_expiry, and were dropped.",
        ),
        (
            "prices_outside_calendar",
            "{:,.0f} prices of the universe are dated on days that are no sessions of the "
            "calendar; they are not used.",
        ),
        (
            "predictions_in_hindsight",
            "{:,.0f} predictions are dated before the training that made them. The model was "
            "chosen by its scores on such dates, so this backtest may look better than it would "
            "have been.",
        ),
    )
    return [text.format(found[name]) for name, text in told if found.get(name)]


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
    span = f"{dates[0]} to {dates[-1]}, {len(dates)} bars, {bars_per_year(dates):.1f} a year"
    lines = [f"## {name}", "", span, ""]
    lines += ["| measure | |", "|---|---:|"]
    for measure, value in found.items():
        if measure in JUDGED:
            continue
        shown = f"{value:.2%}" if measure in _PERCENT else f"{value:,.2f}".removesuffix(".00")
        lines.append(f"| {measure.replace('_', ' ')} | {shown} |")
    return "\n".join(lines)


def _trades(market: Market, history: History) -> list[dict[str, object]]:
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


_UNDONE = {NEVER: "never", EXPIRED: "expired"}


def _waiting(market: Market, history: History) -> list[dict[str, object]]:
    """List the orders that met no price, newest first."""
    waiting, dates = history.waiting, market.prices.dates
    return [
        {
            "due": str(dates[waiting.due[at]]),
            "symbol": market.prices.symbols[waiting.asset[at]],
            "executed": _UNDONE.get(int(waiting.done[at])) or str(dates[waiting.done[at]]),
        }
        for at in reversed(range(len(waiting.due)))
    ][:SHOWN_TRADES]
