"""The backtest loop against cases computed by hand and laws that hold for all."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prefect_instances.libs.quant.backtest import Costs, Slippage, simulate
from prefect_instances.libs.quant.calendar import Frequency, decision_bars
from prefect_instances.libs.quant.measures import drawdown_of, measures
from prefect_instances.libs.specs.instances.optimizers import day_faults

NAN = float("nan")


def test_a_decision_is_executed_on_the_next_close() -> None:
    prices = np.array([[10.0], [20.0], [40.0]])
    history = simulate(prices, {0: np.array([1.0])}, 100.0, Costs())

    assert history.trades.bar.tolist() == [1]
    assert history.trades.shares.tolist() == [5.0]
    assert history.equity.tolist() == [100.0, 100.0, 200.0]
    assert history.cash.tolist() == [100.0, 0.0, 0.0]


def test_commission_is_paid_out_of_the_portfolio_and_cash_is_never_negative() -> None:
    prices = np.array([[10.0], [10.0], [10.0]])
    history = simulate(prices, {0: np.array([1.0])}, 101.0, Costs(commission=0.01))

    # 100 invested + 1 of commission = 101 of capital.
    assert history.trades.shares[0] == pytest.approx(10.0, abs=1e-9)
    assert history.trades.cost[0] == pytest.approx(1.0, abs=1e-9)
    assert history.cash[1] == pytest.approx(0.0, abs=1e-9)
    assert history.equity[-1] == pytest.approx(100.0, abs=1e-9)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Slippage.NONE, 0.0),
        (Slippage.FIXED, 50.0 * 0.01),
        (Slippage.LINEAR, 50.0 * 0.01 * 0.5),
        (Slippage.SQRT, 50.0 * 0.01 * 0.5**0.5),
    ],
)
def test_slippage_follows_its_formula(model: Slippage, expected: float) -> None:
    costs = Costs(slippage=model, rate=0.01)

    assert costs.of(np.array([50.0]), 100.0)[0] == pytest.approx(expected)


def test_rebalancing_two_assets_by_hand() -> None:
    prices = np.array([[10.0, 10.0], [10.0, 10.0], [20.0, 10.0], [20.0, 10.0]])
    half = np.array([0.5, 0.5])
    history = simulate(prices, {0: half, 2: half}, 100.0, Costs())

    assert history.equity.tolist() == [100.0, 100.0, 150.0, 150.0]
    assert history.trades.shares.tolist() == [5.0, 5.0, -1.25, 2.5]
    assert history.weights[3].tolist() == [0.5, 0.5]
    assert history.weights[2].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_an_asset_without_a_price_keeps_its_last_one_and_is_not_traded() -> None:
    prices = np.array([[10.0, 10.0], [10.0, 10.0], [10.0, NAN], [10.0, NAN]])
    history = simulate(prices, {0: np.array([0.5, 0.5]), 1: np.array([1.0, 0.0])}, 100.0, Costs())

    assert history.equity.tolist() == [100.0] * 4
    assert set(history.trades.asset[history.trades.bar == 2].tolist()) <= {0}


weights = arrays(np.float64, (3,), elements=st.floats(0, 0.33))
closes = arrays(np.float64, (12, 3), elements=st.floats(1, 100))


@settings(deadline=None)
@given(closes, st.lists(weights, min_size=3, max_size=3), st.floats(0, 0.02))
def test_cash_is_conserved(prices: np.ndarray, targets: list[np.ndarray], rate: float) -> None:
    plan = dict(zip((0, 4, 8), targets, strict=True))
    history = simulate(prices, plan, 1000.0, Costs(rate, Slippage.SQRT, rate))
    trades = history.trades
    spent = np.zeros(len(prices))
    np.add.at(spent, trades.bar, trades.shares * trades.price + trades.cost)

    assert history.cash == pytest.approx(1000.0 - np.cumsum(spent), abs=1e-6)
    assert history.cash.min() >= -1e-6


@settings(deadline=None)
@given(closes, weights, st.integers(2, 10))
def test_the_future_does_not_change_the_past(
    prices: np.ndarray, target: np.ndarray, now: int
) -> None:
    changed = prices.copy()
    changed[now:] *= 3.0
    costs = Costs(0.001, Slippage.LINEAR, 0.001)
    plan = {0: target, 3: target[::-1], 6: target}

    before = simulate(prices, plan, 1000.0, costs).equity[:now]
    after = simulate(changed, plan, 1000.0, costs).equity[:now]

    assert (before == after).all()


@settings(deadline=None)
@given(closes, weights)
def test_higher_costs_never_leave_more(prices: np.ndarray, target: np.ndarray) -> None:
    plan = {0: target, 5: target[::-1]}
    ends = [simulate(prices, plan, 1000.0, Costs(c)).equity[-1] for c in (0.0, 0.005, 0.02)]

    assert ends[0] >= ends[1] - 1e-9
    assert ends[1] >= ends[2] - 1e-9


def sessions(start: date, count: int) -> list[date]:
    days = [start + timedelta(days=i) for i in range(count * 2)]
    return [day for day in days if day.weekday() < 5][:count]


@pytest.mark.parametrize(
    ("frequency", "day", "expected"),
    [
        (Frequency.MONTHLY, "", ["2024-01-02", "2024-01-31", "2024-02-29"]),
        (Frequency.MONTHLY, "end", ["2024-01-02", "2024-01-31", "2024-02-29"]),
        (Frequency.MONTHLY, "15", ["2024-01-02", "2024-01-15", "2024-02-15"]),
        (Frequency.MONTHLY, "31", ["2024-01-02", "2024-01-31", "2024-02-29"]),
    ],
)
def test_monthly_decisions(frequency: Frequency, day: str, expected: list[str]) -> None:
    dates = sessions(date(2024, 1, 2), 45)
    assert str(dates[-1]) == "2024-03-04"

    assert [str(dates[bar]) for bar in decision_bars(dates, frequency, day)] == expected


def test_weekly_decisions_fall_on_the_day_or_the_last_bar_before_the_weekend() -> None:
    dates = [day for day in sessions(date(2024, 3, 25), 12) if day != date(2024, 3, 29)]

    found = [str(dates[bar]) for bar in decision_bars(dates, Frequency.WEEKLY)]

    assert found == ["2024-03-25", "2024-03-28", "2024-04-05"]


@pytest.mark.parametrize(
    ("frequency", "day", "legal"),
    [
        (Frequency.DAILY, "friday", False),
        (Frequency.WEEKLY, "friday", True),
        (Frequency.WEEKLY, "someday", False),
        (Frequency.MONTHLY, "end", True),
        (Frequency.MONTHLY, "31", True),
        (Frequency.MONTHLY, "32", False),
        (Frequency.DAILY, "", True),
    ],
)
def test_a_day_that_says_nothing_is_told(frequency: Frequency, day: str, legal: bool) -> None:
    values = {"frequency": frequency, "day": day}

    assert (not list(day_faults(values, "frequency", "day"))) is legal


def test_measures_of_a_known_curve() -> None:
    prices = np.array([[100.0], [100.0], [110.0], [99.0], [108.9]])
    history = simulate(prices, {0: np.array([1.0])}, 1000.0, Costs())
    found = measures(history, 252.0, prices[:, 0])

    assert found["total_return"] == pytest.approx(0.089)
    assert found["max_drawdown"] == pytest.approx(-0.1)
    assert found["win_rate"] == pytest.approx(2 / 3)
    assert found["beta"] == pytest.approx(1.0)
    assert found["alpha"] == pytest.approx(0.0, abs=1e-9)
    assert found["tracking_error"] == pytest.approx(0.0, abs=1e-12)
    assert found["cagr"] == pytest.approx(1.089 ** (252 / 4) - 1)
    assert drawdown_of(history.equity).min() == pytest.approx(-0.1)
