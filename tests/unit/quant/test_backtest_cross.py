"""The backtest beside a plain loop and beside ``bt``, on random universes, to 1e-9."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from prefect_instances.libs.quant.backtest import Costs, History, Slippage, simulate
from prefect_instances.libs.quant.calendar import Frequency, decision_bars
from tests.promised import PROMISED
from tests.unit.quant.backtest_loop import IMPACTS, PlainLoop

CAPITAL = 1_000_000.0


@dataclass(frozen=True)
class Universe:
    """Prices (bars x assets), decisions and costs that were drawn."""

    dates: tuple[date, ...]
    prices: np.ndarray
    targets: dict[int, np.ndarray]
    costs: Costs
    has_shorts: bool
    expiry: int | None


@st.composite
def universes(draw: st.DrawFn) -> Universe:
    """Missing and unusable prices, delistings, mixed calendars, weekly and monthly bars, shorts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    assets, bars = draw(st.integers(1, 6)), draw(st.integers(3, 60))
    dates = tuple(_dates(draw(st.sampled_from(["daily", "every", "weekly", "monthly"])), bars))
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.04, (bars, assets)), axis=0))
    if draw(st.booleans()):
        holes = rng.random(prices.shape) < draw(st.sampled_from([0.02, 0.2, 0.6]))
        prices[holes] = rng.choice([np.nan, 0.0, -1.0, np.inf], holes.sum())
    if draw(st.booleans()):
        weekend = np.array([day.weekday() >= 5 for day in dates])
        prices[np.ix_(weekend, rng.random(assets) < 0.5)] = np.nan
    if draw(st.booleans()):
        prices[rng.integers(bars) :, rng.integers(assets)] = np.nan
        prices[: rng.integers(bars), rng.integers(assets)] = np.nan
    has_shorts = draw(st.booleans())
    frequency = draw(st.sampled_from(list(Frequency)))
    targets = {bar: _weights(rng, assets, has_shorts) for bar in decision_bars(dates, frequency)}
    expiry = draw(st.sampled_from([None, None, 0, 1, 4]))
    return Universe(dates, prices, targets, draw(all_costs()), has_shorts, expiry)


def all_costs() -> st.SearchStrategy[Costs]:
    return st.builds(
        Costs,
        st.sampled_from([0.0, 0.001, 0.02]),
        st.sampled_from(list(Slippage)),
        st.sampled_from([0.0005, 0.01, 0.1]),
    )


def _dates(kind: str, bars: int) -> list[date]:
    start = date(2020, 1, 3)
    if kind == "monthly":
        return [date(2020 + at // 12, at % 12 + 1, 28) for at in range(bars)]
    if kind == "weekly":
        return [start + timedelta(days=7 * at) for at in range(bars)]
    days = [start + timedelta(days=at) for at in range(2 * bars)]
    return [day for day in days if kind == "every" or day.weekday() < 5][:bars]


def _weights(rng: np.random.Generator, assets: int, has_shorts: bool) -> np.ndarray:
    """Sum at most 1, often exactly 1, often with zeros; gross at most 1.6 with shorts."""
    kept = np.where(rng.random(assets) < 0.3, 0.0, rng.random(assets))
    weights = kept / max(kept.sum(), 1e-300) * rng.choice([1.0, 1.0, 0.7])
    if has_shorts and assets > 1:
        weights[0] -= 0.3
        weights[1] += 0.3
    return weights


def simulated(given: Universe) -> History:
    return simulate(given.prices, given.targets, CAPITAL, given.costs, given.expiry)


def looped(given: Universe) -> PlainLoop:
    assets = given.prices.shape[1]
    costs = given.costs
    loop = PlainLoop(
        CAPITAL,
        costs.commission,
        costs.rate,
        IMPACTS[costs.slippage.value],
        given.expiry,
        [0.0] * assets,
        [0.0] * assets,
    )
    targets = {bar: row.tolist() for bar, row in given.targets.items()}
    loop.run(given.prices.tolist(), targets)
    return loop


@settings(max_examples=PROMISED)
@given(universes())
def test_a_plain_loop_gives_the_same(given: Universe) -> None:
    history, loop = simulated(given), looped(given)

    assert history.equity == pytest.approx(loop.equity, rel=1e-9, abs=1e-9 * CAPITAL)
    assert history.cash == pytest.approx(loop.cashes, rel=1e-9, abs=1e-9 * CAPITAL)
    waiting = history.waiting
    found = zip(waiting.due, waiting.asset, waiting.done, strict=True)
    assert sorted(found) == sorted(loop.waited)


@settings(max_examples=PROMISED)
@given(universes())
def test_cash_and_exposure_keep_their_limits_on_every_bar(given: Universe) -> None:
    history = simulated(given)

    event("orders waited" if len(history.waiting.due) else "all orders met a price")
    assert history.cash.min() >= -1e-6
    gross = np.abs(history.weights).sum(axis=1)
    if not given.has_shorts:
        assert gross.max() <= 1 + 1e-9
    elif np.isfinite(given.prices).all() and given.prices.min() > 0:
        at = [bar + 1 for bar in given.targets if bar + 1 < len(gross)]
        limits = [max(1.0, np.abs(given.targets[bar - 1]).sum()) for bar in at]
        assert (gross[at] <= np.array(limits) + 1e-9).all()


@settings(max_examples=PROMISED)
@given(universes())
def test_bt_makes_the_same_of_the_trades(given: Universe) -> None:
    history = simulated(given)

    equity, cash = accounted_by_bt(given, history)
    assert history.equity == pytest.approx(equity, rel=1e-9, abs=1e-9 * CAPITAL)
    assert history.cash == pytest.approx(cash, rel=1e-9, abs=1e-9 * CAPITAL)


def accounted_by_bt(given: Universe, history: History) -> tuple[np.ndarray, np.ndarray]:
    """Equity and cash by bt's books, which are told each trade and its cost."""
    import bt

    trades, names = history.trades, [f"S{at}" for at in range(given.prices.shape[1])]
    index = pd.to_datetime([day.isoformat() for day in given.dates])
    usable = np.isfinite(given.prices) & (given.prices > 0)
    table = pd.DataFrame(np.where(usable, given.prices, np.nan), index=index, columns=names)

    def follow(target: bt.Strategy) -> bool:
        for at in np.nonzero(index[trades.bar] == target.now)[0]:
            target.transact(trades.shares[at], child=names[trades.asset[at]])
            target.adjust(-trades.cost[at], fee=trades.cost[at], flow=False)
        return True

    strategy = bt.Strategy("peer", [follow], children=names)
    test = bt.Backtest(
        strategy,
        table.ffill().bfill().fillna(1.0),
        initial_capital=CAPITAL,
        integer_positions=False,
        progress_bar=False,
    )
    test.run()
    books = test.strategy
    return books.values.reindex(index).to_numpy(), books.cash.reindex(index).to_numpy()
