"""Weights on data like a desk's: one bad date or asset costs that date or asset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.definitions.optimizer import PortfolioOptimizer
from prefect_instances.libs.quant.prices import usable
from prefect_instances.libs.quant.sessions import find_sessions
from prefect_instances.libs.services.composition.instance_types.optimizers import (
    convert_constraints,
)
from prefect_instances.libs.services.procedures.optimization import (
    OptimizationInputs,
    WeightHistory,
    decide_weights,
    take_sessions,
)
from prefect_instances.libs.services.procedures.panels import Panel
from prefect_instances.libs.specs import OptimizerSpec, parse_spec

Floats = np.ndarray[Any, np.dtype[np.float64]]
SYMBOLS = ("AA", "BB", "CC", "DD")
EVERY_OPTIMIZER = ("equal_weight", "mean_variance", "risk_budgeting", "hrp", "black_litterman")


def weekdays(count: int) -> list[date]:
    days = (date(2019, 1, 2) + timedelta(days=at) for at in range(2 * count))
    return [day for day in days if day.weekday() < 5][:count]


def walk(count: int, assets: int, seed: int = 5) -> Floats:
    steps = np.random.default_rng(seed).normal(0.0003, 0.015, (count, assets))
    return np.asarray(50 * np.exp(np.cumsum(steps, axis=0)))


def market(name: str, dates: Sequence[date], prices: Floats, **more: Any) -> OptimizationInputs:
    symbols = SYMBOLS if prices.shape[1] == len(SYMBOLS) else tuple("ABCDEFGH"[: prices.shape[1]])
    spec = parse_spec(
        {
            "name": "portfolio",
            "type": "PortfolioOptimizerInstance",
            "project": "p",
            "optimizer": {"definition": name},
            "lookback_days": 40,
            "rebalance": "weekly",
            **more,
        }
    )
    assert isinstance(spec, OptimizerSpec)
    optimizer = load_installed().get(DefinitionKind.OPTIMIZER, name)({})
    assert isinstance(optimizer, PortfolioOptimizer)
    panel = take_sessions(Panel(tuple(dates), symbols, prices))
    scores = np.tile(np.linspace(-1, 1, len(symbols)), (len(panel.dates), 1))
    return OptimizationInputs(
        spec=spec,
        optimizer=optimizer,
        constraints=convert_constraints(spec.constraints),
        prices=panel,
        scores=scores if optimizer.needs_signal else None,
        covariance=None,
    )


def weights_of(history: WeightHistory) -> Floats:
    return np.nan_to_num(np.array(history.rows))


@pytest.mark.parametrize(
    ("name", "bad"),
    [*((name, 0.0) for name in EVERY_OPTIMIZER), ("hrp", -1.0), ("hrp", np.inf), ("hrp", np.nan)],
)
def test_one_unusable_price_costs_nothing_but_itself(name: str, bad: float) -> None:
    dates, prices = weekdays(60), walk(60, 4)
    before = decide_weights(market("equal_weight", dates, prices))
    prices[50, 1] = bad
    history = decide_weights(market(name, dates, prices))

    assert history.dates == before.dates
    assert not history.unsolved
    assert not history.left_out
    assert np.isfinite(weights_of(history)).all()


@pytest.mark.parametrize("name", EVERY_OPTIMIZER)
def test_a_price_that_does_not_move_is_left_out_and_told(name: str) -> None:
    dates, prices = weekdays(80), walk(80, 4)
    prices[30:60, 3] = prices[30, 3]
    history = decide_weights(market(name, dates, prices, lookback_days=20))
    rows = dict(zip(history.dates, weights_of(history), strict=True))
    constant = [day for day in rows if dates.index(day) in range(50, 60)]

    assert history.left_out == {"DD": len(constant)}
    assert all(rows[day][3] == 0 for day in constant)
    assert all(row.sum() == pytest.approx(1.0, abs=1e-6) for row in rows.values())
    assert not history.unsolved
    assert np.array(history.rows)[-1][3] >= 0  # back once its price moves again


@pytest.mark.parametrize("name", EVERY_OPTIMIZER)
def test_two_assets_are_enough(name: str) -> None:
    history = decide_weights(market(name, weekdays(100), walk(100, 2, seed=2)))

    assert len(history.dates) == 12
    assert not history.unsolved
    assert weights_of(history).sum(axis=1) == pytest.approx(np.ones(12), abs=1e-6)


def test_an_asset_that_leaves_is_sold_beyond_the_limit_of_turnover() -> None:
    dates, prices = weekdays(120), walk(120, 4)
    prices[80:, 3] = np.nan
    limits = {"max_turnover": 0.05, "max_weight": 0.6}
    history = decide_weights(market("mean_variance", dates, prices, constraints=limits))
    weights = weights_of(history)
    moved = np.abs(np.diff(weights, axis=0))
    gone = next(at for at in range(1, len(weights)) if weights[at, 3] == 0 < weights[at - 1, 3])

    assert not history.unsolved
    freed = weights[gone - 1, 3]
    assert moved[gone - 1, :3].sum() <= 0.05 + freed + 1e-4
    assert np.delete(moved.sum(axis=1), gone - 1).max() <= 0.05 + 1e-4
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(weights)), abs=1e-6)


@pytest.mark.parametrize(("policy", "total"), [("keep", 1.0), ("cash", 0.0)])
def test_a_date_without_a_solution_keeps_the_weights_or_is_cash(policy: str, total: float) -> None:
    dates, prices = weekdays(160), walk(160, 4)
    prices[60:70, 1:] = np.nan  # too short to be gone
    prices[70:110, 1:] = np.nan
    history = decide_weights(market("risk_budgeting", dates, prices, without_solution=policy))
    weights = dict(zip(history.dates, weights_of(history), strict=True))
    last = max(day for day in history.dates if day < min(history.unsolved))

    assert set(history.unsolved) < set(history.dates)
    for day, reason in history.unsolved.items():
        assert weights[day].sum() == pytest.approx(total, abs=1e-6)
        assert "are needed" in reason
        if policy == "keep":
            assert weights[day] == pytest.approx(weights[last])


@pytest.mark.parametrize("stocks", [1, 2, 4])
def test_stocks_beside_coins_all_get_weights(stocks: int) -> None:
    """Coins have prices on weekends; returns of all are taken from weekday to weekday."""
    first = date(2019, 1, 2)
    every = [first + timedelta(days=at) for at in range(140)]
    prices = walk(140, stocks + 2)
    weekend = np.array([day.weekday() >= 5 for day in every])
    prices[np.ix_(weekend, np.arange(stocks))] = np.nan
    made = market("risk_budgeting", every, prices)
    history = decide_weights(made)

    assert list(made.prices.dates) == [day for day in every if day.weekday() < 5]
    assert (weights_of(history) > 0).all()
    # The same as on the weekdays alone.
    alone = decide_weights(market("risk_budgeting", made.prices.dates, prices[~weekend]))
    assert weights_of(history) == pytest.approx(weights_of(alone), abs=1e-12)


def test_sessions_depend_on_the_past_only() -> None:
    rng = np.random.default_rng(3)
    every = [date(2019, 1, 2) + timedelta(days=at) for at in range(90)]
    priced = rng.random((90, 6)) < 0.9
    priced[[day.weekday() >= 5 for day in every], :4] = False
    whole = find_sessions(every, priced)
    for end in (1, 5, 30, 60):
        assert (find_sessions(every[:end], priced[:end]) == whole[:end]).all()


def test_weekly_bars_are_sessions_of_their_own() -> None:
    fridays = [date(2019, 1, 4) + timedelta(weeks=at) for at in range(60)]
    priced = np.ones((60, 3), dtype=bool)
    priced[10, 0] = False
    assert find_sessions(fridays, priced).all()
    assert usable(np.array([1.0, 0.0])).tolist() == [True, False]


def test_a_holiday_of_most_assets_is_no_session() -> None:
    weekdays = [
        day for day in (date(2024, 1, 1) + timedelta(n) for n in range(60)) if day.weekday() < 5
    ]
    priced = np.ones((len(weekdays), 4), dtype=bool)
    priced[30, 1:] = False
    priced[35, 2:] = False
    found = find_sessions(weekdays, priced)
    assert [at for at, is_session in enumerate(found) if not is_session] == [30]
