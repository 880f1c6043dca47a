"""The user's document on instance resources: every JSON example and table row, as it is written.

Only what the document leaves open is filled in: uuids, and the names that stand around an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.aggregation import parse_contract
from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Base, FlowExecutionResource, OutboxEvent
from prefect_instances.libs.db.repositories.resources import EXTENSIONS, flows_of
from prefect_instances.libs.definitions import Pipeline
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input
from prefect_instances.libs.definitions.registry import FUNCTIONS
from prefect_instances.libs.services.composition.catalog import register_all
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.composition.instance_types.experiments import (
    convert_to_expression,
)
from prefect_instances.libs.specs import (
    BacktestSpec,
    ExperimentSpec,
    ModelSpec,
    OptimizerSpec,
    parse_spec,
)
from tests.integration.bench import Bench, derived, make_bench, prices, write_instance

SCHEDULE_JSON = {
    "type": "cron",
    "expression": "0 6 * * 1-5",
    "timezone": "America/New_York",
}


class Quotes(Pipeline):
    """A pipeline whose parameters are those of the document's ``config_json``."""

    name = "quotes"
    version = "1.0.0"

    class Config(Pipeline.Config):
        """Parameters, all of them needed."""

        symbols: tuple[str, ...]
        start_date: date
        lookback_days: int

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        raise NotImplementedError("nothing runs here")


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    """Services over a new database; nothing is sent to the server of the address."""
    made = make_bench(database, PrefectGateway.connect("http://127.0.0.1:9/api"), tmp_path)
    registry = made.services.registry.extended([Quotes])
    return Bench(replace(made.services, registry=registry))


def ids_of(bench: Bench, name: str) -> tuple[str, str]:
    """The definition's id and that of its version."""
    services = bench.services
    ids, _ = services.database.transact(
        lambda session: register_all(session, services.registry, services.now())
    )
    found = next(ids[each] for each in ids if each.name == name)
    return str(found.resource_id), str(found.version_id)


def metadata(definition: tuple[str, str], first: str, second: str) -> dict[str, Any]:
    """The document's ``instance_metadata``."""
    return {
        "definition_resource_id": definition[0],
        "definition_version_id": definition[1],
        "config_json": {
            "symbols": ["AAPL", "MSFT", "GOOGL"],
            "start_date": "2020-01-01",
            "lookback_days": 252,
        },
        "schedule_json": SCHEDULE_JSON,
        "upstream_refs": [
            {"resource_id": first, "role": "input"},
            {"resource_id": second, "role": "covariance"},
        ],
    }


def row_of(bench: Bench, uuid: str, type_: str) -> Any:
    with bench.services.database.read() as session:
        return session.get_one(EXTENSIONS[type_], UUID(uuid))


def graph(bench: Bench) -> dict[str, str]:
    """Prices, two signals on them and a covariance; their ids by name."""
    signal = {"type": "SignalInstance", "signal": {"min_value": -9, "max_value": 9}}
    documents = (
        prices("demo"),
        {**derived("demo", "momentum", "DELTA(close, 5) / REF(close, 5)", "prices"), **signal},
        {**derived("demo", "reversal", "-DELTA(close, 1) / REF(close, 1)", "prices"), **signal},
        {**derived("demo", "trend", "DELTA(close, 9) / REF(close, 9)", "prices"), **signal},
        derived("demo", "covariance", "close * 0", "prices"),
    )
    return {document["name"]: write_instance(bench, document) for document in documents}


def test_the_config_structure(bench: Bench) -> None:
    there = graph(bench)
    written = metadata(ids_of(bench, "quotes"), there["momentum"], there["covariance"])
    document = {"type": "DatasetInstance", "name": "quotes", "project": "demo"}

    uuid = write_instance(bench, {**document, "metadata_json": written})

    row = row_of(bench, uuid, "DatasetInstance")
    assert str(row.definition_resource_id) == written["definition_resource_id"]
    assert str(row.definition_version_id) == written["definition_version_id"]
    assert row.config_json == written["config_json"]
    assert row.schedule_json == SCHEDULE_JSON
    assert row.upstream_refs == written["upstream_refs"]


