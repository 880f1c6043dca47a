"""No look-ahead: whatever becomes of the data after a date, nothing up to that date changes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest

from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench, derived

dates_drawn = pytest.mark.parametrize("days", [1, pytest.param(3, marks=pytest.mark.thorough)])
"""Each session draws others, and each date computes the whole chain anew."""

CHAIN = [
    ("momentum", "refresh"),
    ("m", "inference"),
    ("portfolio", "optimize"),
    ("by_weights", "backtest"),
    ("by_signal", "backtest"),
]
"""Everything below the prices, in order, but for the training and the monitoring."""


def documents(path: Path) -> list[dict[str, Any]]:
    project = f"p{uuid4().hex[:8]}"
    ranges = {"start": "2020-10-01", "end": "2021-12-31"}
    backtest = {
        "type": "BacktestInstance",
        "project": project,
        "assets": {"benchmark": "KO"},
        "date_range": ranges,
        "config": {"rebalance_frequency": "weekly", "transaction_costs": 0.001},
    }
    upstreams = [
        {"resource": "prices", "role": "prices"},
        {"resource": "momentum", "role": "momentum"},
    ]
    return [
        {
            "name": "prices",
            "type": "DatasetInstance",
            "project": project,
            "pipeline": {"definition": "file", "config": {"path": str(path)}},
            "guardrail_contracts": [{"kind": "dataset.continuity", "config": {"max_loss": 1}}],
        },
        {
            **derived(project, "momentum", "ZSCORE(DELTA(close, 20) / REF(close, 20))", "prices"),
            "type": "SignalInstance",
        },
        {
            "name": "m",
            "type": "ModelInstance",
            "project": project,
            "module": {"definition": "ridge"},
            "features": [{"role": "momentum", "column": "value", "lags": [0, 5]}],
            "split": {"validation": 0.6, "embargo": 5},
            # Longer than all data: then the watch has nothing to compare, and costs nothing.
            "monitoring": {"reference_days": 5000, "current_days": 5000},
            "upstream_refs": upstreams,
        },
        {
            "name": "portfolio",
            "type": "PortfolioOptimizerInstance",
            "project": project,
            "definition": "mean_variance",
            "constraints": {"max_weight": 0.4},
            "lookback_days": 60,
            "upstream_refs": [
                {"resource": "m", "role": "signal"},
                {"resource": "prices", "role": "prices"},
            ],
        },
        {**backtest, "name": "by_weights", "signals": {"primary": "m", "optimizer": "portfolio"}},
        {**backtest, "name": "by_signal", "signals": {"primary": "momentum"}},
    ]


def revised_documents(path: Path) -> list[dict[str, Any]]:
    """The same chain over prices that are read point-in-time, also as a feature of the model."""
    chain = documents(path)
    chain[0]["accessor"] = {"definition": "point_in_time", "config": {"max_age_days": 10}}
    chain[2]["features"].append({"role": "prices", "column": "close", "lags": [1]})
    return chain


def outputs(bench: Bench) -> dict[str, pl.DataFrame]:
    """What every flow of the chain shows now."""
    found = {}
    for name, _ in CHAIN:
        document = reports.show(bench.services.database, bench.services.now(), name)
        version = document["output"]["version"]
        found[name] = read_version(bench.services, UUID(version)).sort("date", "symbol").collect()
    return found


def corrupted(real: pl.DataFrame, after: date, seed: random.Random) -> pl.DataFrame:
    """Every price after the date is another one."""
    noise = pl.Series([seed.uniform(0.7, 1.4) for _ in range(real.height)])
    late = pl.when(pl.col("date") > after)
    return real.with_columns(close=late.then(pl.col("close") * noise).otherwise("close"))


def revised(real: pl.DataFrame, seed: random.Random) -> pl.DataFrame:
    """Prices that become known in the evening or days later, and of which many are corrected."""
    count = real.height
    delays = [seed.choice([21, 21, 21, 26, 60]) for _ in range(count)]
    known = pl.col("date").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=pl.Series(delays))
    first = real.with_columns(knowledge_time=known)
    later = pl.duration(hours=pl.Series([seed.randint(1, 900) for _ in range(count)]))
    noise = pl.Series([seed.uniform(0.9, 1.1) for _ in range(count)])
    again = first.with_columns(
        pl.col("close") * noise, knowledge_time=pl.col("knowledge_time") + later
    )
    return pl.concat([first, again.sample(fraction=0.3, seed=seed.getrandbits(16))])


def corrupted_knowledge(real: pl.DataFrame, after: date, seed: random.Random) -> pl.DataFrame:
    """Every price that became known after the date is another one, or never came."""
    noise = pl.Series([seed.uniform(0.7, 1.4) for _ in range(real.height)])
    missing = pl.Series([seed.random() < 0.1 for _ in range(real.height)])
    is_late = pl.col("knowledge_time").dt.date() > after
    changed = real.with_columns(
        close=pl.when(is_late).then(pl.col("close") * noise).otherwise("close")
    )
    return changed.filter(~(is_late & missing))


@dates_drawn
def test_corrupt_data_after_a_date_change_nothing_up_to_it(
    bench: Bench, tmp_path: Path, days: int
) -> None:
    seed, path = seeded(), tmp_path / "prices.parquet"
    real = stocks()
    real.write_parquet(path)

    change = partial(corrupted, real)
    for told, before, after in outcomes(bench, documents(path), seed, days, change):
        require_same(told, before, after)


@dates_drawn
def test_corrupt_revisions_after_a_date_change_nothing_up_to_it(
    bench: Bench, tmp_path: Path, days: int
) -> None:
    seed, path = seeded(), tmp_path / "prices.parquet"
    real = revised(stocks(), seed)
    real.write_parquet(path)
    change = partial(corrupted_knowledge, real)

    for told, before, after in outcomes(bench, revised_documents(path), seed, days, change):
        require_same(told, before, after)


@dataclass(frozen=True)
class Told:
    """When the data were corrupt, and the seed to repeat it by."""

    after: date
    state: int


Corrupt = Callable[[date, random.Random], pl.DataFrame]


def outcomes(
    bench: Bench, chain: list[dict[str, Any]], seed: Seeded, days: int, change: Corrupt
) -> Iterator[tuple[Told, dict[str, pl.DataFrame], dict[str, pl.DataFrame]]]:
    """What the chain shows of the real data, and with them corrupt after each drawn date."""
    path = Path(chain[0]["pipeline"]["config"]["path"])
    for document in chain:
        bench.provision(document)
    bench.drain()
    before = outputs(bench)
    # Every output has rows on both sides of each drawn date: weights are set at month ends only.
    first = max(frame["date"].min() for frame in before.values())  # type: ignore[type-var]  # dates
    last = min(frame["date"].max() for frame in before.values())  # type: ignore[type-var]  # dates
    dates = before["m"]["date"].unique().sort()
    window = dates.filter((dates >= first) & (dates < last)).to_list()
    for day in seed.sample(window[5:-10], days):
        change(day, seed).write_parquet(path)
        bench.run("prices", mode=Mode.FULL)
        for name, kind in CHAIN:
            bench.run(name, kind=kind)
        yield Told(day, seed.state), before, outputs(bench)


def require_same(
    told: Told, before: dict[str, pl.DataFrame], after: dict[str, pl.DataFrame]
) -> None:
    """Nothing differs up to the date, and there is something; after it everything differs."""
    late = pl.col("date") > told.after
    for name, frame in before.items():
        assert after[name].filter(~late).equals(frame.filter(~late)), (name, told)
        assert frame.filter(~late).height, (name, told)
        assert not after[name].filter(late).equals(frame.filter(late)), (name, told)


class Seeded(random.Random):
    """Random choices that can be made again by their ``state``."""

    def __init__(self, state: int) -> None:
        self.state = state
        super().__init__(state)


def seeded() -> Seeded:
    """Other choices each time."""
    return Seeded(random.SystemRandom().getrandbits(32))


def stocks() -> pl.DataFrame:
    """Two years of five stocks."""
    from datetime import UTC, datetime

    from prefect_instances.libs.definitions.pipeline import ExtractContext
    from prefect_instances.libs.plugins.market_data import MarketDataPipeline

    pipeline = MarketDataPipeline(
        {
            "source": "us_stocks",
            "symbols": ["AAPL", "JPM", "KO", "MSFT", "XOM"],
            "start_date": "2020-01-01",
            "end_date": "2021-12-31",
        }
    )
    context = ExtractContext("prices", datetime(2022, 1, 1, tzinfo=UTC))
    return pipeline.extract(context, [], None).frame
