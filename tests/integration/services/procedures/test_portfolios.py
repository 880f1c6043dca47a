"""Optimizers and backtests on real prices, provisioned and run like any instance."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.db.models import (
    BacktestInstance,
    DatasetVersion,
    FlowExecutionResource,
    PortfolioOptimizerInstance,
)
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.lifecycle.macros import MacroRequest, plan_macro
from prefect_instances.libs.services.lifecycle.promotion import build_promoted_spec
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench, derived

SYMBOLS = ["AAPL", "JPM", "KO", "MSFT", "XOM"]


def prices(project: str, path: Path | None = None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "source": "us_stocks",
        "symbols": SYMBOLS,
        "start_date": "2020-01-01",
        "end_date": "2021-12-31",
    }
    pipeline = {"definition": "market_data", "config": config}
    if path is not None:
        pipeline = {"definition": "file", "config": {"path": str(path)}}
    return {"name": "prices", "type": "DatasetInstance", "project": project, "pipeline": pipeline}


def momentum(project: str) -> dict[str, Any]:
    return {
        **derived(project, "momentum", "ZSCORE(DELTA(close, 60) / REF(close, 60))", "prices"),
        "type": "SignalInstance",
    }


def portfolio(project: str, definition: str = "mean_variance", **more: Any) -> dict[str, Any]:
    return {
        "name": "portfolio",
        "type": "PortfolioOptimizerInstance",
        "project": project,
        "definition": definition,
        "constraints": {"max_weight": 0.4},
        "lookback_days": 120,
        "upstream_refs": [
            {"resource": "momentum", "role": "signal"},
            {"resource": "prices", "role": "prices"},
        ],
        **more,
    }


def backtest(project: str, **more: Any) -> dict[str, Any]:
    """As in the user's document, with everything below ``metadata_json``."""
    return {
        "type": "BacktestInstance",
        "name": "Q_Backtest",
        "project": project,
        "metadata_json": {
            "assets_json": {"universe": SYMBOLS, "benchmark": "KO"},
            "signals_json": {"primary": {"resource": "momentum", "triggers": True}},
            "date_range_json": {"start": "2020-07-01", "end": "2021-12-31"},
            "config_json": {
                "rebalance_frequency": "weekly",
                "transaction_costs": 0.001,
                "slippage_model": "linear",
            },
            **more,
        },
    }


def output(bench: Bench, name: str) -> pl.DataFrame:
    document = reports.show(bench.services.database, bench.services.now(), name)
    return read_version(bench.services, UUID(document["output"]["version"])).collect()


def last_run(bench: Bench, name: str) -> dict[str, Any]:
    run: dict[str, Any] = reports.runs(bench.services.database, name)["runs"][0]
    return run


