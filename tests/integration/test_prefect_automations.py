"""From an event to a flow run: our two automations on a real server (no worker is needed)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from libs.adapters.prefect import Change, DeploymentPlan, PrefectGateway, RunView, describe_flow
from libs.core.errors import NotFound
from libs.core.events import Event
from libs.core.ids import EXECUTION_TAG, GATE_OPENED
from libs.services.automations import NOTIFY_NAME, START_FLOW, START_NAME, account_for_bad_ends
from tests.prefect_server import eventually

POOL = "automation-tests"


@pytest.fixture(scope="module")
def aggregate_status(gateway: PrefectGateway) -> UUID:
    """The deployment that accounts for bad ends, under a name of these tests."""
    gateway.ensure_work_pool(POOL, "process")
    return deploy(gateway, "flows.aggregate_status.aggregate_status")


@pytest.fixture(scope="module")
def _automations(gateway: PrefectGateway, aggregate_status: UUID) -> Iterator[None]:
    plans = (START_FLOW, account_for_bad_ends(aggregate_status))
    for plan in plans:
        gateway.ensure_automation(plan)
    yield
    for plan in plans:
        gateway.delete_automation(plan.name)


@pytest.fixture
def execution(gateway: PrefectGateway, aggregate_status: UUID) -> UUID:
    """The deployment of an instance's flow."""
    return deploy(gateway, "flows.refresh_dataset.refresh_dataset", EXECUTION_TAG)


def deploy(gateway: PrefectGateway, entrypoint: str, *tags: str) -> UUID:
    flow = describe_flow(entrypoint)
    known = flow.parameter_schema["properties"]
    plan = DeploymentPlan(
        flow_name=flow.name,
        name=f"test.{uuid4().hex[:8]}",
        entrypoint=flow.entrypoint,
        parameter_schema=flow.parameter_schema,
        parameters={"instance": str(uuid4())} if "opening" in known else {},
        tags=tags,
        work_pool=POOL,
    )
    return gateway.ensure_deployment(plan).id


def opened(deployment_id: UUID | None, opening: str, **changes: Any) -> Event:
    """The event of a gate that opened, as the core makes it."""
    deployment = {
        "prefect.resource.id": f"prefect.deployment.{deployment_id}",
        "prefect.resource.role": "deployment",
    }
    instance = {
        "prefect.resource.id": f"instance.{uuid4()}",
        "prefect.resource.role": "instance",
    }
    event = Event(
        id=uuid4(),
        name=GATE_OPENED,
        occurred=datetime.now(UTC),
        resource={"prefect.resource.id": f"instance.flow.{uuid4()}"},
        related=(deployment, instance) if deployment_id else (instance,),
        payload={"opening": opening, "attempt": 1, "inputs": {"a": 3}},
    )
    return replace(event, **changes)


def started(gateway: PrefectGateway, deployment_id: UUID) -> list[RunView]:
    return gateway.live_runs([deployment_id])[deployment_id]


def openings(gateway: PrefectGateway, deployment_id: UUID) -> list[str]:
    return [str(run.parameters.get("opening")) for run in started(gateway, deployment_id)]


def settle(gateway: PrefectGateway, deployment_id: UUID) -> None:
    """Return when the server has, by all experience, worked off what was published before.

    It works on two events at a time, and one may wait while the database is busy; events that are
    each sent after the last one has arrived leave it ever less to overtake.
    """
    for _ in range(4):
        sentinel = f"sentinel {uuid4()}"
        gateway.publish([opened(deployment_id, sentinel)])
        eventually(lambda expected=sentinel: expected in openings(gateway, deployment_id))


