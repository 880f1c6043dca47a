"""The procedure of portfolio optimizers: weights for every rebalancing date so far.

Each date uses only what was known on it: returns up to its close and signals dated no later.
Expected returns follow Grinold, "Alpha is Volatility Times IC Times Score" (1994): per asset
``information_coefficient * daily volatility * score``, the score being the mean over the signals
of their z-scores across the assets of the date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.optimizer import Constraints, Moments, PortfolioOptimizer
from prefect_instances.libs.quant.calendar import Frequency, decision_bars
from prefect_instances.libs.services.composition.components import open_definition, open_output
from prefect_instances.libs.services.composition.instance_types.optimizers import (
    SIGNAL_ROLES,
    constraints_of,
)
from prefect_instances.libs.services.procedures.panels import (
    Panel,
    long_of,
    of_role,
    only,
    panel,
    panel_of,
)
from prefect_instances.libs.services.rendering.plots import weights_plot
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result
from prefect_instances.libs.specs import OptimizerSpec

Floats = NDArray[np.float64]

SIGNAL_AGE_DAYS = 40
"""Calendar days after which a signal's value counts as missing."""

MIN_ASSETS = 2


@dataclass(frozen=True)
class _Market:
    """Everything that is read, on the dates of the prices."""

    spec: OptimizerSpec
    optimizer: PortfolioOptimizer
    constraints: Constraints
    prices: Panel
    scores: Floats | None
    covariance: Panel | None


def optimize(job: Job) -> Result:
    """Weights (date x symbol) for every rebalancing date for which there is a whole lookback."""
    market = _market(job)
    dates, weights = _history(market)
    if not dates:
        raise DataRejected(
            f"there is no rebalancing date with {market.spec.lookback_days} sessions of prices "
            f"and signals before it; shorten lookback_days or start earlier"
        )
    frame = long_of(dates, market.prices.symbols, weight=weights)
    store = open_output(job.services, job.instance.id, job.kind)
    return Result(
        Frame(frame, store), _metrics(market, dates, weights), _pages(job, market, dates, weights)
    )


def _market(job: Job) -> _Market:
    assert isinstance(job.spec, OptimizerSpec)
    optimizer = open_definition(
        job.services, job.instance.id, DefinitionKind.OPTIMIZER, job.component("optimizer")
    )
    assert isinstance(optimizer, PortfolioOptimizer)
    prices = panel_of(only(job, "prices"), "close")
    signals = [panel_of(item) for item in of_role(job, *SIGNAL_ROLES)]
    given = of_role(job, "covariance")
    return _Market(
        spec=job.spec,
        optimizer=optimizer,
        constraints=constraints_of(job.spec.constraints),
        prices=prices,
        scores=_scores(signals, prices) if signals else None,
        covariance=_covariance_input(given[0].frame, prices) if given else None,
    )


def _covariance_input(frame: pl.LazyFrame, prices: Panel) -> Panel:
    """The dataset as a panel of pairs: its rows are assets, its columns named like them."""
    names = [name for name in frame.collect_schema().names() if name in prices.symbols]
    long = frame.select("date", "symbol", *names).collect()
    melted = long.unpivot(names, index=["date", "symbol"], variable_name="other")
    pairs = melted.select(
        "date", (pl.col("symbol") + "\0" + pl.col("other")).alias("symbol"), "value"
    )
    return panel(pairs.sort("date", "symbol"), "value")


def _scores(signals: Sequence[Panel], prices: Panel) -> Floats:
    """Mean over the signals of the z-score across the assets of each date."""
    total = np.zeros((len(prices.dates), len(prices.symbols)))
    for signal in signals:
        known = signal.limited(prices.symbols).known(prices.dates, SIGNAL_AGE_DAYS)
        total += _z_scores(known)
    return total / len(signals)


def _z_scores(values: Floats) -> Floats:
    with np.errstate(all="ignore"):
        counted = np.isfinite(values).sum(axis=1, keepdims=True)
        safe = np.where(counted >= MIN_ASSETS, values, np.nan)
        filled = np.where(np.isfinite(safe), safe, 0.0)
        mean = filled.sum(axis=1, keepdims=True) / counted
        deviation = np.where(np.isfinite(safe), safe - mean, 0.0)
        spread = np.sqrt((deviation**2).sum(axis=1, keepdims=True) / counted)
        scores = np.where(
            spread > 0, (safe - mean) / spread, np.where(np.isfinite(safe), 0.0, np.nan)
        )
    return np.asarray(scores, dtype=np.float64)


