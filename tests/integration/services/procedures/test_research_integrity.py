"""Backtests on a desk's data: several calendars in one file, a missing price, an infinite one."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.integration.bench import Bench, derived
from tests.integration.services.procedures.test_portfolios import last_run, output

STOCKS = ["AA", "BB", "CC", "DD", "EE", "FF"]


def walk(count: int, columns: int, seed: int, spread: float = 0.015) -> np.ndarray:
    """Prices of random walks."""
    steps = np.random.default_rng(seed).normal(0.0003, spread, (count, columns))
    return 50 * np.exp(np.cumsum(steps, axis=0))


def days(count: int, *, weekdays: bool = True) -> list[date]:
    every = [date(2019, 1, 2) + timedelta(days=at) for at in range(2 * count)]
    return [day for day in every if not weekdays or day.weekday() < 5][:count]


def long(values: np.ndarray, dates: list[date], symbols: list[str]) -> pl.DataFrame:
    """One row a price that is not NaN."""
    each = [day for day in dates for _ in symbols]
    rows = {"date": each, "symbol": symbols * len(dates)}
    frame = pl.DataFrame({**rows, "close": values.reshape(-1)})
    return frame.filter(pl.col("close").is_not_nan())


def dataset(project: str, name: str, path: Path) -> dict[str, Any]:
    pipeline = {"definition": "file", "config": {"path": str(path)}}
    return {"name": name, "type": "DatasetInstance", "project": project, "pipeline": pipeline}


def momentum(project: str, name: str, prices: str) -> dict[str, Any]:
    return {
        **derived(project, name, "close / REF(close, 20) - 1", prices),
        "type": "SignalInstance",
    }


def backtest(project: str, name: str, signal: str, prices: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "BacktestInstance",
        "project": project,
        "assets": {"universe": STOCKS, "prices": prices},
        "signals": {"primary": {"resource": signal, "triggers": True}},
        "date_range": {"start": "2019-03-01"},
        "config": {"rebalance_frequency": "weekly", "top_fraction": 0.5},
        **more,
    }


def measured(bench: Bench, name: str) -> dict[str, Any]:
    """The metrics of the newest run, but for how long it took."""
    found: dict[str, Any] = last_run(bench, name)["metrics"]
    return {key: value for key, value in found.items() if key != "seconds"}


def test_a_coin_in_the_file_changes_nothing_of_a_backtest_of_stocks(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    closes = walk(260, 6, 0)
    closes[120, 3] = np.inf
    stocks = long(closes, days(260), STOCKS)
    coin = long(walk(360, 1, 1, 0.03) * 400, days(360, weekdays=False), ["COIN"])
    for name, frame in (("plain", stocks), ("mixed", pl.concat([stocks, coin]))):
        path = tmp_path / f"{name}.parquet"
        frame.write_parquet(path)
        bench.provision(dataset(project, name, path))
        bench.provision(momentum(project, f"s_{name}", name))
        bench.provision(backtest(project, f"bt_{name}", f"s_{name}", name))
    bench.drain()

    plain, mixed = (measured(bench, name) for name in ("bt_plain", "bt_mixed"))
    assert mixed == plain
    assert (plain["trades"] > 100, plain["unusable_prices"]) == (True, 1.0)
    assert plain["bars_per_year"] == pytest.approx(260, rel=0.01)
    equity = output(bench, "bt_mixed")
    assert equity["equity"].is_finite().all()
    assert equity.equals(output(bench, "bt_plain"))


def test_what_a_decision_does_not_hold_is_sold(bench: Bench, project: str, tmp_path: Path) -> None:
    closes, path = walk(420, 6, 0), tmp_path / "prices.parquet"
    closes[300, 4] = np.nan
    long(closes, days(420), STOCKS).write_parquet(path)
    bench.provision(dataset(project, "prices", path))
    bench.provision(momentum(project, "momentum", "prices"))
    bench.provision(
        {
            "name": "weights",
            "type": "PortfolioOptimizerInstance",
            "project": project,
            "definition": "equal_weight",
            "lookback_days": 60,
            "rebalance": "weekly",
            "upstream_refs": [
                {"resource": "momentum", "role": "signal"},
                {"resource": "prices", "role": "prices"},
            ],
        }
    )
    follows = {"primary": "momentum", "optimizer": {"resource": "weights", "triggers": True}}
    bench.provision(backtest(project, "bt", "momentum", "prices", signals=follows))
    bench.drain()

    held = output(bench, "bt")
    assert held["cash"].min() >= -1e-6  # type: ignore[operator]  # a float
    assert held["exposure"].max() <= 1 + 1e-9  # type: ignore[operator]  # a float
