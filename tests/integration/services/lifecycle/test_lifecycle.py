"""Pausing, promoting, removing and the history of changes, on a real server and both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from prefect_instances.libs.core.errors import (
    BusyElsewhere,
    HasDependents,
    InvalidSpec,
    NotFound,
    WrongLifecycle,
)
from prefect_instances.libs.core.plan import Action
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db.models import FlowExecutionResource, OutboxEvent, SignalInstance
from prefect_instances.libs.db.repositories.resources import find_project
from prefect_instances.libs.plugins.expression import ExpressionPipeline
from prefect_instances.libs.services.lifecycle import removal
from prefect_instances.libs.services.lifecycle.locks import lock_projects
from prefect_instances.libs.services.lifecycle.pausing import pause, resume
from prefect_instances.libs.services.lifecycle.promotion import (
    BreaksContract,
    NothingStored,
    build_promoted_spec,
    record_promotion,
)
from prefect_instances.libs.services.lifecycle.provisioning import provision
from prefect_instances.libs.services.lifecycle.removal import deprovision, plan_removal
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.services.views.history import diff, history
from tests.databases import on_both_databases
from tests.integration.bench import NEXT_DAY, Bench, derived, prices

pytestmark = on_both_databases


@pytest.fixture
def pair(bench: Bench, project: str) -> None:
    """prices -> doubled, both READY."""
    bench.provision(prices(project))
    bench.provision(derived(project, "doubled", "close * 2", "prices"))
    assert bench.drain() == ["prices", "doubled"]


def lifecycle(bench: Bench, name: str) -> str:
    document = reports.status(bench.services.database, bench.services.now(), name)
    return str(document["instances"][0]["lifecycle"])


def paused(bench: Bench, project: str, name: str) -> bool:
    full_name = f"refresh-dataset/{project}.{name}"
    view = bench.services.prefect.find_deployment_by_name(full_name)
    assert view is not None
    return view.paused


@pytest.mark.usefixtures("pair")
def test_a_paused_instance_waits_and_a_resumed_one_catches_up_once(
    bench: Bench, project: str
) -> None:
    pause(bench.services, "doubled")
    pause(bench.services, "doubled")
    assert (lifecycle(bench, "doubled"), paused(bench, project, "doubled")) == ("PAUSED", True)
    bench.run("prices", as_of=NEXT_DAY)
    bench.run("prices", force=True)
    assert bench.drain() == []

    resume(bench.services, "doubled")
    resume(bench.services, "doubled")

    assert (lifecycle(bench, "doubled"), paused(bench, project, "doubled")) == ("ACTIVE", False)
    assert bench.drain() == ["doubled"]


@pytest.mark.usefixtures("pair")
def test_what_is_being_removed_is_neither_paused_nor_resumed(bench: Bench) -> None:
    bench.services.ledger.set_lifecycle(bench.instance_id("doubled"), Lifecycle.DEPROVISIONING)
    for verb in (pause, resume):
        with pytest.raises(WrongLifecycle):
            verb(bench.services, "doubled")
    assert lifecycle(bench, "doubled") == "DEPROVISIONING"


@pytest.mark.usefixtures("pair")
def test_a_dataset_is_promoted_once_its_stored_data_keep_the_contract(
    bench: Bench, project: str
) -> None:
    services, before = bench.services, bench.rows()
    with pytest.raises(BreaksContract):
        build_promoted_spec(services, "doubled", "alpha", {"max_value": 1.0})
    with pytest.raises(InvalidSpec):
        build_promoted_spec(services, "doubled", "alpha", {"min_value": 2, "max_value": 1})
    assert bench.rows() == before

    spec = build_promoted_spec(services, "doubled", "alpha", {"min_value": 0.0})
    for _ in range(2):
        done = provision(services, spec, bench.ports(services, spec))
        record_promotion(services, done, f"{project}/doubled")

    assert bench.drain() == ["alpha"]
    shown = reports.show(services.database, services.now(), "alpha")
    assert (shown["type"], shown["status"]) == ("SignalInstance", "READY")
    assert shown["config"]["signal"] == {"min_value": 0.0}
    assert shown["output"]["rows"] > 0
    with services.database.read() as session:
        told = select(OutboxEvent.payload).where(OutboxEvent.name == "instance.promoted")
        assert [payload["dataset"] for payload in session.scalars(told)] == ["doubled"]


@pytest.mark.usefixtures("pair")
def test_a_promoted_signal_knows_its_dataset_and_takes_the_rows_that_are_stored(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: Any) -> Any:
        raise AssertionError("the data are computed anew")

    services = bench.services
    spec = build_promoted_spec(services, "doubled", "alpha", {"min_value": 0.0})
    provision(services, spec, bench.ports(services, spec))
    with monkeypatch.context() as patched:
        patched.setattr(ExpressionPipeline, "extract", computed)
        assert bench.drain() == ["alpha"]
    bench.run("prices", as_of=NEXT_DAY)
    bench.drain()

    with services.database.read() as session:
        row = session.get_one(SignalInstance, bench.instance_id("alpha"))
        flows = [
            session.get_one(FlowExecutionResource, bench.flow_id(name))
            for name in ("doubled", "alpha")
        ]
    assert row.promoted_from_id == bench.instance_id("doubled")
    assert flows[0].content_hash == flows[1].content_hash != ""
    assert flows[0].last_data_date == flows[1].last_data_date


@pytest.mark.usefixtures("pair")
def test_every_event_of_an_instance_names_instance_project_and_deployment(
    bench: Bench, project: str
) -> None:
    spec = build_promoted_spec(bench.services, "doubled", "alpha", {})
    done = provision(bench.services, spec, bench.ports(bench.services, spec))
    record_promotion(bench.services, done, f"{project}/doubled")
    bench.drain()

    with bench.services.database.read() as session:
        events = session.scalars(select(OutboxEvent)).all()
        roles = {
            event.name: {labels["prefect.resource.role"] for labels in event.related}
            for event in events
        }
    assert {"instance.provisioned", "instance.promoted", "instance.status.changed"} <= set(roles)
    for name, named in roles.items():
        assert named >= {"instance", "project", "deployment"}, name


def test_a_dataset_without_output_is_not_promoted(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    with pytest.raises(NothingStored):
        build_promoted_spec(bench.services, "prices", "alpha", {})


def test_an_experiment_is_promoted_with_the_ops_that_it_saw(bench: Bench, project: str) -> None:
    services = bench.services
    bench.provision(prices(project))
    bench.provision(
        {
            "name": "idea",
            "project": project,
            "type": "ExperimentInstance",
            "expression": "ZSCORE(DELTA(price, 5))",
            "inputs": {"price": {"column": "close"}},
            "upstream_refs": [{"resource": "prices"}],
        }
    )
    with pytest.raises(NothingStored):
        build_promoted_spec(services, "idea", "alpha", {})
    bench.drain()
    with pytest.raises(BreaksContract):
        build_promoted_spec(services, "idea", "alpha", {"max_value": 0.5})
    with pytest.raises(InvalidSpec) as caught:
        build_promoted_spec(services, "idea", "alpha", {"min_value": 2, "max_value": 1, "top": 3})
    assert {problem.path for problem in caught.value.problems} == {"signal.max_value", "signal.top"}

    spec = build_promoted_spec(services, "idea", "alpha", {"min_value": -5, "max_value": 5})
    done = provision(services, spec, bench.ports(services, spec))
    record_promotion(services, done, f"{project}/idea")
    assert bench.drain() == ["alpha"]

    shown = reports.show(services.database, services.now(), "alpha")
    assert (shown["type"], shown["status"]) == ("SignalInstance", "READY")
    assert shown["components"]["pipeline"]["config"] == {
        "expression": "ZSCORE(DELTA(price, 5))",
        "inputs": {"price": {"column": "close"}},
        "ops": {"ZSCORE": "1.0.0", "DELTA": "1.0.0"},
    }
    seen = reports.show(services.database, services.now(), "idea")
    assert shown["output"]["rows"] == seen["output"]["rows"] > 0
    with services.database.read() as session:
        told = select(OutboxEvent.payload).where(OutboxEvent.name == "instance.promoted")
        assert [payload["experiment"] for payload in session.scalars(told)] == ["idea"]
    with pytest.raises(InvalidSpec):
        build_promoted_spec(services, "alpha", "beta", {})


@pytest.mark.usefixtures("pair")
def test_a_removal_is_planned_as_it_is_done(bench: Bench, project: str) -> None:
    before = bench.rows()
    with pytest.raises(HasDependents):
        plan_removal(bench.services, "prices")

    planned = plan_removal(bench.services, "prices", cascade=True, purge=True)

    assert bench.rows() == before
    assert {step.action for step in planned.steps} == {Action.REMOVE}
    assert planned.steps[0].detail == "1 deployment, 1 stored versions, deleted"
    removed = deprovision(bench.services, "prices", cascade=True, purge=True)
    assert removed.labels == tuple(step.name for step in planned.steps)


@pytest.mark.parametrize("step", ["_stop_runs", "purge_data", "remove_handles", "delete_rows"])
@pytest.mark.usefixtures("pair")
def test_killed_at_any_step_a_removal_goes_on(
    bench: Bench, project: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(removal, step, die)
        with pytest.raises(KeyboardInterrupt):
            deprovision(bench.services, "prices", cascade=True, purge=True)
    assert bench.drain() == []

    deprovision(bench.services, "prices", cascade=True, purge=True)

    rows = bench.rows()
    assert {rows[name] for name in ("flow_execution_resources", "lineage_edges", "runs")} == {0}
    assert rows["store_instances"] == 0
    assert bench.services.prefect.list_deployments_tagged(f"project:{project}") == []
    assert not [path for path in bench.services.settings.store_root.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("pair")
def test_every_version_is_kept_and_its_runs_repeat(bench: Bench, project: str) -> None:
    bench.update({**derived(project, "doubled", "close * 2", "prices"), "description": "Twice"})
    bench.update({**derived(project, "doubled", "close * 3", "prices"), "description": "Twice"})
    assert bench.drain() == ["doubled"]
    database = bench.services.database

    versions = history(database, "doubled")["versions"]
    newest, described = diff(database, "doubled"), diff(database, "doubled", 1, 2)

    assert [(v["version"], v["affects_output"], v["runs"]) for v in versions] == [
        (3, True, 1),
        (2, False, 0),
        (1, True, 1),
    ]
    assert (newest["from"], newest["to"], newest["affects_output"]) == (2, 3, True)
    assert [change["path"] for change in newest["changes"]] == ["pipeline.config.expression"]
    assert [change["path"] for change in described["changes"]] == ["description"]
    with pytest.raises(NotFound):
        diff(database, "doubled", 1, 9)
    for run in reports.runs(database, "doubled")["runs"]:
        assert rerun(bench.services, UUID(run["id"]), uuid4()).identical


def test_of_two_applies_of_a_project_one_waits_and_is_told(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    full_name = f"refresh-dataset/{project}.prices"
    view = bench.services.prefect.find_deployment_by_name(full_name)
    assert view is not None
    first = bench.services.prefect.start_run(view.id, {"instance": str(uuid4())})

    told: list[str] = []
    a_moment = timedelta(seconds=0.6)

    with lock_projects(bench.services, [project], first.id, told.append):
        assert told == []
        with (
            pytest.raises(BusyElsewhere) as busy,
            lock_projects(bench.services, [project, "other"], uuid4(), told.append, a_moment),
        ):
            raise AssertionError("both hold the project")
        assert told == [str(busy.value)]
        with lock_projects(bench.services, ["elsewhere"], uuid4(), told.append):
            pass

    with lock_projects(bench.services, [project, "other"], uuid4(), told.append) as prolong:
        prolong()
    assert len(told) == 1
    bench.services.prefect.cancel_run(first.id)
    with bench.services.database.read() as session:
        assert find_project(session, project) is not None
        assert find_project(session, "other") is None
        assert find_project(session, "elsewhere") is None