@pytest.mark.usefixtures("_automations")
class TestAGateThatOpens:
    def test_starts_the_deployment_that_it_names_with_the_opening(
        self, gateway: PrefectGateway, execution: UUID
    ) -> None:
        opening = str(uuid4())
        gateway.publish([opened(execution, opening)])
        (run,) = eventually(lambda: started(gateway, execution))
        assert run.parameters["opening"] == opening
        assert UUID(run.parameters["instance"])
        assert EXECUTION_TAG in run.tags

    def test_starts_each_of_many_deployments_its_own_run(
        self, gateway: PrefectGateway, execution: UUID
    ) -> None:
        other = deploy(gateway, "flows.refresh_dataset.refresh_dataset", EXECUTION_TAG)
        gateway.publish([opened(execution, "first"), opened(other, "second")])
        eventually(lambda: started(gateway, execution) and started(gateway, other))
        assert openings(gateway, execution) == ["first"]
        assert openings(gateway, other) == ["second"]

    def test_starts_one_run_however_often_its_event_is_posted_in_a_row(
        self, gateway: PrefectGateway, execution: UUID
    ) -> None:
        event = opened(execution, "once")
        gateway.publish([event, event])
        gateway.publish([event])
        eventually(lambda: "once" in openings(gateway, execution))
        settle(gateway, execution)
        assert openings(gateway, execution).count("once") == 1

    def test_starts_its_run_even_if_the_event_comes_late(
        self, gateway: PrefectGateway, execution: UUID
    ) -> None:
        long_ago = datetime.now(UTC) - timedelta(days=2)
        gateway.publish([opened(execution, "late", occurred=long_ago)])
        eventually(lambda: openings(gateway, execution) == ["late"])

    def test_starts_nothing_if_it_names_no_deployment(
        self, gateway: PrefectGateway, execution: UUID, person: httpx.Client
    ) -> None:
        gateway.publish([opened(None, "nobody")])
        settle(gateway, execution)
        body = {"flow_runs": {"name": {"like_": ""}}, "sort": "ID_DESC", "limit": 20}
        runs = person.post("/flow_runs/filter", json=body).json()
        assert "nobody" not in [run["parameters"].get("opening") for run in runs]

    def test_starts_what_the_event_names_and_not_who_sent_it(
        self, gateway: PrefectGateway, execution: UUID
    ) -> None:
        sender = deploy(gateway, "flows.refresh_dataset.refresh_dataset", EXECUTION_TAG)
        event = opened(execution, "named")
        appended = {
            "prefect.resource.id": f"prefect.deployment.{sender}",
            "prefect.resource.role": "deployment",
        }
        gateway.publish([replace(event, related=(*event.related, appended))])
        eventually(lambda: openings(gateway, execution) == ["named"])
        settle(gateway, execution)
        assert started(gateway, sender) == []


@pytest.mark.usefixtures("_automations")
class TestARunThatEndsBadly:
    @pytest.mark.parametrize("type_", ["FAILED", "CRASHED", "CANCELLED"])
    def test_is_accounted_for(
        self,
        gateway: PrefectGateway,
        person: httpx.Client,
        execution: UUID,
        aggregate_status: UUID,
        type_: str,
    ) -> None:
        run = gateway.start_run(execution, {})
        end(person, run.id, type_, "AnyName")
        eventually(lambda: str(run.id) in accounted(gateway, aggregate_status))

    def test_is_accounted_for_if_the_gateway_ended_it(
        self, gateway: PrefectGateway, execution: UUID, aggregate_status: UUID
    ) -> None:
        run = gateway.start_run(execution, {})
        gateway.crash_run(run.id, "its process is gone")
        eventually(lambda: str(run.id) in accounted(gateway, aggregate_status))

    def test_is_nobodys_business_without_the_tag_or_if_it_is_the_accountant(
        self,
        gateway: PrefectGateway,
        person: httpx.Client,
        execution: UUID,
        aggregate_status: UUID,
    ) -> None:
        untagged = gateway.start_run(
            deploy(gateway, "flows.refresh_dataset.refresh_dataset", "instances"), {}
        )
        accountant = gateway.start_run(aggregate_status, {})
        good = gateway.start_run(execution, {})
        end(person, untagged.id, "CRASHED", "Crashed")
        end(person, accountant.id, "FAILED", "Failed")
        end(person, good.id, "COMPLETED", "Skipped")
        for _ in range(4):
            last = gateway.start_run(execution, {})
            end(person, last.id, "CRASHED", "Crashed")
            eventually(lambda run=last: str(run.id) in accounted(gateway, aggregate_status))
        others = {str(untagged.id), str(accountant.id), str(good.id)}
        assert others.isdisjoint(accounted(gateway, aggregate_status))


def end(person: httpx.Client, run_id: UUID, type_: str, name: str) -> None:
    """End a run as its engine would."""
    for state in ({"type": "RUNNING", "name": "Running"}, {"type": type_, "name": name}):
        body = {"state": state, "force": False}
        person.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()


