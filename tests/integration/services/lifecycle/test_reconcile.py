"""Each kind of drift, made by hand on a real server, is healed or reported by one reconcile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import select
from sqlalchemy.orm import Session

from prefect_instances.cli.commands.runs import DeploymentGone, choose_flow, parameters_for
from prefect_instances.cli.doctor_checks import Level, check_instances, check_sweeps
from prefect_instances.cli.obstacles import find_obstacles
from prefect_instances.libs.adapters.prefect import DeploymentPlan, PrefectGateway
from prefect_instances.libs.core.divergence import Diverged, Divergence
from prefect_instances.libs.core.ids import DIVERGED, WORK_POOL
from prefect_instances.libs.core.status import Lifecycle, RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource, OutboxEvent, Resource, RunRecord
from prefect_instances.libs.db.repositories.resources import select_newest_version
from prefect_instances.libs.services.composition.model_stores import (
    build_experiment_name,
    build_model_name,
    monitoring,
    read_model_row,
    tracking,
)
from prefect_instances.libs.services.lifecycle.automations import (
    AGGREGATE_STATUS,
    BAD_END_NAME,
    START_FLOW,
    START_NAME,
)
from prefect_instances.libs.services.lifecycle.external_resources import Ports, plan_deployment
from prefect_instances.libs.services.lifecycle.lifecycle_flows import SWEEP, lifecycle_plans
from prefect_instances.libs.services.lifecycle.observing import PlanOf, observe
from prefect_instances.libs.services.lifecycle.reconciling import (
    Outcome,
    PortsOf,
    Repairer,
    Settled,
    reconcile,
)
from prefect_instances.libs.services.lifecycle.removal import delete_rows
from prefect_instances.libs.services.runs.execution import execute
from prefect_instances.libs.services.runs.run_context import Work
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import InstanceSpec
from tests.databases import on_both_databases
from tests.integration.bench import Bench, make_bench, prices
from tests.integration.services.procedures.test_models import provisioned


@pytest.fixture
def bench(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Iterator[Bench]:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    gateway.ensure_automation(START_FLOW)
    yield make_bench(database, gateway, tmp_path)
    # Other tests share the server, and want nothing started.
    gateway.delete_automation(START_NAME)


NOBODY = "http://127.0.0.1:9/api"
"""An address at which nothing listens."""


def ports_of(bench: Bench) -> PortsOf:
    """As the flow has them: a document that is to stay is not saved again."""

    def ports(spec: InstanceSpec, document_id: UUID | None) -> Ports:
        made = bench.ports(bench.services, spec)
        kept = document_id
        return made if kept is None else replace(made, save_document=lambda name: kept)

    return ports


def plan_of(bench: Bench) -> PlanOf:
    def plan(id_: UUID, spec: InstanceSpec, kind: str) -> DeploymentPlan:
        ports = bench.ports(bench.services, spec)
        return plan_deployment(bench.services, id_, spec, ports, kind)

    return plan


def settle(bench: Bench, **options: Any) -> dict[tuple[Divergence, str], Settled]:
    """One reconcile; what it found of this test's, by kind and part."""
    found = reconcile(bench.services, ports_of(bench), **options)
    # The other tests' deployments belong to no instance of this database.
    mine = [item for item in found.items if item.diverged.instance_id or _is_ours(item)]
    return {(item.diverged.kind, item.diverged.part): item for item in mine}


def _is_ours(item: Settled) -> bool:
    return item.diverged.subject == START_NAME


def outcomes(found: dict[tuple[Divergence, str], Settled]) -> dict[Divergence, Outcome]:
    return {kind: item.outcome for (kind, _), item in found.items()}


def events(bench: Bench, kind: Divergence) -> list[dict[str, Any]]:
    with bench.services.database.read() as session:
        rows = session.scalars(select(OutboxEvent).where(OutboxEvent.name == DIVERGED))
        return [row.payload for row in rows if row.payload["divergence"] == kind]


def handles(bench: Bench, name: str) -> dict[str, Any]:
    shown = reports.show(bench.services.database, bench.services.now(), name)
    found: dict[str, Any] = shown["handles"]
    return found


def test_what_agrees_is_left_alone(bench: Bench, project: str) -> None:
    bench.provision(prices(project))

    assert settle(bench) == {}
    assert events(bench, Divergence.DEPLOYMENT_MISSING) == []


