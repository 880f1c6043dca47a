"""Deployments on a real server: made once, patched where they differ, people's switches kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from prefect_instances.libs.adapters.prefect import (
    Change,
    DeploymentPlan,
    DeploymentView,
    PrefectGateway,
    ScheduleView,
    api,
    describe_flow,
)
from prefect_instances.libs.core.errors import NotFound, PermanentError
from prefect_instances.libs.specs import ScheduleSpec
from tests.patience import eventually

POOL = "deployment-tests"
PARAMETERS = {"instance": str(UUID(int=1))}


@pytest.fixture(scope="module", autouse=True)
def _pool(gateway: PrefectGateway) -> None:
    gateway.ensure_work_pool(POOL, "process")


@pytest.fixture
def plan() -> DeploymentPlan:
    """The deployment of an instance of its own, with a schedule that does not fire during tests."""
    flow = describe_flow("prefect_instances.flows.refresh_dataset.refresh_dataset")
    return DeploymentPlan(
        flow_name=flow.name,
        name=f"demo.p{uuid4().hex[:8]}",
        entrypoint=flow.entrypoint,
        parameter_schema=flow.parameter_schema,
        parameters=PARAMETERS,
        tags=("instances-execution", f"instance:{uuid4()}"),
        description=flow.description,
        schedule=cron("0 6 * * 1-5"),
        work_pool=POOL,
        concurrency_limit=1,
    )


def cron(expression: str, **changes: Any) -> ScheduleSpec:
    return ScheduleSpec(type="cron", expression=expression, timezone="America/New_York", **changes)


def view(gateway: PrefectGateway, plan: DeploymentPlan) -> DeploymentView:
    found = gateway.find_deployment_by_name(plan.full_name)
    assert found is not None
    return found


def schedule(gateway: PrefectGateway, plan: DeploymentPlan) -> ScheduleView:
    (only,) = view(gateway, plan).schedules
    return only


def updated_at(person: httpx.Client, deployment_id: UUID) -> str:
    return str(person.get(f"/deployments/{deployment_id}").json()["updated"])


def switch(person: httpx.Client, deployment_id: UUID, seen: ScheduleView, on: bool) -> None:
    path = f"/deployments/{deployment_id}/schedules/{seen.id}"
    person.patch(path, json={"active": on}).raise_for_status()


def test_a_new_deployment_is_what_the_plan_says(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    result = gateway.ensure_deployment(plan)
    assert result.created
    seen = gateway.find_deployment(result.id)
    assert seen == view(gateway, plan)
    assert seen is not None
    assert seen.full_name == plan.full_name
    assert seen.parameters == PARAMETERS
    assert set(seen.tags) == set(plan.tags)
    assert (seen.work_pool, seen.concurrency_limit, seen.paused) == (POOL, 1, False)
    only = schedule(gateway, plan)
    assert (only.slug, only.active, only.cron) == ("instances", True, "0 6 * * 1-5")
    stored = person.get(f"/deployments/{result.id}").json()
    assert stored["pull_steps"] == []
    assert stored["path"] is None
    assert stored["enforce_parameter_schema"] is True
    assert "instance" in stored["parameter_openapi_schema"]["required"]


def test_ensuring_again_writes_nothing(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    first = gateway.ensure_deployment(plan)
    before = updated_at(person, first.id)
    again = gateway.ensure_deployment(replace(plan, tags=tuple(reversed(plan.tags))))
    assert (again.id, again.change) == (first.id, Change.UNCHANGED)
    assert updated_at(person, first.id) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {**PARAMETERS, "force": True}},
        {"description": "another"},
        {"tags": ("other",)},
        {"concurrency_limit": 3},
        {"job_variables": {"env": {"A": "b"}}},
        {"schedule": cron("5 7 * * *")},
        {"schedule": ScheduleSpec(type="interval", minutes=15)},
        {"schedule": None},
    ],
    ids=str,
)
def test_a_change_is_applied_to_the_same_deployment(
    gateway: PrefectGateway, plan: DeploymentPlan, changes: dict[str, Any]
) -> None:
    first = gateway.ensure_deployment(plan)
    changed = gateway.ensure_deployment(replace(plan, **changes))
    assert (changed.id, changed.change) == (first.id, Change.UPDATED)
    assert gateway.ensure_deployment(replace(plan, **changes)).unchanged


def test_a_schedule_keeps_its_identity_when_it_changes(
    gateway: PrefectGateway, plan: DeploymentPlan
) -> None:
    gateway.ensure_deployment(plan)
    before = schedule(gateway, plan)
    gateway.ensure_deployment(replace(plan, schedule=ScheduleSpec(type="interval", minutes=15)))
    after = schedule(gateway, plan)
    assert after.id == before.id
    assert (after.cron, after.interval_seconds, after.timezone) == ("", 900.0, "UTC")


def test_a_paused_deployment_stays_paused(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    made = gateway.ensure_deployment(plan)
    person.post(f"/deployments/{made.id}/pause_deployment").raise_for_status()
    gateway.ensure_deployment(replace(plan, description="another", schedule=cron("1 1 * * *")))
    assert view(gateway, plan).paused
    gateway.set_deployment_paused(made.id, False)
    assert not view(gateway, plan).paused


def test_a_schedule_switched_off_in_the_pages_stays_off_until_the_specification_says_otherwise(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    made = gateway.ensure_deployment(plan)
    switch(person, made.id, schedule(gateway, plan), on=False)

    assert gateway.ensure_deployment(plan).unchanged
    gateway.ensure_deployment(replace(plan, schedule=cron("2 4 * * *")))
    seen = schedule(gateway, plan)
    assert (seen.active, seen.cron) == (False, "2 4 * * *")

    gateway.ensure_deployment(replace(plan, schedule=cron("2 4 * * *", enabled=False)))
    assert not schedule(gateway, plan).active
    gateway.ensure_deployment(replace(plan, schedule=cron("2 4 * * *", enabled=True)))
    assert schedule(gateway, plan).active


def test_a_disabled_schedule_is_shown_inactive_and_may_be_switched_on_by_a_person(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    disabled = replace(plan, schedule=cron("3 3 * * *", enabled=False))
    made = gateway.ensure_deployment(disabled)
    seen = schedule(gateway, plan)
    assert (seen.active, seen.cron) == (False, "3 3 * * *")
    assert gateway.ensure_deployment(disabled).unchanged
    switch(person, made.id, seen, on=True)
    assert gateway.ensure_deployment(disabled).unchanged
    assert schedule(gateway, plan).active


def test_a_schedule_that_a_person_added_is_left_alone(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    made = gateway.ensure_deployment(plan)
    own = [{"schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}, "active": True}]
    person.post(f"/deployments/{made.id}/schedules", json=own).raise_for_status()
    assert gateway.ensure_deployment(plan).unchanged
    gateway.ensure_deployment(replace(plan, schedule=None, description="another"))
    (left,) = view(gateway, plan).schedules
    assert (left.slug, left.cron) == ("", "0 0 1 1 *")


def test_a_window_becomes_schedules_that_can_change_in_number(
    gateway: PrefectGateway, plan: DeploymentPlan
) -> None:
    def window(end: str) -> DeploymentPlan:
        spec = ScheduleSpec(type="interval", minutes=45, window_start="09:00", window_end=end)
        return replace(plan, schedule=spec)

    gateway.ensure_deployment(window("15:00"))
    many = view(gateway, plan).schedules
    assert len(many) > 1
    gateway.ensure_deployment(window("09:30"))
    assert [seen.slug for seen in view(gateway, plan).schedules] == ["instances"]
    assert gateway.ensure_deployment(window("15:00")).updated
    assert {seen.slug for seen in view(gateway, plan).schedules} == {seen.slug for seen in many}


def test_threads_that_make_the_same_deployment_at_once_make_one(
    gateway: PrefectGateway, plan: DeploymentPlan
) -> None:
    together = threading.Barrier(4)

    def ensure(_: int) -> UUID:
        together.wait()
        return gateway.ensure_deployment(plan).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ensure, range(4)))) == 1
    assert len(view(gateway, plan).schedules) == 1
    assert gateway.ensure_deployment(plan).unchanged


def test_a_cron_deployment_gets_its_scheduled_runs(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    made = gateway.ensure_deployment(replace(plan, schedule=cron("0 6 * * *")))
    runs = eventually(lambda: planned(person, made.id))
    assert all(run["auto_scheduled"] and run["parameters"] == PARAMETERS for run in runs)
    assert gateway.list_live_runs([made.id]) == {made.id: []}


def test_a_changed_schedule_replaces_the_planned_runs_soon(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    made = gateway.ensure_deployment(plan)
    eventually(lambda: planned(person, made.id))
    gateway.ensure_deployment(replace(plan, schedule=cron("17 4 * * *")))
    # Prefect's other scheduler, which is not meant, looks once a minute.
    runs = eventually(lambda: planned(person, made.id), seconds=20, slowest=1)
    starts = {datetime.fromisoformat(run["expected_start_time"]).minute for run in runs}
    assert starts == {17}


def planned(person: httpx.Client, deployment_id: UUID) -> list[dict[str, Any]]:
    condition = {
        "deployment_id": {"any_": [str(deployment_id)]},
        "next_scheduled_start_time": {"after_": datetime.now(UTC).isoformat()},
    }
    return list(person.post("/flow_runs/filter", json={"flow_runs": condition}).json())


def test_deployments_are_found_by_tag_page_by_page(
    gateway: PrefectGateway, plan: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = f"project:{uuid4().hex[:8]}"
    unscheduled = replace(plan, schedule=None, concurrency_limit=None, tags=(tag, "other"))
    plans = [replace(unscheduled, name=f"{plan.name}.{number}") for number in range(5)]
    made = {gateway.ensure_deployment(each).id for each in plans}
    monkeypatch.setattr(api, "PAGE", 2)
    found = gateway.list_deployments_tagged(tag)
    assert [seen.full_name for seen in found] == [each.full_name for each in plans]
    assert {seen.id for seen in found} == made
    assert gateway.list_deployments_tagged(tag[:-1]) == []


def test_a_deleted_deployment_is_gone_and_comes_back_anew(
    gateway: PrefectGateway, plan: DeploymentPlan
) -> None:
    made = gateway.ensure_deployment(plan)
    assert gateway.delete_deployment(made.id)
    assert not gateway.delete_deployment(made.id)
    assert gateway.find_deployment(made.id) is None
    assert gateway.find_deployment_by_name(plan.full_name) is None
    assert gateway.ensure_deployment(plan).created


def test_an_unknown_deployment_can_not_be_paused(gateway: PrefectGateway) -> None:
    with pytest.raises(NotFound):
        gateway.set_deployment_paused(uuid4(), True)


def test_a_deployment_in_an_unknown_pool_is_refused(
    gateway: PrefectGateway, plan: DeploymentPlan
) -> None:
    with pytest.raises(PermanentError, match="no-such-pool"):
        gateway.ensure_deployment(replace(plan, work_pool="no-such-pool"))
    gateway.ensure_deployment(plan)
    with pytest.raises(NotFound):
        gateway.ensure_deployment(replace(plan, work_pool="no-such-pool"))


def test_parameters_against_the_schema_are_refused(
    gateway: PrefectGateway, plan: DeploymentPlan
) -> None:
    with pytest.raises(PermanentError, match="mode"):
        gateway.ensure_deployment(replace(plan, parameters={**PARAMETERS, "mode": "sideways"}))


@pytest.mark.parametrize(
    "entrypoint",
    [
        "flows.no_such_module.flow",
        "prefect_instances.flows.refresh_dataset.no_such_flow",
        "prefect_instances.flows.execution_flows.build_ports",
    ],
)
def test_what_is_no_flow_cannot_be_described(entrypoint: str) -> None:
    with pytest.raises(PermanentError, match=entrypoint):
        describe_flow(entrypoint)


def test_a_run_that_prefect_creates_says_whose_it_is_before_it_starts(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    """The runs of a schedule, and one that a person or an automation asks for."""
    tags = (*plan.tags, "flow-kind:refresh", "name:prices")
    made = gateway.ensure_deployment(replace(plan, tags=tags))
    person.post(f"/deployments/{made.id}/create_flow_run", json={}).raise_for_status()
    runs = eventually(lambda: planned(person, made.id))
    assert {run["name"] for run in runs} == {"prices refresh · schedule"}
    asked = {"deployment_id": {"any_": [str(made.id)]}, "tags": {"all_": ["name:prices"]}}
    found = person.post("/flow_runs/filter", json={"flow_runs": asked}).json()
    assert {run["name"] for run in found if not run["auto_scheduled"]} == {
        "prices refresh · manual"
    }


def test_a_run_of_another_flow_keeps_the_name_that_prefect_gives(
    gateway: PrefectGateway, person: httpx.Client, plan: DeploymentPlan
) -> None:
    made = gateway.ensure_deployment(replace(plan, tags=("other",)))
    runs = eventually(lambda: planned(person, made.id))
    assert len({run["name"] for run in runs}) > 1
    chosen = {"name": "mine", "state": {"type": "SCHEDULED"}}
    path = f"/deployments/{made.id}/create_flow_run"
    assert person.post(path, json=chosen).json()["name"] == "mine"
