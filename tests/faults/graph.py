"""A layered graph of 20 instances on two small files, and the files' next day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

PROJECT = "faults"
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
START = date(2021, 1, 4)
DAYS = 160
PATIENT = {"type": "manual", "max_retries": 8, "backoff_seconds": 2}
"""A run that fails while a database or a server is away is repeated, as a desk would have it."""


def manifest(folder: Path) -> dict[str, Any]:
    """The whole graph; its sources are files in ``folder``."""
    ret, vol = "close / REF(close, 1) - 1", "STD(close / REF(close, 1) - 1, 10)"
    instances = [
        _source("prices", folder / "prices.csv"),
        _source("index", folder / "index.csv"),
        _dataset("returns", ret, prices="close"),
        _dataset("volatility", vol, prices="close"),
        _dataset("market_return", ret, index="close"),
        _slow("slow_prices", 0.4, "prices"),
        _slow("slower_prices", 0.8, "slow_prices"),
        _signal("momentum", "ZSCORE(DELTA(close, 10) / REF(close, 10))", prices="close"),
        _signal("reversal", "ZSCORE(value)", returns="value"),
        _signal("low_risk", "-ZSCORE(value)", volatility="value"),
        _signal("trend", "ZSCORE(DELTA(value, 5))", slower_prices="value"),
        _signal("calm", "ZSCORE(MEAN(value, 5))", returns="value"),
        _signal("blend", "ZSCORE(momentum + reversal)", momentum="value", reversal="value"),
        _signal("mix", "ZSCORE(low_risk + trend)", low_risk="value", trend="value"),
        _signal("final", "ZSCORE(blend + mix + calm)", blend="value", mix="value", calm="value"),
        _slow("total", 0.3, "final", "market_return"),
        _dataset("shadow", "value * 2", final="value"),
        _model(),
        _weights(),
        _backtest(),
    ]
    return {"project": PROJECT, "instances": instances}


def write_sources(folder: Path, generation: int, rng: Random) -> None:
    """Write both files as they are after ``generation`` more days; the newest day is always new."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "prices.csv", SYMBOLS, generation, rng.random())
    _write(folder / "index.csv", ("MKT",), generation, rng.random())


def _write(path: Path, symbols: tuple[str, ...], generation: int, last: float) -> None:
    """Write a walk that every generation repeats but for its last day; replace the file at once."""
    days = DAYS + generation
    rows = ["date,symbol,close"]
    for at, symbol in enumerate(symbols):
        walk, close = Random(at), 100.0
        for number in range(days):
            close *= 1 + walk.gauss(0, 0.01)
            value = close * (1 + 0.01 * last) if number == days - 1 else close
            rows.append(f"{START + timedelta(days=number)},{symbol},{value:.6f}")
    draft = path.with_suffix(".draft")
    draft.write_text("\n".join(rows) + "\n")
    draft.replace(path)


def _source(name: str, path: Path) -> dict[str, Any]:
    pipeline = {"definition": "file", "config": {"path": str(path)}}
    return {"name": name, "type": "DatasetInstance", "pipeline": pipeline, "schedule": PATIENT}


def _dataset(name: str, text: str, **upstreams: str) -> dict[str, Any]:
    config: dict[str, Any] = {"expression": text}
    if len(upstreams) > 1:
        config["inputs"] = {up: {"role": up, "column": col} for up, col in upstreams.items()}
    refs: list[Mapping[str, Any]] = [{"resource": up, "role": up} for up in upstreams]
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "expression", "config": config},
        "schedule": PATIENT,
        "upstream_refs": refs,
    }


def _signal(name: str, text: str, **upstreams: str) -> dict[str, Any]:
    bounds = {"min_value": -1e6, "max_value": 1e6}
    return {**_dataset(name, text, **upstreams), "type": "SignalInstance", "signal": bounds}


def _slow(name: str, seconds: float, *upstreams: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "slow_sum", "config": {"seconds": seconds}},
        "schedule": PATIENT,
        "upstream_refs": [{"resource": up, "role": up} for up in upstreams],
    }


def _model() -> dict[str, Any]:
    """A model on the last signal."""
    return {
        "name": "model",
        "type": "ModelInstance",
        "module": {"definition": "ridge"},
        "target": {"role": "prices", "column": "close", "horizon": 1},
        "features": [{"role": "final", "column": "value"}],
        "split": {"validation": 0.4},
        "promotion": {"rule": "always"},
        "monitoring": {"reference_days": 30, "current_days": 10},
        "schedule": dict.fromkeys(("training", "inference", "monitoring"), PATIENT),
        "upstream_refs": [
            {"resource": "prices", "role": "prices"},
            {"resource": "final", "role": "final"},
        ],
    }


def _weights() -> dict[str, Any]:
    """Weights from the model's predictions."""
    return {
        "name": "weights",
        "type": "PortfolioOptimizerInstance",
        "optimizer": {"definition": "mean_variance", "config": {"risk_aversion": 5}},
        "lookback_days": 40,
        "schedule": PATIENT,
        "upstream_refs": [
            {"resource": "model", "role": "signal"},
            {"resource": "prices", "role": "prices"},
        ],
    }


def _backtest() -> dict[str, Any]:
    """What the weights would have earned."""
    return {
        "name": "backtest",
        "type": "BacktestInstance",
        "assets": {"prices": "prices"},
        "signals": {
            "primary": {"resource": "model", "triggers": True},
            "optimizer": {"resource": "weights", "triggers": True},
        },
        "date_range": {"start": "2021-05-01"},
        "config": {"rebalance_frequency": "weekly"},
        "schedule": PATIENT,
    }