@on_both_databases
def test_a_deployment_that_was_deleted_comes_back_with_its_id_recorded(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    old = UUID(handles(bench, "prices")["prefect_deployment_id"])
    bench.services.prefect.delete_deployment(old)

    found = settle(bench)

    assert outcomes(found) == {Divergence.DEPLOYMENT_MISSING: Outcome.REPAIRED}
    view = bench.services.prefect.find_deployment_by_name(f"refresh-dataset/{project}.prices")
    assert view is not None
    assert view.id != old
    assert handles(bench, "prices")["prefect_deployment_id"] == str(view.id)
    (event,) = events(bench, Divergence.DEPLOYMENT_MISSING)
    assert (event["subject"], event["part"]) == (f"{project}/prices", "refresh")
    assert str(old) in event["difference"][0]
    assert settle(bench) == {}


def test_a_paused_instance_gets_its_deployment_back_paused(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.services.ledger.set_lifecycle(bench.instance_id("prices"), Lifecycle.PAUSED)
    bench.services.prefect.delete_deployment(
        UUID(handles(bench, "prices")["prefect_deployment_id"])
    )

    settle(bench)

    view = bench.services.prefect.find_deployment_by_name(f"refresh-dataset/{project}.prices")
    assert view is not None
    assert view.paused


def test_a_row_without_a_deployment_finds_the_one_that_is_there(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    known = handles(bench, "prices")["prefect_deployment_id"]

    def lose(session: Any) -> None:
        flow = session.get_one(FlowExecutionResource, bench.flow_id("prices"))
        flow.deployment_id = None

    bench.services.database.transact(lose)

    assert outcomes(settle(bench)) == {Divergence.DEPLOYMENT_MISSING: Outcome.REPAIRED}
    with bench.services.database.read() as session:
        flow = session.get_one(FlowExecutionResource, bench.flow_id("prices"))
        assert str(flow.deployment_id) == known


CRON = {"type": "cron", "expression": "0 9 * * *"}


def test_every_edited_field_of_a_deployment_is_told_and_set_back(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.services.prefect.ensure_work_pool("elsewhere", "process", None)
    bench.provision({**prices(project), "description": "Closes", "schedule": CRON})
    id_ = handles(bench, "prices")["prefect_deployment_id"]
    path = f"/deployments/{id_}"
    before = person.get(path).json()
    (schedule,) = before["schedules"]
    edited = {
        "parameters": {"instance": str(uuid4())},
        "tags": ["mine"],
        "description": "Opens",
        "work_pool_name": "elsewhere",
        "job_variables": {"env": {"PASSWORD": "planted"}},
        "entrypoint": "prefect_instances.flows.procedure_flows.train_model",
    }
    person.patch(path, json=edited).raise_for_status()
    moved = {"schedule": {"cron": "0 4 * * *", "timezone": "UTC"}}
    person.patch(f"{path}/schedules/{schedule['id']}", json=moved).raise_for_status()

    found = settle(bench)

    assert outcomes(found) == {Divergence.DEPLOYMENT_EDITED: Outcome.REPAIRED}
    (event,) = events(bench, Divergence.DEPLOYMENT_EDITED)
    assert (event["subject"], event["part"]) == (f"{project}/prices", "refresh")
    told = "\n".join(event["difference"])
    for line in (
        'description: "Closes" -> "Opens"',
        'work_pool_name: "instances" -> "elsewhere"',
        'schedule instances.cron: "0 9 * * *" -> "0 4 * * *"',
        "job_variables differ",
    ):
        assert line in told
    assert {"parameters.instance", "tags[0]", "entrypoint"} <= {
        line.partition(":")[0] for line in event["difference"]
    }
    assert "planted" not in told
    after = person.get(path).json()
    same = ("parameters", "tags", "description", "work_pool_name", "job_variables", "entrypoint")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["schedules"][0]["schedule"]["cron"] == "0 9 * * *"
    assert settle(bench) == {}


def test_what_a_person_may_set_in_a_deployment_is_no_difference(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.provision({**prices(project), "schedule": CRON})
    path = f"/deployments/{handles(bench, 'prices')['prefect_deployment_id']}"
    (schedule,) = person.get(path).json()["schedules"]
    person.patch(f"{path}/schedules/{schedule['id']}", json={"active": False}).raise_for_status()
    own = [{"schedule": {"cron": "0 4 * * *"}, "active": True, "slug": "mine"}]
    person.post(f"{path}/schedules", json=own).raise_for_status()
    person.post(f"{path}/pause_deployment").raise_for_status()
    person.patch(path, json={"concurrency_limit": 2}).raise_for_status()

    assert settle(bench) == {}

    person.delete(f"{path}/schedules/{schedule['id']}").raise_for_status()
    (item,) = settle(bench).values()
    assert item.diverged.difference == ("schedule instances was deleted",)
    after = person.get(path).json()
    assert {one["slug"] for one in after["schedules"]} == {"instances", "mine"}
    assert (after["paused"], after["global_concurrency_limit"]["limit"]) == (True, 2)


def test_a_second_deployment_of_a_flow_is_reported(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.provision(prices(project))
    document = person.get(
        f"/deployments/{handles(bench, 'prices')['prefect_deployment_id']}"
    ).json()
    copied = ("flow_id", "entrypoint", "parameters", "tags", "work_pool_name")
    body = {**{name: document[name] for name in copied}, "name": f"{project}.copy"}
    made = person.post("/deployments/", json=body).raise_for_status().json()

    (item,) = settle(bench, remove_unknown=True).values()

    assert (item.diverged.kind, item.outcome) == (Divergence.DEPLOYMENT_EXTRA, Outcome.REPORTED)
    assert (item.diverged.subject, item.diverged.part) == (f"{project}/prices", made["id"])
    assert person.get(f"/deployments/{made['id']}").is_success


def test_a_deployment_without_a_row_is_reported_and_removed_on_request(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    bench.provision(prices(project))
    id_ = UUID(handles(bench, "prices")["prefect_deployment_id"])

    def lose(session: Any) -> None:
        delete_rows(session, bench.instance_id("prices"))

    bench.services.database.transact(lose)

    def of_mine(**options: Any) -> list[Settled]:
        found = reconcile(bench.services, ports_of(bench), **options)
        return [item for item in found.items if item.diverged.part == str(id_)]

    (reported,) = of_mine()
    assert reported.outcome is Outcome.REPORTED
    assert reported.diverged.kind is Divergence.DEPLOYMENT_UNKNOWN
    assert bench.services.prefect.find_deployment(id_) is not None
    before = len(events(bench, Divergence.DEPLOYMENT_UNKNOWN))
    of_mine()
    assert len(events(bench, Divergence.DEPLOYMENT_UNKNOWN)) == before


def test_unknown_deployments_are_deleted_where_that_is_asked(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    id_ = UUID(handles(bench, "prices")["prefect_deployment_id"])
    diverged = Diverged(Divergence.DEPLOYMENT_UNKNOWN, "prices", str(id_), ())
    services = bench.services
    repairer = Repairer(services, observe(services, plan_of(bench)), ports_of(bench), True)

    settled = repairer.settle(diverged)

    assert settled is not None
    assert settled.outcome is Outcome.REPAIRED
    assert services.prefect.find_deployment(id_) is None


def test_an_automation_that_was_deleted_or_edited_is_set_right(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    def stored() -> dict[str, Any]:
        body = {"automations": {"name": {"any_": [START_NAME]}}}
        (document,) = person.post("/automations/filter", json=body).json()
        return dict(document)

    edited = stored()
    trigger = {**edited["trigger"], "threshold": 7}
    body = {key: edited[key] for key in ("name", "description", "actions")}
    sent = {**body, "trigger": trigger, "enabled": True}
    assert person.put(f"/automations/{edited['id']}", json=sent).is_success

    assert outcomes(settle(bench)) == {Divergence.AUTOMATION_CHANGED: Outcome.REPAIRED}
    assert stored()["trigger"]["threshold"] == 1
    person.delete(f"/automations/{edited['id']}")
    assert outcomes(settle(bench)) == {Divergence.AUTOMATION_MISSING: Outcome.REPAIRED}
    assert stored()["actions"][0]["source"] == "inferred"


def test_lifecycle_deployments_that_were_deleted_come_back_and_automations_follow(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    plans = {plan.full_name: plan for plan in lifecycle_plans()}
    account = plans[AGGREGATE_STATUS]
    other = replace(account, flow_name=f"other-{project}")
    prefect = bench.services.prefect

    def differences() -> dict[str, tuple[Divergence, Outcome]]:
        found = reconcile(bench.services, ports_of(bench), [account, other])
        kinds = (Divergence.LIFECYCLE_MISSING, Divergence.AUTOMATION_CHANGED)
        return {
            item.diverged.subject: (item.diverged.kind, item.outcome)
            for item in found.items
            if item.diverged.kind in kinds
        }

    try:
        registered = (Divergence.LIFECYCLE_MISSING, Outcome.REPAIRED)
        assert differences() == {AGGREGATE_STATUS: registered, other.full_name: registered}
        assert differences() == {}
        for name in (AGGREGATE_STATUS, other.full_name):
            view = prefect.find_deployment_by_name(name)
            assert view is not None
            prefect.delete_deployment(view.id)
        assert differences() == {AGGREGATE_STATUS: registered, other.full_name: registered}
        view = prefect.find_deployment_by_name(AGGREGATE_STATUS)
        body = {"automations": {"name": {"any_": [BAD_END_NAME]}}}
        (document,) = person.post("/automations/filter", json=body).json()
        assert view is not None
        assert document["actions"][0]["deployment_id"] == str(view.id)
        assert differences() == {}
    finally:
        prefect.delete_automation(BAD_END_NAME)
        for name in (AGGREGATE_STATUS, other.full_name):
            if view := prefect.find_deployment_by_name(name):
                prefect.delete_deployment(view.id)


def test_a_lifecycle_deployment_of_no_installed_flow_is_reported_and_kept(
    bench: Bench, project: str
) -> None:
    (plan, *_) = lifecycle_plans()
    listed, renamed = (replace(plan, flow_name=f"{word}-{project}") for word in ("new", "old"))
    made = [bench.services.prefect.ensure_deployment(one).id for one in (listed, renamed)]
    try:
        found = reconcile(bench.services, ports_of(bench), [listed]).items
        outcomes = {
            item.diverged.subject: item.outcome
            for item in found
            if item.diverged.kind is Divergence.LIFECYCLE_STALE
        }
        assert outcomes[renamed.full_name] is Outcome.REPORTED
        assert listed.full_name not in outcomes
        assert bench.services.prefect.find_deployment(made[1]) is not None
    finally:
        for id_ in made:
            bench.services.prefect.delete_deployment(id_)


def test_an_automation_that_was_switched_off_is_reported(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    switch(person, START_NAME, on=False)

    assert outcomes(settle(bench)) == {Divergence.AUTOMATION_OFF: Outcome.REPORTED}
    assert not automation(person, START_NAME)["enabled"]


def automation(person: httpx.Client, name: str) -> dict[str, Any]:
    body = {"automations": {"name": {"any_": [name]}}}
    (document,) = person.post("/automations/filter", json=body).json()
    return dict(document)


def switch(person: httpx.Client, name: str, *, on: bool) -> None:
    """What a person does to an automation in Prefect."""
    id_ = automation(person, name)["id"]
    person.patch(f"/automations/{id_}", json={"enabled": on}).raise_for_status()


def test_a_block_that_was_deleted_is_saved_again(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    old = UUID(handles(bench, "prices")["block_document_id"])
    bench.services.prefect.delete_block_document(old)

    assert outcomes(settle(bench)) == {Divergence.DOCUMENT_MISSING: Outcome.REPAIRED}
    document = bench.services.prefect.find_block_document("dataset-instance", f"{project}--prices")
    assert handles(bench, "prices")["block_document_id"] == str(document)
    assert settle(bench) == {}


def edit_block(bench: Bench, person: httpx.Client, **change: Any) -> None:
    id_ = handles(bench, "prices")["block_document_id"]
    data = {**person.get(f"/block_documents/{id_}").json()["data"], **change}
    body = {"data": data, "merge_existing_data": False}
    assert person.patch(f"/block_documents/{id_}", json=body).is_success


@on_both_databases
def test_an_edited_block_is_applied_and_told_field_by_field(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.provision(prices(project))
    assert bench.drain() == ["prices"]
    edit_block(bench, person, pipeline=prices(project, symbols=["KO"])["pipeline"])

    found = settle(bench)

    assert outcomes(found) == {Divergence.DOCUMENT_CHANGED: Outcome.REPAIRED}
    assert any("pipeline.config.symbols[0]" in line for line in one(found).diverged.difference)
    assert bench.drain() == ["prices"]
    assert settle(bench) == {}


def test_a_block_cannot_rename_its_instance(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.provision(prices(project))
    edit_block(bench, person, name="other")

    found = settle(bench)

    assert outcomes(found) == {Divergence.DOCUMENT_CHANGED: Outcome.FAILED}
    assert "rename" in one(found).note
    assert bench.instance_id("prices")


def test_a_block_that_was_edited_into_nonsense_is_reported_with_its_faults(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.provision(prices(project))
    edit_block(bench, person, schedule={"type": "cron", "expression": "61 * * * *"})

    found = settle(bench)

    assert outcomes(found) == {Divergence.DOCUMENT_FAULTY: Outcome.REPORTED}
    assert "schedule.expression" in one(found).diverged.difference[0]


def one(found: dict[tuple[Divergence, str], Settled]) -> Settled:
    (item,) = found.values()
    return item


def test_a_missing_experiment_and_project_are_made_again(bench: Bench, project: str) -> None:
    provisioned(bench, project)
    row = read_model_row(bench.services, bench.instance_id("m"))
    assert row.mlflow_experiment_id
    assert row.evidently_project_id
    name = build_experiment_name(project, "m", bench.instance_id("m"))
    tracking(bench.services).delete_experiment(row.mlflow_experiment_id, name, purge=True)
    monitoring(bench.services).delete_project(row.evidently_project_id)

    found = settle(bench)

    assert {part: item.outcome for (_, part), item in found.items()} == {
        "mlflow": Outcome.REPAIRED,
        "evidently": Outcome.REPAIRED,
    }
    healed = read_model_row(bench.services, bench.instance_id("m"))
    assert tracking(bench.services).has_experiment(str(healed.mlflow_experiment_id), name)
    assert monitoring(bench.services).has_project(str(healed.evidently_project_id))
    assert settle(bench) == {}


def test_lost_outputs_are_told_with_the_command_that_makes_them_again(
    bench: Bench, project: str
) -> None:
    provisioned(bench, project)
    bench.drain()
    name = build_model_name(project, "m", bench.instance_id("m"))
    tracking(bench.services).delete_model(name)
    shutil.rmtree(bench.services.settings.store_root)

    found = reconcile(bench.services, ports_of(bench)).items

    lost = [item for item in found if item.diverged.kind is Divergence.OUTPUT_LOST]
    rows = [item.row() for item in lost]
    assert {row["outcome"] for row in rows} == {Outcome.REPORTED}
    # Upstreams first: what is downstream reads them.
    assert [row["remedy"] for row in rows] == [
        f"`instances run {project}/prices --mode full`",
        f"`instances run {project}/momentum --mode full`",
        f"`instances run {project}/m --flow inference --force`",
        f"`instances run {project}/m --flow training`",
    ]
    assert rows[-1]["difference"] == "version 1 of the registered model is not in MLflow"


@on_both_databases
def test_a_run_that_is_over_in_prefect_is_ended_here(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.provision(prices(project))
    deployment = UUID(handles(bench, "prices")["prefect_deployment_id"])
    flow_run = bench.services.prefect.start_run(deployment, {})
    run_id = start_and_abandon(bench, "prices", flow_run.id)
    state = {"type": "COMPLETED", "name": "Completed"}
    body = {"state": state, "force": True}
    person.post(f"/flow_runs/{flow_run.id}/set_state", json=body).raise_for_status()

    found = settle(bench)

    assert outcomes(found) == {Divergence.RUN_ENDED: Outcome.REPAIRED}
    with bench.services.database.read() as session:
        run = session.get_one(RunRecord, run_id)
        assert run.status is RunStatus.CRASHED
        assert "published nothing" in run.error


def start_and_abandon(bench: Bench, name: str, flow_run_id: UUID) -> UUID:
    """A run that claimed its opening, is RUNNING, and never says another word."""
    opening = bench._next_opening()
    assert opening is not None
    work = Work(opening[1], flow_run_id, opening[2], None, kind="refresh")

    def die(job: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(bench.services, work, die)
    with bench.services.database.read() as session:
        return session.scalars(select(RunRecord.id)).one()


def test_an_instance_that_is_being_removed_is_nobody_elses_affair(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    bench.services.prefect.delete_deployment(
        UUID(handles(bench, "prices")["prefect_deployment_id"])
    )

    def leave(session: Any) -> None:
        resource = session.get_one(Resource, bench.instance_id("prices"))
        resource.lifecycle = Lifecycle.DEPROVISIONING

    bench.services.database.transact(leave)

    assert settle(bench) == {}


def test_a_configuration_that_cannot_be_read_hides_nothing_else(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision(prices(project, "beside"))
    beside = deployment_id(bench, "beside")
    bench.services.prefect.delete_deployment(beside)
    damage(bench, "prices")

    found = reconcile(bench.services, ports_of(bench))

    mine = {
        item.diverged.subject: item.outcome
        for item in found.items
        if item.diverged.part == "refresh"
    }
    assert mine[f"{project}/beside"] is Outcome.REPAIRED
    assert [line for line in found.unseen if f"{project}.prices" in line]
    assert deployment_id(bench, "beside") != beside


def test_the_doctor_counts_missing_deployments(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    database, inspector = bench.services.database, bench.services.prefect
    whole = check_instances(database, inspector)
    inspector.delete_deployment(deployment_id(bench, "prices"))
    broken = check_instances(database, inspector)

    assert (whole.level, whole.detail) == (Level.OK, "1 flows have their deployments")
    assert broken.level is Level.FAIL
    assert broken.detail == f"1 of 1 flows have no deployment: {project}/prices.refresh"
    assert "instances reconcile" in broken.advice


def test_what_keeps_flows_from_running_is_told_with_the_command(
    bench: Bench, project: str, person: httpx.Client
) -> None:
    bench.provision(prices(project))
    kept = UUID(handles(bench, "prices")["prefect_deployment_id"])
    pointed = bench.services.settings.model_copy(
        update={"prefect_api_url": bench.services.prefect.api_url}
    )
    flows = {"prices.refresh": kept, "lost.refresh": uuid4()}

    whole = find_obstacles(pointed, {"prices.refresh": kept})
    switch(person, START_NAME, on=False)
    off = find_obstacles(pointed, {"prices.refresh": kept})
    bench.services.prefect.delete_automation(START_NAME)
    lost = find_obstacles(pointed, flows)
    with temporary_settings({PREFECT_API_URL: NOBODY}):
        away = find_obstacles(pointed, flows)

    without_sweep = [line for line in whole if "sweep-freshness" not in line]
    assert without_sweep == []
    assert [line for line in off if line not in whole] == [
        f"the automation {START_NAME!r} is off, so only the sweep starts runs; switch it on"
    ]
    assert [line for line in lost if "sweep-freshness" not in line] == [
        "no deployment in Prefect: lost.refresh; run `instances reconcile`",
        f"the automation {START_NAME!r} is missing; run `instances up`",
    ]
    assert away == [f"Prefect does not answer at {NOBODY}; run `instances up`"]


def test_a_run_of_a_deployment_that_is_gone_names_the_command(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.services.prefect.delete_deployment(
        UUID(handles(bench, "prices")["prefect_deployment_id"])
    )
    target = choose_flow(bench.services, "prices", "")

    with pytest.raises(DeploymentGone, match="`instances reconcile` makes it again"):
        parameters_for(bench.services, target, {})


@pytest.mark.parametrize(
    ("states", "level", "said"),
    [
        ([], Level.WARN, "none has ended yet"),
        (["COMPLETED"], Level.OK, "the last good one ended"),
        (["COMPLETED", "FAILED"], Level.WARN, "the last ended Failed: told"),
        (["FAILED"], Level.WARN, "none of the last 1 was good"),
    ],
)
def test_the_doctor_tells_the_last_good_sweep(
    bench: Bench, person: httpx.Client, states: list[str], level: Level, said: str
) -> None:
    prefect, settings = bench.services.prefect, bench.services.settings
    plan = next(plan for plan in lifecycle_plans() if plan.full_name == SWEEP)
    sweeps = prefect.ensure_deployment(replace(plan, schedule=None)).id
    for state in states:
        run = prefect.start_run(sweeps, {})
        body = {"state": {"type": state, "message": "told"}, "force": True}
        person.post(f"/flow_runs/{run.id}/set_state", json=body).raise_for_status()

    found = check_sweeps(prefect, settings, datetime.now(UTC))
    prefect.delete_deployment(sweeps)

    assert found.level is level
    assert said in found.detail


def deployment_id(bench: Bench, name: str) -> UUID:
    with bench.services.database.read() as session:
        id_ = session.get_one(FlowExecutionResource, bench.flow_id(name)).deployment_id
        assert id_ is not None
        return id_


def damage(bench: Bench, name: str) -> None:
    """What a newer version, or a hand, left in the database."""

    def write(session: Session) -> None:
        version = select_newest_version(session, bench.instance_id(name))
        assert version is not None
        version.spec_json = {**version.spec_json, "type": "UnknownInstance"}

    bench.services.database.transact(write)