def test_the_roles_of_the_optimizer(bench: Bench) -> None:
    there = graph(bench)
    written = metadata(ids_of(bench, "mean_variance"), there["momentum"], there["covariance"])
    written["config_json"] = {"lookback_days": 100}  # An optimizer has neither symbols nor start.

    document = {"type": "PortfolioOptimizerInstance", "name": "weights", "project": "demo"}
    uuid = write_instance(bench, {**document, **written})

    spec = parse_spec({**document, **written})
    assert isinstance(spec, OptimizerSpec)
    assert (spec.covariance, spec.lookback_days) == ("dataset", 100)
    row = row_of(bench, uuid, "PortfolioOptimizerInstance")
    assert str(row.definition_version_id) == written["definition_version_id"]
    implied = {"resource_id": there["prices"], "role": "prices"}
    assert row.upstream_refs == [*written["upstream_refs"], implied]


@pytest.mark.parametrize("key", ["schedule_json", "schedule"])
def test_the_flat_schedule_of_a_model_is_that_of_its_training(key: str) -> None:
    model = {
        "type": "ModelInstance",
        "name": "model",
        "definition_resource_id": "ridge",
        "features": [{"role": "prices", "column": "close"}],
    }

    spec = parse_spec({**model, key: SCHEDULE_JSON})

    assert isinstance(spec, ModelSpec)
    assert spec == parse_spec({**model, "schedule": {"training": SCHEDULE_JSON}})
    assert spec.schedule.inference.type == "manual"


def test_the_backtest(bench: Bench) -> None:
    there = graph(bench)
    backtest_instance: dict[str, Any] = {
        "type": "BacktestInstance",
        "name": "Q1_2024_Backtest",
        "metadata_json": {
            # No definition_resource_id
            "assets_json": {"universe": ["SPY", "QQQ", "IWM"], "benchmark": "SPY"},
            "signals_json": {
                "primary": there["momentum"],
                "secondary": [there["reversal"], there["trend"]],
            },
            "date_range_json": {"start": "2024-01-01", "end": "2024-03-31"},
            "config_json": {
                "rebalance_frequency": "daily",
                "transaction_costs": 0.001,
                "slippage_model": "linear",
            },
        },
    }

    uuid = write_instance(bench, backtest_instance)

    spec, row = parse_spec(backtest_instance), row_of(bench, uuid, "BacktestInstance")
    assert isinstance(spec, BacktestSpec)
    assert spec.config.rebalance_frequency == "daily"
    for column in ("assets_json", "date_range_json"):
        assert getattr(row, column) == backtest_instance["metadata_json"][column]
    assert [ref["role"] for ref in row.upstream_refs] == [
        "primary",
        "secondary",
        "secondary",
        "prices",
    ]
    assert not hasattr(row, "definition_resource_id")


@pytest.mark.parametrize(
    ("name", "config", "call"),
    [
        ("TS_ZSCORE", {"x": "close", "d": 20}, "TS_ZSCORE(close, 20)"),
        ("ABS", {"x": "DELTA(close, 5)"}, "ABS((DELTA(close, 5)))"),
    ],
)
def test_an_experiment_refers_to_an_op(
    bench: Bench, name: str, config: dict[str, Any], call: str
) -> None:
    there = graph(bench)
    definition, version = ids_of(bench, name)
    document = {
        "type": "ExperimentInstance",
        "name": "idea",
        "project": "demo",
        "definition_resource_id": definition,
        "definition_version_id": version,
        "config_json": config,
        "upstream_refs": [{"resource_id": there["prices"], "role": "input"}],
    }

    row = row_of(bench, write_instance(bench, document), "ExperimentInstance")

    assert (str(row.definition_resource_id), str(row.definition_version_id)) == (
        definition,
        version,
    )
    assert row.config_json == config
    spec = parse_spec(document)
    assert isinstance(spec, ExperimentSpec)
    assert convert_to_expression(bench.services.registry, spec).expression == call


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"definition": "TS_ZSKORE"}, "definition"),
        ({"version": "9.9.9"}, "version"),
        ({"config": {"x": "close", "days": 20}}, "config.days"),
        ({"config": {"x": "close"}}, "config.d"),
        ({"config": {"x": 5, "d": 20}}, "config.x"),
        ({"config": {"x": "close", "d": -20}}, "config"),
        ({"config": {"x": "cloze.real", "d": 20}}, "config"),
        ({"expression": "close"}, "expression"),
        ({"definition": "", "version": "1.0.0"}, "version"),
        ({"definition": "", "config": {}}, "expression"),
    ],
)
def test_a_fault_of_an_experiment_has_its_path(
    bench: Bench, change: dict[str, Any], path: str
) -> None:
    write_instance(bench, prices("demo"))
    document = {
        "type": "ExperimentInstance",
        "name": "idea",
        "project": "demo",
        "definition": "TS_ZSCORE",
        "config": {"x": "close", "d": 20},
        "upstream_refs": ["prices"],
    }

    with pytest.raises(InvalidSpec) as caught:
        write_instance(bench, {**document, **change})

    assert path in {problem.path for problem in caught.value.problems}


