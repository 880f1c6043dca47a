"""The backtest loop beside ``bt``, an independent library, on real prices."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from prefect_instances.libs.plugins.market_data import MarketDataPipeline
from prefect_instances.libs.quant.backtest import Costs, Slippage, simulate
from prefect_instances.libs.quant.calendar import Frequency, decision_bars
from prefect_instances.libs.services.procedures.panels import Panel, build_panel

CAPITAL = 1_000_000.0


@pytest.fixture(scope="module")
def prices() -> Panel:
    from datetime import UTC, datetime

    from prefect_instances.libs.definitions.pipeline import ExtractContext

    config = {"source": "us_stocks", "start_date": "2015-01-01", "end_date": "2022-11-30"}
    context = ExtractContext("prices", datetime(2022, 12, 1, tzinfo=UTC))
    frame = MarketDataPipeline(config).extract(context, (), None).frame
    return build_panel(frame.sort("date", "symbol"), "close")


def peer_equity(prices: Panel, targets: dict[int, np.ndarray], commission: float) -> np.ndarray:
    """What bt makes of the same trades: it executes on the bar that a weight is dated."""
    import bt
    import pandas as pd

    index = pd.to_datetime([day.isoformat() for day in prices.dates])
    data = pd.DataFrame(prices.values, index=index, columns=list(prices.symbols))
    rows = {index[bar + 1]: row for bar, row in targets.items() if bar + 1 < len(index)}
    weights = pd.DataFrame.from_dict(rows, orient="index", columns=list(prices.symbols))
    strategy = bt.Strategy("peer", [bt.algos.WeighTarget(weights), bt.algos.Rebalance()])
    test = bt.Backtest(
        strategy,
        data,
        initial_capital=CAPITAL,
        integer_positions=False,
        commissions=lambda quantity, price: abs(quantity) * price * commission,
    )
    outcome = bt.run(test)
    values = outcome.backtests["peer"].strategy.values
    return np.asarray(values.reindex(index), dtype=np.float64)


@pytest.mark.parametrize("commission", [0.0, 0.001])
@pytest.mark.parametrize("frequency", [Frequency.MONTHLY, Frequency.WEEKLY])
def test_equity_agrees_with_bt_within_a_tenth_of_a_percent(
    prices: Panel, frequency: Frequency, commission: float
) -> None:
    rng = np.random.default_rng(3)
    count = len(prices.symbols)
    bars = decision_bars(prices.dates, frequency)
    targets = {bar: rng.dirichlet(np.ones(count)) for bar in bars}

    own = simulate(prices.values, targets, CAPITAL, Costs(commission, Slippage.NONE)).equity
    peer = peer_equity(prices, targets, commission)

    assert prices.dates[-1] > date(2022, 1, 1)
    assert own[-1] != CAPITAL
    assert np.abs(own / peer - 1).max() < 0.001
