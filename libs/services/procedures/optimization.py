"""The procedure of portfolio optimizers: weights for every rebalancing date so far.

Each date uses only what was known on it: returns up to its close and signals dated no later.
Returns are taken from session to session of the assets (see ``libs.quant.sessions``): where only
some of them trade on weekends, weekends are no sessions. A price that is not usable (see
``libs.quant.prices``) is none; the newest one before stands for a missing one for two weeks. An
asset without a whole lookback of prices, or whose price never moved in it, is left out of that
date. A date without a solution keeps the last weights or is cash, as the instance says.
Expected returns follow Grinold, "Alpha is Volatility Times IC Times Score" (1994): per asset
``information_coefficient * daily volatility * score``, the score being the mean over the signals
of their z-scores across the assets of the date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.optimizer import Constraints, Moments, PortfolioOptimizer
from prefect_instances.libs.quant.calendar import Frequency, bars_per_year, decision_bars
from prefect_instances.libs.quant.prices import usable, usable_prices
from prefect_instances.libs.quant.sessions import alive_days, find_sessions
from prefect_instances.libs.services.composition.components import open_output
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

NAMED = 20
"""How many dates and assets a report names."""


@dataclass(frozen=True)
class Market:
    """Everything that is read, on the dates of the prices."""

    spec: OptimizerSpec
    optimizer: PortfolioOptimizer
    constraints: Constraints
    prices: Panel
    scores: Floats | None
    covariance: Panel | None
    other_dates: int = 0
    unusable: int = 0


@dataclass
class History:
    """What was decided: dates, weights (date x symbol; NaN for an asset that was not chosen from).

    ``left_out`` counts by symbol the dates on which its price did not move, ``unsolved`` says by
    date why it has no solution.
    """

    dates: list[date] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unsolved: dict[date, str] = field(default_factory=dict)


def optimize(job: Job) -> Result:
    """Weights (date x symbol) for every rebalancing date for which there is a whole lookback."""
    market = _market(job)
    history = decide_weights(market)
    dates, weights = history.dates, np.array(history.rows)
    if not dates and history.unsolved:
        day, reason = next(iter(history.unsolved.items()))
        raise DataRejected(f"no date has a solution; {day}: {reason}", _told(history))
    if not dates:
        raise DataRejected(
            f"there is no rebalancing date with {market.spec.lookback_days} sessions of prices "
            f"and signals before it; shorten lookback_days or start earlier"
        )
    frame = long_of(dates, market.prices.symbols, weight=weights)
    store = open_output(job.services, job.instance.id, job.kind)
    metrics = {**_metrics(market, dates, weights), **_told(history), **_sources(market)}
    pages = _pages(job, market, dates, weights, _notes(market, history))
    return Result(Frame(frame, store), metrics, pages)


def _told(history: History) -> dict[str, object]:
    """What was left out, for the run's record: at most ``NAMED`` assets and dates by name."""
    left_out = dict(history.left_out.most_common(NAMED))
    unsolved = {str(day): why for day, why in list(history.unsolved.items())[-NAMED:]}
    found: dict[str, object] = {}
    if left_out:
        found |= {"assets_left_out": len(history.left_out), "left_out_dates": left_out}
    if unsolved:
        found |= {"dates_without_solution": len(history.unsolved), "without_solution": unsolved}
    return found


def _sources(market: Market) -> dict[str, object]:
    found = {"unusable_prices": market.unusable, "dates_no_session": market.other_dates}
    return {name: count for name, count in found.items() if count}


def _notes(market: Market, history: History) -> list[str]:
    """Sentences about everything that was left out."""
    lines = []
    if market.other_dates:
        lines.append(
            f"{market.other_dates} dates of the prices are no sessions: too few of the assets "
            "trade on them. Returns span them."
        )
    if market.unusable:
        lines.append(f"{market.unusable} prices are not usable and count as missing.")
    if history.left_out:
        named = ", ".join(f"{one} ({n})" for one, n in history.left_out.most_common(NAMED))
        lines.append(f"Left out on dates whose lookback has no change of price: {named}.")
    policy = "the last weights are kept" if market.spec.without_solution == "keep" else "cash"
    for day, why in list(history.unsolved.items())[-NAMED:]:
        lines.append(f"No solution on {day} ({policy}): {why}")
    return lines


def _market(job: Job) -> Market:
    assert isinstance(job.spec, OptimizerSpec)
    optimizer = job.opened.main
    assert isinstance(optimizer, PortfolioOptimizer)
    given = panel_of(only(job, "prices"), "close")
    prices = take_sessions(given)
    signals = [panel_of(item) for item in of_role(job, *SIGNAL_ROLES)]
    other = of_role(job, "covariance")
    return Market(
        spec=job.spec,
        optimizer=optimizer,
        constraints=constraints_of(job.spec.constraints),
        prices=prices,
        scores=_scores(signals, prices) if signals else None,
        covariance=_covariance_input(other[0].frame, prices) if other else None,
        other_dates=len(given.dates) - len(prices.dates),
        unusable=int((~np.isnan(given.values) & ~usable(given.values)).sum()),
    )


