"""The procedure of portfolio optimizers: weights for every rebalancing date so far.

Each date uses only what was known on it: returns up to its close, and signals dated no later.
Returns are taken between consecutive sessions of the assets (see ``libs.quant.sessions``): if only
some assets trade on weekends, weekends are not sessions. An unusable price (see
``libs.quant.prices``) counts as missing; the newest price before replaces a missing one for two
weeks. An asset without a full lookback of prices, or with a constant price in it, is left out on
that date. A date without a solution keeps the last weights or is cash, as the instance says.
Expected returns follow Grinold, "Alpha is Volatility Times IC Times Score" (1994): for each asset
``information_coefficient * daily volatility * score``; the score is the mean over the signals of
their z-scores across the assets of the date.
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
    convert_constraints,
)
from prefect_instances.libs.services.procedures.panels import (
    Panel,
    build_long_frame,
    build_panel,
    get_input,
    read_panel,
    select_inputs,
)
from prefect_instances.libs.services.rendering.plots import plot_weights
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result
from prefect_instances.libs.specs import OptimizerSpec

Floats = NDArray[np.float64]

SIGNAL_AGE_DAYS = 40
"""Calendar days after which a signal's value counts as missing."""

MIN_ASSETS = 2

NAMED = 20
"""How many dates and assets a report lists by name."""


@dataclass(frozen=True)
class OptimizationInputs:
    """All inputs of the optimization, on the dates of the prices.

    ``scores`` (date x symbol) is None without a signal. ``covariance`` is None unless a dataset
    gives it. ``other_dates`` counts the dates that are not sessions, ``unusable`` the unusable
    prices.
    """

    spec: OptimizerSpec
    optimizer: PortfolioOptimizer
    constraints: Constraints
    prices: Panel
    scores: Floats | None
    covariance: Panel | None
    other_dates: int = 0
    unusable: int = 0


@dataclass
class WeightHistory:
    """The decisions: dates, and weights (date x symbol; NaN for an asset that could not be chosen).

    ``left_out`` counts by symbol the dates on which its price was constant. ``unsolved`` says by
    date why there is no solution.
    """

    dates: list[date] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unsolved: dict[date, str] = field(default_factory=dict)


def optimize(job: Job) -> Result:
    """Compute weights (date x symbol) for each rebalancing date with a full lookback of prices."""
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
    frame = build_long_frame(dates, market.prices.symbols, weight=weights)
    store = open_output(job.services, job.instance.id, job.kind)
    metrics = {**_metrics(market, dates, weights), **_told(history), **_sources(market)}
    notes = _notes(market, history)
    pages = [] if job.replay else _pages(job, market, dates, weights, notes)
    return Result(Frame(frame, store), metrics, pages)


def _told(history: WeightHistory) -> dict[str, object]:
    """Summarise what was left out for the run's record, with at most ``NAMED`` names."""
    left_out = dict(history.left_out.most_common(NAMED))
    unsolved = {str(day): why for day, why in list(history.unsolved.items())[-NAMED:]}
    found: dict[str, object] = {}
    if left_out:
        found |= {"assets_left_out": len(history.left_out), "left_out_dates": left_out}
    if unsolved:
        found |= {"dates_without_solution": len(history.unsolved), "without_solution": unsolved}
    return found


def _sources(market: OptimizationInputs) -> dict[str, object]:
    found = {"unusable_prices": market.unusable, "dates_no_session": market.other_dates}
    return {name: count for name, count in found.items() if count}


def _notes(market: OptimizationInputs, history: WeightHistory) -> list[str]:
    """List, in sentences, everything that was left out."""
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


def _market(job: Job) -> OptimizationInputs:
    assert isinstance(job.spec, OptimizerSpec)
    optimizer = job.opened.main
    assert isinstance(optimizer, PortfolioOptimizer)
    given = read_panel(get_input(job, "prices"), "close")
    prices = take_sessions(given)
    signals = [read_panel(item) for item in select_inputs(job, *SIGNAL_ROLES)]
    other = select_inputs(job, "covariance")
    return OptimizationInputs(
        spec=job.spec,
        optimizer=optimizer,
        constraints=convert_constraints(job.spec.constraints),
        prices=prices,
        scores=_scores(signals, prices) if signals else None,
        covariance=_covariance_input(other[0].frame, prices) if other else None,
        other_dates=len(given.dates) - len(prices.dates),
        unusable=int((~np.isnan(given.values) & ~usable(given.values)).sum()),
    )


