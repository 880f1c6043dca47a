"""From an event to a flow run: our two automations on a real server (no worker is needed)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import yaml

from prefect_instances.libs.adapters.prefect import (
    Change,
    DeploymentPlan,
    PrefectGateway,
    RunView,
    describe_flow,
)
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.ids import EXECUTION_TAG, GATE_OPENED, SLA_BREACHED
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.services.lifecycle.automations import (
    NOTIFY_NAME,
    START_FLOW,
    START_NAME,
    plan_recovery,
)
from tests.patience import Found, eventually
from tests.property.graphs import chain
from tests.property.scene import BY_HAND, Scene

POOL = "automation-tests"
PAGE = Path(__file__).parents[3] / "docs" / "scheduling.md"


@pytest.fixture(scope="module")
def aggregate_status(gateway: PrefectGateway) -> UUID:
    """The deployment that accounts for bad ends, under a name of these tests."""
    gateway.ensure_work_pool(POOL, "process")
    return deploy(gateway, "prefect_instances.flows.aggregate_status.aggregate_status")


@pytest.fixture(scope="module")
def _automations(gateway: PrefectGateway, aggregate_status: UUID) -> Iterator[None]:
    plans = (START_FLOW, plan_recovery(aggregate_status))
    for plan in plans:
        gateway.ensure_automation(plan)
    yield
    for plan in plans:
        gateway.delete_automation(plan.name)


@pytest.fixture
def execution(gateway: PrefectGateway, aggregate_status: UUID) -> UUID:
    """The deployment of an instance's flow."""
    return deploy(gateway, "prefect_instances.flows.refresh_dataset.refresh_dataset", EXECUTION_TAG)


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
    return gateway.list_live_runs([deployment_id])[deployment_id]


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
        other = deploy(
            gateway, "prefect_instances.flows.refresh_dataset.refresh_dataset", EXECUTION_TAG
        )
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
        sender = deploy(
            gateway, "prefect_instances.flows.refresh_dataset.refresh_dataset", EXECUTION_TAG
        )
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
            deploy(gateway, "prefect_instances.flows.refresh_dataset.refresh_dataset", "instances"),
            {},
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
        plan = replace(plan_recovery(aggregate_status), name=f"test {uuid4()}")
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

    from prefect_instances.deployments.apply import _notify

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


class Inbox(HTTPServer):
    """A web server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.received: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Receive)


class _Receive(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(204)
        self.end_headers()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def breach() -> Event:
    """A missed deadline as the core tells of it: a slot an hour ago, with a grace of an hour."""
    scene = Scene.ready(chain())
    scene.begin("A", BY_HAND)
    scene.finish("A", same=True, due_in=1)
    scene.begin("A", BY_HAND)
    scene.end("A", RunStatus.FAILED, "file not found")
    scene.pass_time(2.5)
    (event,) = (event for event in scene.told if event.name == SLA_BREACHED)
    return event


def publish_until(
    gateway: PrefectGateway, event: Event, look: Callable[[], Found]
) -> tuple[Found, int]:
    """Publish an event of now until there is something to see; return that, and how often.

    An automation that was just made may miss an event: the server learns of it on its own time.
    """
    published = 0

    def publish() -> Found:
        nonlocal published
        published += 1
        gateway.publish([replace(event, id=uuid4(), occurred=datetime.now(UTC))])
        return look()

    return eventually(publish, what="what the event causes", pause=2), published


def test_a_missed_deadline_is_told_to_who_asked_with_the_slot_and_the_hours(
    gateway: PrefectGateway, inbox: Inbox
) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    from prefect_instances.deployments.apply import _notify

    gateway.ensure_block_type(CustomWebhookNotificationBlock)
    name = f"test-{uuid4().hex[:8]}"
    block = CustomWebhookNotificationBlock(
        name="inbox",
        url=f"http://127.0.0.1:{inbox.server_port}/",
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )
    gateway.save_block(block, name)
    event = breach()
    try:
        _notify(gateway, f"custom-webhook/{name}")
        messages, published = publish_until(gateway, event, lambda: inbox.received)
    finally:
        gateway.delete_automation(NOTIFY_NAME)
    assert len(messages) <= published
    message = messages[0]
    assert message["subject"] == f"{event.payload['project']}/A is overdue"
    assert f"was expected at {event.payload['expected_refresh_at']}" in message["body"]
    assert event.payload["overdue_hours"] == pytest.approx(1.5, abs=0.01)
    assert f"is {event.payload['overdue_hours']} h late" in message["body"]
    assert "It is ERROR (RunFailed): file not found" in message["body"]


def test_the_automation_of_the_page_explains_what_is_late(
    gateway: PrefectGateway, person: httpx.Client, aggregate_status: UUID
) -> None:
    assert aggregate_status, "its fixture makes the work pool"
    (written,) = re.findall(r"```yaml\n# late\.yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    check = deploy(
        gateway, "prefect_instances.flows.check_upstream_freshness.check_upstream_freshness"
    )
    document = yaml.safe_load(written.replace(str(UUID(int=0)), str(check)))
    made = person.post("/automations/", json=document)
    made.raise_for_status()
    event = breach()
    try:
        runs, published = publish_until(gateway, event, lambda: started(gateway, check))
    finally:
        person.delete(f"/automations/{made.json()['id']}").raise_for_status()
    assert len(runs) <= published
    for run in runs:
        assert run.parameters == {"instance": event.payload["instance_id"]}