def take_sessions(given: Panel) -> Panel:
    """Return the usable prices on the assets' sessions; where one is missing, the newest before."""
    priced = Panel(given.dates, given.symbols, usable_prices(given.values))
    sessions = np.nonzero(find_sessions(given.dates, np.isfinite(priced.values)))[0]
    dates = tuple(given.dates[at] for at in sessions)
    return Panel(dates, given.symbols, priced.known(dates, alive_days(given.dates)))


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


def decide_weights(market: Market) -> History:
    """Decide on every rebalancing date that has a whole lookback of prices before it."""
    spec, prices = market.spec, market.prices
    bars = decision_bars(prices.dates, Frequency(spec.rebalance), spec.rebalance_day)
    first = date.fromisoformat(spec.start) if spec.start else date.min
    history = History()
    for bar in bars:
        if bar < spec.lookback_days or prices.dates[bar] < first:
            continue
        day = prices.dates[bar]
        previous = np.nan_to_num(history.rows[-1]) if history.rows else None
        chosen, still = _choose(market, bar)
        history.left_out.update(prices.symbols[at] for at in still)
        try:
            weights = _decide(market, bar, chosen, previous)
        except DataRejected as error:
            history.unsolved[day] = str(error)
            weights = _without_solution(spec.without_solution, previous)
        if weights is not None:
            history.dates.append(day)
            history.rows.append(weights)
    return history


def _without_solution(policy: str, previous: Floats | None) -> Floats | None:
    """The weights of a date without a solution; None while there is nothing to keep."""
    if previous is None:
        return None
    return previous if policy == "keep" else np.zeros_like(previous)


def _choose(market: Market, bar: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The assets to choose from on a date, and those left out because their price never moved."""
    window = _window(market, bar)
    known = np.isfinite(window).all(axis=0)
    if market.scores is not None:
        known &= np.isfinite(market.scores[bar])
    moves = known & (window.max(axis=0) > window.min(axis=0))
    return np.nonzero(moves)[0], np.nonzero(known & ~moves)[0]


def _window(market: Market, bar: int) -> Floats:
    return market.prices.values[bar - market.spec.lookback_days : bar + 1]


def _decide(
    market: Market, bar: int, chosen: NDArray[np.int64], previous: Floats | None
) -> Floats | None:
    """Weights on one date; None before there are two assets with prices and signals.

    Raises DataRejected where there is no solution.
    """
    if len(chosen) < MIN_ASSETS:
        if previous is None:
            return None
        raise DataRejected(f"{len(chosen)} assets have prices and signals, {MIN_ASSETS} are needed")
    window = _window(market, bar)
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


def _covariance(market: Market, bar: int, returns: Floats, chosen: NDArray[np.int64]) -> Floats:
    if market.covariance is not None:
        return _given_covariance(market, bar, chosen)
    if market.spec.covariance == "sample":
        return np.asarray(np.cov(returns.T), dtype=np.float64)
    from sklearn.covariance import ledoit_wolf

    return np.asarray(ledoit_wolf(returns)[0], dtype=np.float64)


def _given_covariance(market: Market, bar: int, chosen: NDArray[np.int64]) -> Floats:
    assert market.covariance is not None
    symbols = [market.prices.symbols[i] for i in chosen]
    pairs = [f"{one}\0{other}" for one in symbols for other in symbols]
    day = market.prices.dates[bar]
    values = market.covariance.limited(pairs).known([day], SIGNAL_AGE_DAYS)[0]
    if not np.isfinite(values).all():
        raise DataRejected(f"the covariance dataset lacks some of {len(symbols)} assets on {day}")
    matrix = values.reshape(len(symbols), len(symbols))
    return np.asarray((matrix + matrix.T) / 2, dtype=np.float64)


def _metrics(market: Market, dates: Sequence[date], weights: Floats) -> dict[str, object]:
    last = np.nan_to_num(weights[-1])
    moved = np.abs(np.diff(np.nan_to_num(weights), axis=0)).sum(axis=1)
    bar = market.prices.dates.index(dates[-1])
    window = _window(market, bar)
    returns = np.nan_to_num(window[1:] / window[:-1] - 1.0)
    bars = market.prices.dates[bar - market.spec.lookback_days : bar + 1]
    volatility = float(np.std(returns @ last, ddof=1) * np.sqrt(bars_per_year(bars)))
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


def _pages(
    job: Job, market: Market, dates: Sequence[date], weights: Floats, notes: Sequence[str]
) -> list[Page]:
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
        *(f"- {note}" for note in notes),
        "",
        f"![weights]({plot})",
        "",
        f"| on {dates[-1]} | weight |",
        "|---|---:|",
        *(f"| {symbol} | {weight:.2%} |" for symbol, weight in newest if weight),
    ]
    return [Page("weights", "markdown", "\n".join(lines), "Weights over time and now")]