def _history(market: _Market) -> tuple[list[date], Floats]:
    spec, prices = market.spec, market.prices
    bars = decision_bars(prices.dates, Frequency(spec.rebalance), spec.rebalance_day)
    first = date.fromisoformat(spec.start) if spec.start else date.min
    dates, rows = [], []
    previous: Floats | None = None
    for bar in bars:
        if bar < spec.lookback_days or prices.dates[bar] < first:
            continue
        weights = _decide(market, bar, previous)
        if weights is not None:
            dates.append(prices.dates[bar])
            rows.append(weights)
            previous = np.nan_to_num(weights)
    return dates, np.array(rows) if rows else np.empty((0, len(prices.symbols)))


def _decide(market: _Market, bar: int, previous: Floats | None) -> Floats | None:
    """Weights on one date; None where too few assets have prices and signals."""
    window = market.prices.values[bar - market.spec.lookback_days : bar + 1]
    usable = np.isfinite(window).all(axis=0)
    if market.scores is not None:
        usable &= np.isfinite(market.scores[bar])
    chosen = np.nonzero(usable)[0]
    if len(chosen) < MIN_ASSETS:
        return None
    returns = window[1:, chosen] / window[:-1, chosen] - 1.0
    covariance = _covariance(market, bar, returns, chosen)
    expected = None
    if market.scores is not None:
        volatility = np.sqrt(np.diag(covariance))
        expected = market.spec.information_coefficient * volatility * market.scores[bar, chosen]
    moments = Moments(
        symbols=tuple(market.prices.symbols[i] for i in chosen),
        returns=returns,
        covariance=covariance,
        expected=expected,
        previous=previous[chosen] if previous is not None else None,
    )
    weights = np.full(len(market.prices.symbols), np.nan)
    weights[chosen] = market.optimizer.optimize(moments, market.constraints)
    return weights


def _covariance(market: _Market, bar: int, returns: Floats, chosen: NDArray[np.int64]) -> Floats:
    if market.covariance is not None:
        return _given_covariance(market, bar, chosen)
    if market.spec.covariance == "sample":
        return np.asarray(np.cov(returns.T), dtype=np.float64)
    from sklearn.covariance import ledoit_wolf

    return np.asarray(ledoit_wolf(returns)[0], dtype=np.float64)


def _given_covariance(market: _Market, bar: int, chosen: NDArray[np.int64]) -> Floats:
    assert market.covariance is not None
    symbols = [market.prices.symbols[i] for i in chosen]
    pairs = [f"{one}\0{other}" for one in symbols for other in symbols]
    day = market.prices.dates[bar]
    values = market.covariance.limited(pairs).known([day], SIGNAL_AGE_DAYS)[0]
    if not np.isfinite(values).all():
        raise DataRejected(f"the covariance dataset lacks some of {len(symbols)} assets on {day}")
    matrix = values.reshape(len(symbols), len(symbols))
    return np.asarray((matrix + matrix.T) / 2, dtype=np.float64)


def _metrics(market: _Market, dates: Sequence[date], weights: Floats) -> dict[str, object]:
    last = np.nan_to_num(weights[-1])
    moved = np.abs(np.diff(np.nan_to_num(weights), axis=0)).sum(axis=1)
    bar = market.prices.dates.index(dates[-1])
    window = market.prices.values[bar - market.spec.lookback_days : bar + 1]
    returns = np.nan_to_num(window[1:] / window[:-1] - 1.0)
    volatility = float(np.std(returns @ last, ddof=1) * np.sqrt(252))
    return {
        "optimizer": market.optimizer.name,
        "rebalancings": len(dates),
        "assets": int((last != 0).sum()),
        "largest_weight": float(last.max()),
        "gross_leverage": float(np.abs(last).sum()),
        "mean_turnover": float(moved.mean()) if len(moved) else 0.0,
        "volatility": volatility,
        "effective_assets": float(1.0 / (last**2).sum()) if last.any() else 0.0,
    }


def _pages(job: Job, market: _Market, dates: Sequence[date], weights: Floats) -> list[Page]:
    filled = np.nan_to_num(weights)
    symbols = market.prices.symbols
    plot = weights_plot(
        "weights over time", dates, {s: filled[:, i] for i, s in enumerate(symbols)}
    )
    newest = sorted(zip(symbols, filled[-1], strict=True), key=lambda pair: -abs(pair[1]))
    lines = [
        f"## {job.instance.label}",
        "",
        f"Weights by {market.optimizer.name}, {dates[0]} to {dates[-1]}",
        "",
        f"![weights]({plot})",
        "",
        f"| on {dates[-1]} | weight |",
        "|---|---:|",
        *(f"| {symbol} | {weight:.2%} |" for symbol, weight in newest if weight),
    ]
    return [Page("weights", "markdown", "\n".join(lines), "Weights over time and now")]
