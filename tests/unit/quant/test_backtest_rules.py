"""What the backtest loop does with what has no price, and what it pays with."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest

from prefect_instances.libs.quant.backtest import (
    EXPIRED,
    NEVER,
    Costs,
    Slippage,
    Unpayable,
    simulate,
)
from prefect_instances.libs.quant.calendar import bars_per_year
from prefect_instances.libs.quant.measures import measures

NAN = float("nan")


def test_an_order_without_a_price_waits_for_the_next_bar_that_has_one() -> None:
    prices = np.array([[10.0], [NAN], [NAN], [20.0], [40.0]])
    history = simulate(prices, {0: np.array([1.0])}, 100.0, Costs())

    assert history.trades.bar.tolist() == [3]
    assert history.trades.shares.tolist() == [5.0]
    assert history.equity.tolist() == [100.0, 100.0, 100.0, 100.0, 200.0]
    waiting = history.waiting
    assert (waiting.due.tolist(), waiting.asset.tolist(), waiting.done.tolist()) == ([1], [0], [3])


def test_an_order_that_meets_no_price_before_the_next_decision_is_dropped() -> None:
    prices = np.array([[10.0, 1.0], [NAN, 1.0], [NAN, 1.0], [10.0, 1.0], [10.0, 1.0]])
    decisions = {0: np.array([1.0, 0.0]), 2: np.array([0.0, 1.0])}
    history = simulate(prices, decisions, 100.0, Costs())

    assert history.trades.asset.tolist() == [1]
    assert history.waiting.done.tolist() == [NEVER]


@pytest.mark.parametrize(("expiry", "done"), [(0, EXPIRED), (1, EXPIRED), (2, 3), (None, 3)])
def test_an_order_waits_as_many_bars_as_its_expiry_says(expiry: int | None, done: int) -> None:
    prices = np.array([[10.0], [NAN], [NAN], [20.0], [40.0], [40.0]])
    history = simulate(prices, {0: np.array([1.0])}, 100.0, Costs(), expiry)

    assert history.waiting.done.tolist() == [done]
    assert history.equity[-1] == (200.0 if done == 3 else 100.0)
    found = measures(history, 252.0)
    assert (found["orders_waited"], found["orders_never_executed"]) == (1.0, 0.0)
    assert found["orders_expired"] == float(done == EXPIRED)


def test_a_holding_that_cannot_be_sold_is_not_spent() -> None:
    prices = np.array([[10.0, 1.0], [10.0, 1.0], [10.0, 1.0], [NAN, 1.0], [NAN, 1.0]])
    decisions = {0: np.array([1.0, 0.0]), 2: np.array([0.0, 1.0])}
    history = simulate(prices, decisions, 100.0, Costs())

    assert history.cash.tolist() == [100.0, 0.0, 0.0, 0.0, 0.0]
    assert history.weights.sum(axis=1).tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]


def test_what_was_cut_short_is_completed_once_the_holding_is_sold() -> None:
    prices = np.array([[10.0, 1.0], [10.0, 1.0], [10.0, 1.0], [NAN, 1.0], [20.0, 1.0]])
    decisions = {0: np.array([0.5, 0.5]), 2: np.array([0.0, 1.0])}
    history = simulate(prices, decisions, 100.0, Costs())

    # The 50 that are stuck leave 50 for the other; sold for 100 they buy 100 more of it.
    assert history.weights[3].tolist() == [0.5, 0.5]
    assert history.weights[4].tolist() == [0.0, 1.0]
    assert history.equity[4] == pytest.approx(150.0)


def test_a_holding_that_is_kept_takes_nothing_from_the_others() -> None:
    prices = np.array([[10.0, 10.0], [10.0, 10.0], [10.0, 10.0], [NAN, 10.0]])
    half = np.array([0.5, 0.5])
    history = simulate(prices, {0: half, 2: half}, 100.0, Costs())

    assert history.weights[3].tolist() == [0.5, 0.5]
    assert len(history.trades.bar) == 2


def test_the_costs_of_what_replaces_a_stuck_holding_are_paid_from_what_is_free() -> None:
    prices = np.array([[10.0, 1.0, 1.0]] * 3 + [[NAN, 1.0, 1.0]] * 2)
    decisions = {0: np.array([0.5, 0.5, 0.0]), 2: np.array([0.0, 0.0, 1.0])}
    history = simulate(prices, decisions, 100.0, Costs(commission=0.01))

    assert history.cash == pytest.approx([100.0, 0.0, 0.0, 0.0, 0.0], abs=1e-9)
    bought = history.trades.shares[history.trades.asset == 2]
    sold = 100 / 1.01 / 2
    assert bought == pytest.approx([sold * 0.99 / 1.01])


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf, 0.0, -5.0])
def test_every_unusable_price_is_a_missing_one(bad: float) -> None:
    prices = np.array([[10.0], [10.0], [bad], [20.0]])
    history = simulate(prices, {0: np.array([1.0])}, 100.0, Costs())

    assert history.equity.tolist() == [100.0, 100.0, 100.0, 200.0]


def test_purchases_that_shorts_would_pay_for_are_cut_to_the_cash() -> None:
    # The long is stuck; closing the short costs 30, and there is no cash.
    prices = np.array([[1.0, 1.0], [1.0, 1.0], [NAN, 1.0], [NAN, 1.0]])
    decisions = {0: np.array([1.3, -0.3]), 1: np.array([0.0, 0.0])}
    history = simulate(prices, decisions, 100.0, Costs())

    assert history.cash == pytest.approx([100.0, 0.0, 0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize("rate", [0.3, 0.9, 0.99])
def test_high_costs_are_paid_exactly(rate: float) -> None:
    prices = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    decisions = {0: np.array([1.0, 0.0]), 2: np.array([0.0, 1.0])}
    history = simulate(prices, decisions, 100.0, Costs(commission=rate))

    first = 100 / (1 + rate)
    assert history.equity[1] == pytest.approx(first, rel=1e-12)
    assert history.equity[3] == pytest.approx(first * (1 - rate) / (1 + rate), rel=1e-9)
    assert history.cash[1:] == pytest.approx([0.0] * 3, abs=1e-9)


def test_costs_that_nothing_can_pay_for_are_refused() -> None:
    prices = np.ones((4, 1))
    decisions = {0: np.array([1.0]), 2: np.array([0.0])}

    with pytest.raises(Unpayable) as caught:
        simulate(prices, decisions, 100.0, Costs(0.9, Slippage.LINEAR, 0.9))

    assert caught.value.bar == 3


def days(first: date, count: int, step: int) -> list[date]:
    return [first + timedelta(days=step * at) for at in range(count)]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (days(date(2020, 1, 3), 200, 7), 365.25 / 7),
        (days(date(2020, 1, 3), 200, 1), 365.25),
        ([date(2010 + at // 12, at % 12 + 1, 1) for at in range(121)], 12.0),
        ([date(2020, 1, 1)], NAN),
    ],
    ids=["weekly", "every day", "monthly", "one bar"],
)
def test_the_bars_of_a_year_are_counted_in_the_calendar(dates: list[date], expected: float) -> None:
    assert bars_per_year(dates) == pytest.approx(expected, rel=1e-3, nan_ok=True)


def test_weekly_bars_have_the_measures_of_their_calendar() -> None:
    rng = np.random.default_rng(1)
    count = 300
    prices = np.exp(np.cumsum(rng.normal(0.002, 0.02, (count, 1)), axis=0))
    dates = days(date(2015, 1, 2), count, 7)
    history = simulate(prices, {0: np.array([1.0])}, 1000.0, Costs())
    found = measures(history, bars_per_year(dates), prices[:, 0])

    equity = history.equity
    returns = equity[1:] / equity[:-1] - 1
    years = (dates[-1] - dates[0]).days / 365.25
    week = math.sqrt(365.25 / 7)
    assert found["cagr"] == pytest.approx((equity[-1] / equity[0]) ** (1 / years) - 1)
    assert found["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * week)
    assert found["volatility"] == pytest.approx(returns.std(ddof=1) * week)
    assert found["calmar"] == pytest.approx(found["cagr"] / -found["max_drawdown"])
    below = math.sqrt((np.minimum(returns, 0) ** 2).mean())
    assert found["sortino"] == pytest.approx(returns.mean() / below * week)
    traded = abs(history.trades.shares * history.trades.price).sum()
    assert found["turnover"] == pytest.approx(traded / 2 / equity.mean() / years)
    market = prices[1:, 0] / prices[:-1, 0] - 1
    assert found["tracking_error"] == pytest.approx((returns - market).std(ddof=1) * week)
    beta = np.cov(returns, market)[0, 1] / market.var(ddof=1)
    alpha = (1 + (returns - beta * market).mean()) ** (365.25 / 7) - 1
    assert (found["beta"], found["alpha"]) == pytest.approx((beta, alpha))


def test_what_is_free_by_rounding_only_buys_nothing() -> None:
    # Two holdings in thirds are stuck; what is left of 1 after them is a matter of rounding.
    prices = np.array([[3.0, 7.0, 11.0]] * 3 + [[NAN, NAN, 11.0]] * 2)
    decisions = {0: np.array([1 / 3, 2 / 3, 0.0]), 2: np.array([0.0, 0.0, 1.0])}
    history = simulate(prices, decisions, 1_000_003.0, Costs(commission=0.0015))

    assert set(history.trades.asset.tolist()) == {0, 1}


def test_a_portfolio_that_has_lost_everything_buys_nothing_more() -> None:
    # The short loses more than the portfolio is worth; what is left of the cash closes a part.
    prices = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 9.0], [1.0, 9.0], [1.0, 9.0]])
    decisions = {0: np.array([1.3, -0.3]), 2: np.array([0.5, 0.5])}
    history = simulate(prices, decisions, 100.0, Costs(commission=0.001))

    assert history.equity[-1] < 0
    assert history.cash[-1] == pytest.approx(0.0, abs=1e-9)
    assert history.weights[-1][0] == 0.0


def test_an_order_that_waits_costs_nothing_yet() -> None:
    prices = np.array([[1.0, 1.0], [1.0, NAN], [1.0, NAN]])
    history = simulate(prices, {0: np.array([0.5, 0.5])}, 1000.0, Costs(commission=0.01))
    bought = 500 / 1.005
    assert history.trades.shares == pytest.approx([bought])
    assert history.cash[-1] == pytest.approx(1000 - 1.01 * bought)