def accounted(gateway: PrefectGateway, aggregate_status: UUID) -> set[str]:
    return {str(run.parameters.get("flow_run_id")) for run in started(gateway, aggregate_status)}


class TestAnAutomation:
    def test_is_made_once_and_then_left_as_it_is(
        self, gateway: PrefectGateway, person: httpx.Client
    ) -> None:
        plan = replace(START_FLOW, name=f"test {uuid4()}")
        made = gateway.ensure_automation(plan)
        before = person.get(f"/automations/{made.id}").json()
        again = gateway.ensure_automation(plan)
        assert (made.change, again.change) == (Change.CREATED, Change.UNCHANGED)
        assert person.get(f"/automations/{made.id}").json() == before
        assert gateway.delete_automation(plan.name)

    @pytest.mark.usefixtures("aggregate_status")
    def test_that_selects_a_deployment_is_left_as_it_is_too(
        self, gateway: PrefectGateway, aggregate_status: UUID
    ) -> None:
        plan = replace(account_for_bad_ends(aggregate_status), name=f"test {uuid4()}")
        gateway.ensure_automation(plan)
        assert gateway.ensure_automation(plan).unchanged
        assert gateway.delete_automation(plan.name)

    def test_that_a_person_disabled_stays_disabled_when_it_changes(
        self, gateway: PrefectGateway, person: httpx.Client
    ) -> None:
        plan = replace(START_FLOW, name=f"test {uuid4()}")
        made = gateway.ensure_automation(plan)
        person.patch(f"/automations/{made.id}", json={"enabled": False}).raise_for_status()
        assert gateway.ensure_automation(plan).unchanged
        changed = gateway.ensure_automation(replace(plan, description="another"))
        assert (changed.id, changed.change) == (made.id, Change.UPDATED)
        stored = person.get(f"/automations/{made.id}").json()
        assert (stored["description"], stored["enabled"]) == ("another", False)
        assert gateway.delete_automation(plan.name)

    def test_is_one_even_if_several_make_it_at_once(
        self, gateway: PrefectGateway, person: httpx.Client
    ) -> None:
        plan = replace(START_FLOW, name=f"test {uuid4()}")
        together = threading.Barrier(4)

        def ensure(_: int) -> None:
            together.wait()
            gateway.ensure_automation(plan)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ensure, range(4)))
        body = {"automations": {"name": {"any_": [plan.name]}}}
        assert len(person.post("/automations/filter", json=body).json()) == 1
        assert gateway.delete_automation(plan.name)
        assert not gateway.delete_automation(plan.name)

    def test_with_a_duplicate_loses_the_younger_one(
        self, gateway: PrefectGateway, person: httpx.Client
    ) -> None:
        plan = replace(START_FLOW, name=f"test {uuid4()}")
        made = gateway.ensure_automation(plan)
        copy = {"name": plan.name, "trigger": plan.trigger, "actions": list(plan.actions)}
        person.post("/automations/", json=copy).raise_for_status()
        result = gateway.ensure_automation(plan)
        assert (result.id, result.change) == (made.id, Change.UPDATED)
        assert gateway.ensure_automation(plan).unchanged
        assert gateway.delete_automation(plan.name)

    def test_of_ours_carries_our_prefix(self) -> None:
        assert START_NAME.startswith("instances: ")


def test_a_notification_of_missed_deadlines_is_made_for_a_block_that_is_there(
    gateway: PrefectGateway,
) -> None:
    from prefect.blocks.notifications import SlackWebhook

    from deployments.apply import _notify

    gateway.ensure_block_type(SlackWebhook)
    name = f"test-{uuid4().hex[:8]}"
    gateway.save_block(SlackWebhook(url="http://127.0.0.1:9/none"), name)  # type: ignore[arg-type]  # pydantic reads text
    try:
        first, second = (_notify(gateway, f"slack-webhook/{name}") for _ in range(2))
        assert (first.change, second.change) == (Change.CREATED, Change.UNCHANGED)
        assert first.id == second.id
        with pytest.raises(NotFound):
            _notify(gateway, "slack-webhook/nobody")
    finally:
        gateway.delete_automation(NOTIFY_NAME)