def take_sessions(given: Panel) -> Panel:
    """Return the usable prices on the sessions of the assets.

    The newest price before replaces a missing one.
    """
    priced = Panel(given.dates, given.symbols, usable_prices(given.values))
    sessions = np.nonzero(find_sessions(given.dates, np.isfinite(priced.values)))[0]
    dates = tuple(given.dates[at] for at in sessions)
    return Panel(dates, given.symbols, priced.known(dates, alive_days(given.dates)))


def _covariance_input(frame: pl.LazyFrame, prices: Panel) -> Panel:
    """Convert the covariance dataset to a panel with one symbol for each pair of assets.

    In the dataset, rows are assets and columns have the names of assets.
    """
    names = [name for name in frame.collect_schema().names() if name in prices.symbols]
    long = frame.select("date", "symbol", *names).collect()
    melted = long.unpivot(names, index=["date", "symbol"], variable_name="other")
    pairs = melted.select(
        "date", (pl.col("symbol") + "\0" + pl.col("other")).alias("symbol"), "value"
    )
    return build_panel(pairs.sort("date", "symbol"), "value")


def _scores(signals: Sequence[Panel], prices: Panel) -> Floats:
    """Average the z-scores of the signals across the assets of each date."""
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


def decide_weights(market: OptimizationInputs) -> WeightHistory:
    """Decide the weights of each rebalancing date with a full lookback of prices before it."""
    spec, prices = market.spec, market.prices
    bars = decision_bars(prices.dates, Frequency(spec.rebalance), spec.rebalance_day)
    first = date.fromisoformat(spec.start) if spec.start else date.min
    history = WeightHistory()
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
    """Return the weights of a date without a solution; None if there are none to keep."""
    if previous is None:
        return None
    return previous if policy == "keep" else np.zeros_like(previous)


def _choose(market: OptimizationInputs, bar: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the assets to choose from on a date, and those whose price was constant."""
    window = _window(market, bar)
    known = np.isfinite(window).all(axis=0)
    if market.scores is not None:
        known &= np.isfinite(market.scores[bar])
    moves = known & (window.max(axis=0) > window.min(axis=0))
    return np.nonzero(moves)[0], np.nonzero(known & ~moves)[0]


def _window(market: OptimizationInputs, bar: int) -> Floats:
    return market.prices.values[bar - market.spec.lookback_days : bar + 1]


def _decide(
    market: OptimizationInputs, bar: int, chosen: NDArray[np.int64], previous: Floats | None
) -> Floats | None:
    """Return the weights of one date; None as long as fewer than two assets have data.

    Raises DataRejected if there is no solution.
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


def _covariance(
    market: OptimizationInputs, bar: int, returns: Floats, chosen: NDArray[np.int64]
) -> Floats:
    if market.covariance is not None:
        return _given_covariance(market, bar, chosen)
    if market.spec.covariance == "sample":
        return np.asarray(np.cov(returns.T), dtype=np.float64)
    from sklearn.covariance import ledoit_wolf

    return np.asarray(ledoit_wolf(returns)[0], dtype=np.float64)


def _given_covariance(market: OptimizationInputs, bar: int, chosen: NDArray[np.int64]) -> Floats:
    assert market.covariance is not None
    symbols = [market.prices.symbols[i] for i in chosen]
    pairs = [f"{one}\0{other}" for one in symbols for other in symbols]
    day = market.prices.dates[bar]
    values = market.covariance.limited(pairs).known([day], SIGNAL_AGE_DAYS)[0]
    if not np.isfinite(values).all():
        raise DataRejected(f"the covariance dataset lacks some of {len(symbols)} assets on {day}")
    matrix = values.reshape(len(symbols), len(symbols))
    return np.asarray((matrix + matrix.T) / 2, dtype=np.float64)


def _metrics(
    market: OptimizationInputs, dates: Sequence[date], weights: Floats
) -> dict[str, object]:
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
    job: Job,
    market: OptimizationInputs,
    dates: Sequence[date],
    weights: Floats,
    notes: Sequence[str],
) -> list[Page]:
    filled = np.nan_to_num(weights)
    symbols = market.prices.symbols
    plot = plot_weights(
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