def test_signal_to_optimizer_to_backtest(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision(momentum(project))
    bench.provision(portfolio(project))
    bench.provision(
        backtest(
            project,
            signals_json={
                "primary": "momentum",
                "optimizer": {"resource": "portfolio", "triggers": True},
            },
        )
    )

    assert bench.drain() == ["prices", "momentum", "portfolio.optimize", "Q_Backtest.backtest"]

    weights = output(bench, "portfolio")
    sums = weights.group_by("date").agg(pl.col("weight").sum())["weight"]
    assert sums.min() == pytest.approx(1.0, abs=1e-6)
    assert weights["weight"].max() <= 0.4 + 1e-6  # type: ignore[operator]  # a float
    equity = output(bench, "Q_Backtest")
    assert set(equity["symbol"]) == {"PORTFOLIO", "BENCHMARK"}
    metrics = last_run(bench, "Q_Backtest")["metrics"]
    assert {"total_return", "sharpe", "max_drawdown", "alpha", "beta", "turnover"} <= set(metrics)
    with bench.services.database.read() as session:
        row = session.scalars(select(BacktestInstance)).one()
        assert row.prefect_deployment_id is not None
        assert row.assets_json == {"universe": SYMBOLS, "benchmark": "KO"}
        optimizer = session.scalars(select(PortfolioOptimizerInstance)).one()
        assert optimizer.definition_version_id is not None

    for name in ("portfolio", "Q_Backtest"):
        comparison = rerun(bench.services, UUID(last_run(bench, name)["id"]), uuid4())
        assert comparison.identical, comparison.differences

    deprovision(bench.services, "prices", cascade=True, purge=True)
    assert not list((bench.services.settings.store_root / "outputs").glob("*"))


def test_a_backtest_counts_what_was_tried_on_its_prices(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision(momentum(project))
    bench.provision(backtest(project))
    bench.drain()
    first = last_run(bench, "Q_Backtest")["metrics"]
    assert first["trials"] == 1
    assert first["deflated_sharpe"] == first["sharpe_probability"]
    assert "overfitting_probability" not in first

    idea = {"name": "idea", "type": "ExperimentInstance", "project": project}
    bench.provision({**idea, "expression": "DELTA(close, 5)", "upstream_refs": ["prices"]})
    bench.drain()
    config = {"rebalance_frequency": "monthly", "top_fraction": 0.4}
    bench.provision({**backtest(project, config_json=config), "name": "second"})
    bench.drain()

    found = last_run(bench, "second")["metrics"]
    assert found["trials"] == 3
    assert found["deflated_sharpe"] < found["sharpe_probability"]
    assert 0 <= found["overfitting_probability"] <= 1

    bench.update({**backtest(project, config_json=config), "name": "Q_Backtest"})
    bench.run("Q_Backtest", "backtest")
    assert last_run(bench, "Q_Backtest")["metrics"]["trials"] == 4


def test_predictions_in_hindsight_are_found_behind_an_optimizer(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(40)]
    rows = pl.DataFrame(
        [(day, symbol, 1.0 + day.day % (3 + i)) for day in days for i, symbol in enumerate("AB")],
        schema=["date", "symbol", "prediction"],
        orient="row",
    ).with_columns(close=pl.col("prediction"), model_version=(pl.int_range(pl.len()) // 60) + 1)
    rows.write_csv(tmp_path / "rows.csv")
    bench.provision({**prices(project, tmp_path / "rows.csv"), "name": "predictions"})
    rows.drop("prediction", "model_version").write_csv(tmp_path / "prices.csv")
    bench.provision(prices(project, tmp_path / "prices.csv"))
    bench.provision(derived(project, "momentum", "-prediction", "predictions"))
    bench.provision(portfolio(project, "equal_weight", constraints={}, lookback_days=20))
    held = {"primary": "prices", "optimizer": {"resource": "portfolio", "triggers": True}}
    rules = {"calendar": "XNYS", "order_expiry": 3, "rebalance_frequency": "weekly"}
    more = {"signals_json": held, "assets_json": {"prices": "prices"}, "config_json": rules}
    bench.provision(backtest(project, date_range_json={"start": "2024-01-01"}, **more))
    bench.drain()
    with bench.services.database.write() as session:
        publish_training(session, bench.flow_id("predictions"), days[35])

    metrics = bench.run("Q_Backtest", "backtest").metrics
    # Version 1 made the first 60 rows, before the 36th day; of version 2 no day is known.
    assert metrics["predictions"] == 80
    assert metrics["predictions_in_hindsight"] == 60
    # Ten days of weekends, New Year and Martin Luther King day.
    assert metrics["prices_outside_calendar"] == 24


def publish_training(session: Session, refresh_id: UUID, made: date) -> None:
    """Make a dataset look like the predictions of a model whose version 1 was made on a day."""
    flow = session.get_one(FlowExecutionResource, refresh_id)
    version = session.get_one(DatasetVersion, flow.version_id)
    at = datetime.combine(made, time(), UTC)
    training = copy_row(flow, id=uuid4(), kind="training", deployment_id=None, version_id=None)
    session.add(training)
    session.flush()
    location = "models:/m/1"
    changed = {"id": uuid4(), "flow_id": training.id, "location": location, "created_at": at}
    session.add(copy_row(version, **changed))


def copy_row(row: Any, **changed: Any) -> Any:
    values = {column.key: getattr(row, column.key) for column in inspect(type(row)).columns}
    return type(row)(**{**values, **changed})


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (
            {"definition": "hrp", "constraints": {"gross_leverage": 1.2}},
            "constraints.gross_leverage",
        ),
        ({"definition": "equal_weight"}, "constraints.max_weight"),
        ({"covariance": "dataset"}, "covariance"),
        ({"upstream_refs": [{"resource": "prices", "role": "prices"}]}, "upstream_refs"),
        ({"definition": "no_such"}, "optimizer.definition"),
    ],
)
def test_what_cannot_work_is_refused_at_provisioning(
    bench: Bench, project: str, change: dict[str, Any], path: str
) -> None:
    bench.provision(prices(project))
    bench.provision(momentum(project))

    with pytest.raises(InvalidSpec) as caught:
        bench.provision(portfolio(project, **change))

    assert path in {problem.path for problem in caught.value.problems}


def test_a_backtest_whose_prices_are_not_plain_names_what_it_found(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    bench.provision({**prices(project), "name": "others"})
    both = {"a": {"resource": "prices", "column": "close"}}
    bench.provision(derived(project, "momentum", "a * 2", "prices", "others", inputs=both))

    with pytest.raises(InvalidSpec, match=rf"{project}/others, {project}/prices"):
        bench.provision(backtest(project))


def test_an_experiment_measures_an_expression_and_can_be_repeated(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    bench.provision(
        {
            "name": "idea",
            "type": "ExperimentInstance",
            "project": project,
            "expression": "REF(close, 1)",
            "date_range": {"start": "2020-02-03", "end": "2020-12-31"},
            "universe": ["AAPL", "KO", "XOM"],
            "horizons": [1, 5],
            "upstream_refs": ["prices"],
        }
    )
    assert bench.drain() == ["prices", "idea.preview"]

    values = output(bench, "idea")
    known = values["value"].to_numpy()
    metrics = last_run(bench, "idea")["metrics"]
    assert metrics["rows"] == values.height
    assert metrics["mean"] == pytest.approx(known.mean())
    assert metrics["std"] == pytest.approx(known.std(ddof=1))
    assert {"skew", "kurtosis", "nan_share", "ic_1", "ic_5"} <= set(metrics)
    assert rerun(bench.services, UUID(last_run(bench, "idea")["id"]), uuid4()).identical

    bench.run("prices", mode=Mode.FULL, force=True)
    assert bench.drain() == []


def test_an_experiment_on_an_op_does_what_its_call_does(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    same = {"type": "ExperimentInstance", "project": project, "upstream_refs": ["prices"]}
    op = {"definition": "REF", "version": "1.0.0", "config_json": {"x": "close", "d": 1}}
    bench.provision({**same, **op, "name": "by_op"})
    bench.provision({**same, "name": "bare", "expression": "REF(close, 1)"})
    assert {*bench.drain()} == {"prices", "by_op.preview", "bare.preview"}

    assert output(bench, "by_op").equals(output(bench, "bare"))
    promoted = build_promoted_spec(bench.services, "by_op", "signal", {"allow_nan": True})
    assert promoted.document()["promoted_from"] == f"{project}/by_op"
    assert promoted.document()["pipeline"]["config"] == {
        "expression": "REF(close, 1)",
        "ops": {"REF": "1.0.0"},
    }
    macro = plan_macro(bench.services, MacroRequest("by_op", "YESTERDAY")).macro
    assert macro.expression == "REF(close, 1)"


def test_a_faulty_expression_is_refused_with_its_place(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    document = {
        "name": "idea",
        "type": "ExperimentInstance",
        "project": project,
        "expression": "REF(close, -1)",
        "upstream_refs": ["prices"],
    }

    with pytest.raises(InvalidSpec) as caught:
        bench.provision(document)

    assert {problem.path for problem in caught.value.problems} == {"expression"}
