"""Performance measures of a portfolio against their definitions, on weekly bars."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prefect_instances.libs.quant.backtest import Costs, simulate
from prefect_instances.libs.quant.measures import measures

WEEKS = 52.0
PRICES = np.array([[100.0], [100.0], [104.0], [101.0], [101.0], [107.0], [103.0]])
BENCHMARK = np.array([50.0, 50.5, 51.0, 50.0, 51.5, 52.0, 51.0])
RETURNS = np.array([0.0, 0.04, 101 / 104 - 1, 0.0, 107 / 101 - 1, 103 / 107 - 1])
MARKET = BENCHMARK[1:] / BENCHMARK[:-1] - 1


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    history = simulate(PRICES, {0: np.array([1.0])}, 1000.0, Costs())
    return measures(history, WEEKS, BENCHMARK)


def test_annual_measures_use_the_frequency_of_the_bars(found: dict[str, float]) -> None:
    mean, cagr = RETURNS.mean() * WEEKS, 1.03 ** (WEEKS / 6) - 1
    downside = math.sqrt((np.minimum(RETURNS, 0) ** 2).mean()) * math.sqrt(WEEKS)
    volatility = RETURNS.std(ddof=1) * math.sqrt(WEEKS)

    assert found["cagr"] == pytest.approx(cagr)
    assert found["volatility"] == pytest.approx(volatility)
    assert found["sharpe"] == pytest.approx(mean / volatility)
    assert found["sortino"] == pytest.approx(mean / downside)
    assert found["calmar"] == pytest.approx(cagr / (1 - 103 / 107))


def test_measures_against_a_benchmark_are_those_of_the_regression(found: dict[str, float]) -> None:
    beta = np.cov(RETURNS, MARKET)[0, 1] / MARKET.var(ddof=1)
    alpha = (1 + (RETURNS - beta * MARKET).mean()) ** WEEKS - 1

    assert found["beta"] == pytest.approx(beta)
    assert found["alpha"] == pytest.approx(alpha)
    assert found["tracking_error"] == pytest.approx(
        (RETURNS - MARKET).std(ddof=1) * math.sqrt(WEEKS)
    )
    assert found["benchmark_return"] == pytest.approx(0.02)


def test_turnover_is_half_of_what_is_traded_a_year(found: dict[str, float]) -> None:
    equity = 10 * PRICES[:, 0]

    assert found["turnover"] == pytest.approx(1000 / 2 / equity.mean() / (6 / WEEKS))
    assert found["trades"] == 1
    assert found["win_rate"] == pytest.approx(0.5)
    assert found["max_gross_exposure"] == pytest.approx(1.0)


def test_shorts_add_to_the_gross_exposure() -> None:
    history = simulate(np.full((3, 2), 10.0), {0: np.array([1.5, -0.5])}, 1000.0, Costs())

    assert measures(history, WEEKS)["max_gross_exposure"] == pytest.approx(2.0)
