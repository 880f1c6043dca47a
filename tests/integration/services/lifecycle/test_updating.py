"""Updating instances against a real Prefect server and both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.adapters.prefect.api import Api
from prefect_instances.libs.core.errors import InvalidSpec, MovedOn, NotFound
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.plan import Action, Plan
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource, OutboxEvent
from prefect_instances.libs.services.lifecycle import provisioning, updating
from prefect_instances.libs.services.lifecycle.applying import apply_step
from prefect_instances.libs.services.lifecycle.manifests import plan, require_unmoved
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import parse_spec, survey_manifest
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, make_bench, prices

NINE = {"type": "cron", "expression": "0 9 * * *"}


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture
def bench(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Iterator[Bench]:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    return make_bench(database, gateway, tmp_path, Clock())


def states(bench: Bench) -> dict[str, tuple[str, str]]:
    """Status and reason of every instance."""
    document = reports.status(bench.services.database, bench.services.now())
    return {e["name"]: (e["status"], e["reason"]) for e in document["instances"]}


def flow(bench: Bench, name: str) -> FlowExecutionResource:
    with bench.services.database.read() as session:
        return session.get_one(FlowExecutionResource, bench.flow_id(name))


def chain(bench: Bench, project: str) -> None:
    """prices -> doubled -> shifted, all READY."""
    bench.provision(prices(project))
    bench.provision(derived(project, "doubled", "close * 2", "prices"))
    bench.provision(derived(project, "shifted", "value + 1", "doubled"))
    assert bench.drain() == ["prices", "doubled", "shifted"]


def planned(bench: Bench, project: str, *instances: dict[str, Any]) -> Plan:
    document = {"project": project, "instances": list(instances)}
    return plan(bench.services, survey_manifest(document))


@on_both_databases
def test_a_change_of_the_output_reaches_the_flow_and_its_descendants(
    bench: Bench, project: str
) -> None:
    chain(bench, project)
    changed = derived(project, "doubled", "close * 3", "prices")
    before = bench.rows()
    (step,) = planned(bench, project, changed).steps
    assert bench.rows() == before

    done = bench.update(changed)

    assert (step.action, step.version) == (Action.UPDATE, 1)
    assert [str(change) for change in step.changes] == [
        'pipeline.config.expression: "close * 2" -> "close * 3"'
    ]
    assert step.invalidates == (f"{project}/doubled.refresh", f"{project}/shifted.refresh")
    assert (done.action, done.steps) == ("updated", ["commit", "deployment", "document", "finish"])
    assert states(bench) == {
        "prices": ("READY", "RunSucceeded"),
        "doubled": ("STALE", "ConfigChanged"),
        "shifted": ("STALE", "UpstreamAdvanced"),
    }
    assert bench.drain() == ["doubled", "shifted"]
    assert {status for status, _ in states(bench).values()} == {"READY"}
    assert flow(bench, "doubled").consumed_config_version == 2
    assert bench.update(changed).action == "unchanged"


def test_a_description_or_schedule_changes_no_status_and_keeps_what_a_person_switched(
    bench: Bench, project: str
) -> None:
    bench.provision({**prices(project), "schedule": {**NINE, "expression": "0 8 * * *"}})
    bench.drain()
    due, handle = flow(bench, "prices").next_due_at, flow(bench, "prices").deployment_id
    assert due is not None
    assert handle is not None
    with httpx.Client(base_url=bench.services.prefect.api_url) as person:
        view = bench.services.prefect.find_deployment(handle)
        assert view is not None
        path = f"/deployments/{handle}"
        body = {"active": False}
        person.patch(f"{path}/schedules/{view.schedules[0].id}", json=body).raise_for_status()
        person.post(f"{path}/pause_deployment").raise_for_status()
    changed = {**prices(project), "schedule": NINE, "description": "Closes of three stocks"}

    (step,) = planned(bench, project, changed).steps
    bench.update(changed)

    assert (len(step.changes), step.invalidates) == (2, ())
    assert states(bench) == {"prices": ("READY", "RunSucceeded")}
    assert bench.drain() == []
    moved = flow(bench, "prices").next_due_at
    assert moved is not None
    assert (moved.hour, due.hour) == (9, 8)
    after = bench.services.prefect.find_deployment(handle)
    assert after is not None
    assert after.description == "Closes of three stocks"
    assert (after.paused, [item.active for item in after.schedules]) == (True, [False])
    assert after.schedules[0].cron == "0 9 * * *"


@on_both_databases
def test_upstreams_are_added_and_removed(bench: Bench, project: str) -> None:
    chain(bench, project)
    bench.provision(prices(project, "index", symbols=["KO"]))
    assert bench.drain() == ["index"]
    both = derived(project, "shifted", "value + 2", "doubled")
    both["upstream_refs"].append({"resource": "index", "role": "index"})

    bench.update(both)
    assert states(bench)["shifted"] == ("STALE", "ConfigChanged")
    assert bench.drain() == ["shifted"]
    bench.run("index", force=True)
    assert bench.drain() == ["shifted"]

    bench.update(derived(project, "shifted", "value + 2", "doubled"))
    assert bench.drain() == ["shifted"]
    bench.run("index", force=True)
    assert bench.drain() == []
    assert {status for status, _ in states(bench).values()} == {"READY"}


@on_both_databases
def test_an_upstream_that_would_close_a_cycle_is_refused_with_the_path(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "a", "close", "prices"))
    bench.provision(derived(project, "b", "value", "a"))
    bench.drain()
    loop = derived(project, "a", "value", "b")
    before = bench.rows()

    with pytest.raises(InvalidSpec) as by_plan:
        planned(bench, project, loop)
    with pytest.raises(InvalidSpec) as by_update:
        bench.update(loop)

    assert f"{project}/a -> " in str(by_plan.value)
    assert " -> ".join(["a", "b", "a"]) in str(by_update.value) or " -> ".join(
        ["b", "a", "b"]
    ) in str(by_update.value)
    assert bench.rows() == before
    assert {status for status, _ in states(bench).values()} == {"READY"}


def test_only_when_it_triggers_does_a_change_of_policy_matter(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    quiet = derived(project, "quiet", "close * 2", "prices")
    quiet["upstream_refs"][0]["triggers"] = False
    bench.provision(quiet)
    bench.drain()
    bench.run("prices", force=True)
    assert states(bench)["quiet"] == ("READY", "RunSucceeded")

    bench.update(derived(project, "quiet", "close * 2", "prices"))

    assert states(bench)["quiet"] == ("STALE", "UpstreamAdvanced")
    assert bench.drain() == ["quiet"]


STEPS = ("commit", "deployment", "document", "finish")


@on_both_databases
@pytest.mark.parametrize("killed_at", STEPS[1:])
def test_killed_before_any_step_the_same_update_goes_on(
    bench: Bench, project: str, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain(bench, project)
    changed = {**derived(project, "doubled", "close * 3", "prices"), "description": "Thrice"}
    handle = flow(bench, "doubled").deployment_id
    with die_at(monkeypatch, updating, killed_at), pytest.raises(KeyboardInterrupt):
        bench.update(changed)
    (step,) = planned(bench, project, changed).steps

    resumed = bench.update(changed)

    assert (step.action, step.detail) == (Action.RESUME, f"step {killed_at}: interrupted")
    assert resumed.action == "resumed"
    assert planned(bench, project, changed).is_empty
    assert bench.drain() == ["doubled", "shifted"]
    view = bench.services.prefect.find_deployment_by_name(f"refresh-dataset/{project}.doubled")
    assert view is not None
    assert (view.id, view.description) == (handle, "Thrice")
    with bench.services.database.read() as session:
        told = select(OutboxEvent.id).where(OutboxEvent.name == "instance.updated")
        assert len(session.scalars(told).all()) == 1


@on_both_databases
@pytest.mark.parametrize("killed_at", ["deployment", "document", "activate"])
def test_killed_before_any_step_provisioning_goes_on(
    bench: Bench, project: str, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with die_at(monkeypatch, provisioning, killed_at), pytest.raises(KeyboardInterrupt):
        bench.provision(prices(project))

    bench.provision(prices(project))

    assert bench.drain() == ["prices"]
    assert planned(bench, project, prices(project)).is_empty
    assert len(bench.services.prefect.list_deployments_tagged(f"project:{project}")) == 1


@contextmanager
def die_at(monkeypatch: pytest.MonkeyPatch, saga: Any, killed_at: str) -> Iterator[None]:
    """The process dies when a saga has passed a checkpoint and before it does it."""
    checkpoint = saga.checkpoint

    def dying(services: Any, instance_id: Any, flow_run_id: Any, step: str) -> None:
        checkpoint(services, instance_id, flow_run_id, step)
        if step == killed_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saga, "checkpoint", dying)
        yield


@on_both_databases
def test_who_planned_on_an_older_version_is_told(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    mine, theirs = prices(project, symbols=["KO"]), prices(project, symbols=["JPM"])
    (step,) = planned(bench, project, mine).steps
    bench.update(theirs)

    with pytest.raises(MovedOn) as caught:
        bench.update(mine, planned_on=step.version)

    assert (caught.value.planned, caught.value.found) == (1, 2)
    assert bench.update(theirs, planned_on=step.version).action == "unchanged"


def test_what_an_update_cannot_change_is_refused(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision({**prices(project, "other"), "accessor": {"instance": "prices.accessor"}})
    bench.drain()
    before = bench.rows()
    refused = [
        ({**prices(project), "type": "SignalInstance"}, "type"),
        ({**prices(project), "name": "Prices"}, "name"),
        ({**prices(project), "store": {"instance": "other.store"}}, "store"),
        ({**prices(project), "accessor": {"definition": "point_in_time"}}, "accessor"),
    ]
    for document, path in refused:
        with pytest.raises(InvalidSpec) as caught:
            bench.update(document)
        assert [problem.path for problem in caught.value.problems] == [path]
    with pytest.raises(NotFound):
        bench.update(prices(project, "nobody"))
    assert bench.rows() == before


def test_applying_what_is_there_already_sends_nothing(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    send = Api.send

    def counting(self: Api, method: str, path: str, *rest: Any, **more: Any) -> Any:
        sent.append(f"{method} {path}")
        return send(self, method, path, *rest, **more)

    monkeypatch.setattr(Api, "send", counting)
    wanted = [prices(project), derived(project, "doubled", "close * 2", "prices")]
    apply_all(bench, project, wanted)
    assert [line for line in sent if line.startswith("POST /deployments/")]
    rows, sent[:] = bench.rows(), []

    apply_all(bench, project, wanted)
    for document in wanted:
        assert bench.update(document).action == "unchanged"
        assert bench.provision(document).action == "unchanged"

    assert sent == []
    assert bench.rows() == rows


def apply_all(bench: Bench, project: str, wanted: list[dict[str, Any]]) -> None:
    """What the flow does with a manifest."""
    specs = {document["name"]: parse_spec(document) for document in wanted}
    for step in planned(bench, project, *wanted).steps:
        if step.action is not Action.UNCHANGED:
            spec = specs[step.name.rpartition("/")[2]]
            apply_step(bench.services, spec, bench.ports(bench.services, spec), step)


def test_a_plan_that_was_overtaken_is_not_applied(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    mine = [prices(project, symbols=["KO"]), prices(project, "new", symbols=["KO"])]
    looked_at = planned(bench, project, *mine)
    bench.update(prices(project, symbols=["JPM"]))
    bench.provision(prices(project, "new"))

    for name, before, now in (("prices", 1, 2), ("new", 0, 1)):
        step = next(s for s in looked_at.steps if s.name.endswith(f"/{name}"))
        spec = parse_spec(mine[0] if name == "prices" else mine[1])
        with pytest.raises(MovedOn) as caught:
            apply_step(bench.services, spec, bench.ports(bench.services, spec), step)
        assert (caught.value.planned, caught.value.found) == (before, now)
    with pytest.raises(MovedOn):
        require_unmoved(planned(bench, project, *mine), looked_at.versions)
    require_unmoved(planned(bench, project, *mine), planned(bench, project, *mine).versions)
