"""The costs and the slippage that a backtest's configuration names are paid by its trades."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from prefect_instances.libs.services.procedures.backtesting import _simulated
from prefect_instances.libs.services.procedures.markets import Market
from prefect_instances.libs.services.procedures.panels import Panel
from prefect_instances.libs.specs import BacktestSpec, parse_spec

BARS = 3
FIRST = date(2024, 1, 1)
DATES = tuple(FIRST + timedelta(days=bar) for bar in range(BARS))
MARKET = Market(Panel(DATES, ("A",), np.full((BARS, 1), 100.0)), None, 0, 0)
CAPITAL = 1000.0
FREE = {"transaction_costs": 0, "slippage_model": "none"}


@pytest.mark.parametrize(
    ("config", "share"),
    [
        pytest.param({}, 0.0, id="free"),
        pytest.param({"transaction_costs": 0.01}, 0.01, id="commission"),
        pytest.param({"slippage_model": "fixed", "slippage_rate": 0.02}, 0.02, id="fixed"),
        pytest.param({"slippage_model": "linear", "slippage_rate": 0.02}, 0.01, id="linear"),
        pytest.param(
            {"transaction_costs": 0.01, "slippage_model": "fixed", "slippage_rate": 0.02},
            0.03,
            id="both",
        ),
    ],
)
def test_a_backtest_pays_what_its_configuration_says(config: dict[str, Any], share: float) -> None:
    spec = parse_spec(
        {
            "type": "BacktestInstance",
            "project": "p",
            "name": "b",
            "signals": {"primary": "s"},
            "assets": {"universe": ["A"]},
            "date_range": {"start": str(FIRST)},
            "config": {"initial_capital": CAPITAL, **FREE, **config},
        }
    )
    assert isinstance(spec, BacktestSpec)

    history = _simulated(spec, MARKET, {0: np.array([0.5])})

    traded = float(np.abs(history.trades.shares * history.trades.price).sum())
    assert traded > 0
    assert history.trades.cost.sum() == pytest.approx(traded * share, rel=0.05)
    assert history.equity[-1] == pytest.approx(CAPITAL - history.trades.cost.sum())
