"""References by uuid, to instances and definitions; no server is needed to decide on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from prefect_instances.cli.runtime.database import register_definitions
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import InvalidSpec, PermanentError
from prefect_instances.libs.core.plan import Action, Plan
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import (
    DatasetInstance,
    FlowExecutionResource,
    Resource,
    SignalInstance,
)
from prefect_instances.libs.db.repositories.resources import (
    flows_of,
    get_instance,
    select_newest_version,
)
from prefect_instances.libs.services.composition.catalog import Registered, register_all
from prefect_instances.libs.services.composition.checks import examine
from prefect_instances.libs.services.lifecycle.locks import release_lock
from prefect_instances.libs.services.lifecycle.manifests import plan
from prefect_instances.libs.services.lifecycle.updating import write_update
from prefect_instances.libs.specs import parse_spec, survey_manifest
from tests.integration.bench import Bench, derived, make_bench, prices, write_instance


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    """Services over a new database; nothing is sent to the server of the address."""
    return make_bench(database, PrefectGateway.connect("http://127.0.0.1:9/api"), tmp_path)


def planned(bench: Bench, *instances: dict[str, Any]) -> Plan:
    return plan(bench.services, survey_manifest({"project": "demo", "instances": [*instances]}))


def faults(bench: Bench, *instances: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSpec) as caught:
        planned(bench, *instances)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def signal(name: str, expression: str, *upstreams: str) -> dict[str, Any]:
    contract = {"min_value": -10, "max_value": 10}
    made = derived("demo", name, expression, *upstreams)
    return {**made, "type": "SignalInstance", "signal": contract}


def test_an_unknown_uuid_is_one_line_with_its_path(bench: Bench) -> None:
    nobody = str(uuid4())

    assert faults(bench, derived("demo", "twice", "close * 2", nobody)) == [
        ("instances[0].upstream_refs[0].resource", f"there is no instance {nobody!r}")
    ]


def test_a_reference_by_uuid_to_the_instance_itself_is_refused(bench: Bench) -> None:
    write_instance(bench, prices("demo"))
    own = write_instance(bench, derived("demo", "twice", "close * 2", "prices"))

    assert faults(bench, derived("demo", "twice", "close * 2", "prices", own)) == [
        ("instances[0].upstream_refs[1].resource", "refers to the instance itself")
    ]


@pytest.mark.parametrize("first", ["uuid", "prices", "demo/prices"])
@pytest.mark.parametrize("flow", ["", "refresh"])
def test_an_upstream_that_is_named_and_given_by_uuid_is_a_repetition(
    bench: Bench, first: str, flow: str
) -> None:
    uuid = write_instance(bench, prices("demo"))
    document = derived("demo", "twice", "close * 2", uuid if first == "uuid" else first)
    document["upstream_refs"].append({"resource_id": uuid, "role": "input", "flow": flow})
    if first == "uuid":
        document["upstream_refs"][1]["resource_id"] = "prices"

    assert faults(bench, document) == [
        (
            "instances[0].upstream_refs[1]",
            "repeats upstream_refs[0]: same resource, role and flow",
        )
    ]


def test_a_cycle_by_uuids_is_found_before_anything_is_written(bench: Bench) -> None:
    write_instance(bench, prices("demo"))
    first = write_instance(bench, derived("demo", "first", "close * 2", "prices"))
    second = write_instance(bench, derived("demo", "second", "value * 2", first))

    found = faults(bench, derived("demo", "first", "value * 2", second))

    assert [path for path, _ in found] == ["instances[0].upstream_refs"]
    assert "is part of a cycle: " in found[0][1]
    assert {"demo/first", "demo/second"} <= {*found[0][1].split()}


def test_an_update_by_uuid_of_a_planned_instance_comes_after_it(bench: Bench) -> None:
    uuid = write_instance(bench, prices("demo"))
    reader = derived("demo", "twice", "close * 2", uuid)

    steps = planned(bench, reader, prices("demo", symbols=["KO"])).steps

    assert [(step.name, step.action) for step in steps] == [
        ("demo/prices", Action.UPDATE),
        ("demo/twice", Action.CREATE),
    ]


def test_the_backtest_of_the_document_takes_the_uuid_of_its_signal(bench: Bench) -> None:
    write_instance(bench, prices("demo"))
    primary = write_instance(bench, signal("momentum", "DELTA(close, 5) / REF(close, 5)", "prices"))
    document = {
        "type": "BacktestInstance",
        "name": "Q1_2020_Backtest",
        "project": "demo",
        "metadata_json": {
            "signals_json": {"primary": primary},
            "date_range_json": {"start": "2020-01-01", "end": "2020-03-31"},
        },
    }

    assert [step.action for step in planned(bench, document).steps] == [Action.CREATE]
    write_instance(bench, document)


def test_the_column_holds_resource_ids_and_roles(bench: Bench) -> None:
    uuid = write_instance(bench, prices("demo"))
    primary = write_instance(bench, signal("momentum", "DELTA(close, 5) / REF(close, 5)", "prices"))

    with bench.services.database.read() as session:
        row = session.query(SignalInstance).one()

    assert str(row.resource_id) == primary
    assert row.upstream_refs == [{"resource_id": uuid, "role": "input"}]


def registered(bench: Bench) -> dict[str, Registered]:
    """Register what is installed, as ``instances up`` does; the ids by name of the definition."""
    said: list[str] = []
    register_definitions(bench.services, said.append)
    assert said == []
    with bench.services.database.read() as session:
        ids, _ = register_all(session, bench.services.registry, bench.services.now())
    return {definition.name: found for definition, found in ids.items()}


def by_ids(ids: Registered) -> dict[str, Any]:
    document = prices("demo")
    pipeline = document.pop("pipeline")
    return {
        **document,
        "definition_resource_id": str(ids.resource_id),
        "definition_version_id": str(ids.version_id),
        "config_json": pipeline["config"],
    }


def test_a_definition_and_its_version_are_given_by_uuid_before_their_first_use(
    bench: Bench,
) -> None:
    ids = registered(bench)["market_data"]

    uuid = write_instance(bench, by_ids(ids))

    with bench.services.database.read() as session:
        row = session.get_one(DatasetInstance, UUID(uuid))
        assert row.definition_resource_id == ids.resource_id
        assert row.definition_version_id == ids.version_id


def test_the_id_of_another_definitions_version_is_refused_with_its_path(bench: Bench) -> None:
    ids = registered(bench)
    wrong = ids["file"].version_id
    document = {**by_ids(ids["market_data"]), "definition_version_id": str(wrong)}

    assert faults(bench, document) == [
        (
            "instances[0].pipeline.version",
            f"{wrong} is no version of 'market_data'; "
            "`instances definitions show market_data` lists the ids",
        )
    ]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"upstream_refs": [{"resource": "nobody"}]}, "upstream_refs[0].resource"),
        ({"upstream_refs": [{"resource": "prices", "flow": "optimize"}]}, "upstream_refs[0].flow"),
        ({"store": {"instance": "no_such_store"}}, "store.instance"),
    ],
)
def test_a_fault_elsewhere_does_not_hide_those_of_the_expression(
    bench: Bench, change: dict[str, Any], path: str
) -> None:
    write_instance(bench, prices("demo"))
    document = {**derived("demo", "bad", "REF(close, -1) + MEEN(close, 5)", "prices"), **change}

    found = [place for place, _ in faults(bench, document)]

    assert f"instances[0].{path}" in found
    expression = [p for p in found if p.startswith("instances[0].pipeline.config.expression")]
    assert len(expression) == 2
    assert len(found) == 3


def test_all_faults_of_a_backtest_are_told_once_each(bench: Bench) -> None:
    document = {
        "type": "BacktestInstance",
        "name": "Q1",
        "project": "demo",
        "signals": {"primary": str(uuid4()), "optimizer": "nobody"},
        "date_range": {"start": "2020-01-01"},
    }

    assert [path for path, _ in faults(bench, document)] == [
        "instances[0].signals.optimizer.resource",
        "instances[0].signals.primary.resource",
    ]


def test_an_error_that_no_database_stores_is_recorded_with_escapes(bench: Bench) -> None:
    uuid = UUID(write_instance(bench, prices("demo")))

    release_lock(bench.services, uuid, PermanentError("no file 'px-\udcff.csv'"))

    with bench.services.database.read() as session:
        condition = session.get_one(Resource, uuid).condition
    assert condition is not None
    assert condition["error"] == "no file 'px-\\udcff.csv'"


def publish(session: Session) -> None:
    """Give every flow an output, as far as a plan looks at it."""
    session.execute(update(FlowExecutionResource).values(generation=1))


def updated_version(bench: Bench, document: dict[str, Any]) -> int:
    """Write an update; the configuration version that its flow must run with."""
    services, spec = bench.services, parse_spec(document)

    def work(session: Session) -> int:
        named = get_instance(session, f"{spec.project}/{spec.name}")
        before = select_newest_version(session, named.id)
        assert before is not None
        blueprint = examine(session, services.registry, spec, services.now())
        write_update(services, session, blueprint, before)
        (flow,) = flows_of(session, named.id)
        session.refresh(flow)
        return flow.config_version

    return services.database.transact(work)


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": {"definition": "expression", "version": "1.0.0"}},
        {"pipeline": {"definition": "expression", "config": {"output": "value"}}},
        {"store": {"definition": "delta", "version": "1.0.0"}},
        {"upstream_refs": ["uuid"]},
        {"upstream_refs": ["demo/prices"]},
    ],
)
def test_what_is_written_out_but_means_the_same_makes_nothing_stale(
    bench: Bench, change: dict[str, Any]
) -> None:
    uuid = write_instance(bench, prices("demo"))
    document = derived("demo", "twice", "MEAN(close, 2)", "prices")
    write_instance(bench, document)
    bench.services.database.transact(publish)
    if change.get("upstream_refs") == ["uuid"]:
        change = {"upstream_refs": [uuid]}
    pipeline = {**document["pipeline"], **change.get("pipeline", {})}
    pipeline["config"] = {**document["pipeline"]["config"], **pipeline["config"]}

    (step,) = planned(bench, {**document, **change, "pipeline": pipeline}).steps

    assert (step.action, step.invalidates) == (Action.UPDATE, ())
    assert updated_version(bench, {**document, **change, "pipeline": pipeline}) == 1


@pytest.mark.parametrize("config", [{"output": "other"}, {"expression": "MEAN(close, 3)"}])
def test_what_means_something_else_makes_stale(bench: Bench, config: dict[str, Any]) -> None:
    write_instance(bench, prices("demo"))
    document = derived("demo", "twice", "MEAN(close, 2)", "prices")
    write_instance(bench, document)
    bench.services.database.transact(publish)

    pipeline = {"definition": "expression", "config": {**document["pipeline"]["config"], **config}}
    (step,) = planned(bench, {**document, "pipeline": pipeline}).steps

    assert step.invalidates == ("demo/twice.refresh",)
    assert updated_version(bench, {**document, "pipeline": pipeline}) == 2