def test_the_composition_of_a_dataset(bench: Bench) -> None:
    row = row_of(bench, graph(bench)["prices"], "DatasetInstance")

    parts = (row.pipeline_instance_id, row.store_instance_id, row.accessor_instance_id)
    assert None not in parts


DATASET = ("PipelineDef", "StoreDef", "AccessorDef", "ExecutorDef")

TABLE: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "DatasetInstance": (DATASET, ["refresh"]),
    "SignalInstance": (DATASET, ["refresh"]),
    "ExperimentInstance": (["OpDef", "OpMacroDef"], ["preview"]),
    "ModelInstance": (["MLModuleDef"], ["training", "inference", "monitoring"]),
    "PortfolioOptimizerInstance": (["PortfolioOptimizerDef"], ["optimize"]),
    "BacktestInstance": ([], ["backtest"]),
}
"""The table of instance types: definitions and flows."""


@pytest.mark.parametrize("type_", TABLE)
def test_a_row_of_the_table_of_instance_types(type_: str) -> None:
    definitions, flows = TABLE[type_]

    kinds = [role.kind.value for role in TYPE_DESCRIPTIONS[type_].roles.values()]
    if type_ == "ExperimentInstance":  # Its one definition is an op or a macro.
        kinds = sorted(kind.value for kind in FUNCTIONS)
    assert kinds == [*definitions]
    assert [*SHAPES[type_].flows] == flows


def test_the_contract_of_status_aggregation() -> None:
    contract: dict[str, Any] = {
        "status_aggregation_contract": {
            "aggregation_method": "min_severity",
            "status_priority": ["ERROR", "STALE", "RUNNING", "READY"],
        }
    }

    parse_contract(contract["status_aggregation_contract"])


HANDLES: Mapping[str, Sequence[str]] = {
    "dataset_instances": ["prefect_deployment_id"],
    "model_instances": [
        "prefect_training_deployment_id",
        "prefect_inference_deployment_id",
        "prefect_monitoring_deployment_id",
        "mlflow_experiment_id",
        "mlflow_registered_model_name",
        "evidently_project_id",
    ],
}
"""The columns of handles that the document names, by table."""


@pytest.mark.parametrize("table", HANDLES)
def test_the_extension_tables_have_the_columns_of_the_document(table: str) -> None:
    assert {*HANDLES[table]} <= {*Base.metadata.tables[table].columns.keys()}


def test_lineage_is_flow_to_flow(bench: Bench) -> None:
    there = graph(bench)

    with bench.services.database.read() as session:
        flows = {flow.id for uuid in there.values() for flow in flows_of(session, UUID(uuid))}
        edges = Base.metadata.tables["lineage_edges"]
        pairs = session.execute(edges.select()).all()

    targets = {key.target_fullname for key in edges.foreign_keys}
    assert targets == {f"{FlowExecutionResource.__tablename__}.id"}
    assert {(row.upstream_flow_id in flows, row.downstream_flow_id in flows) for row in pairs} == {
        (True, True)
    }


def test_each_flow_of_a_new_instance_tells_once_that_it_has_no_output(bench: Bench) -> None:
    uuid = write_instance(bench, prices("demo"))
    bench.services.ledger.set_lifecycle(UUID(uuid), Lifecycle.PAUSED)
    bench.services.ledger.set_lifecycle(UUID(uuid), Lifecycle.ACTIVE)

    with bench.services.database.read() as session:
        rows = session.scalars(select(OutboxEvent)).all()
        (flow,) = flows_of(session, UUID(uuid))

    (told,) = [row for row in rows if row.name == "instance.flow.not-initialized"]
    assert told.payload["flow_id"] == str(flow.id)
