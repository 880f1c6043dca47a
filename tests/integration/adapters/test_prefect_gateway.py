"""The gateway against a real server: runs, blocks, work pools, artifacts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import prefect
import pytest
from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import Field

from prefect_instances.deployments.pools import base_job_template
from prefect_instances.libs.adapters.prefect import (
    Change,
    DeploymentPlan,
    PrefectGateway,
    RunState,
)
from prefect_instances.libs.core.errors import (
    AlreadyExists,
    DefinitionUnavailable,
    InvalidSpec,
    NotFound,
    PermanentError,
)
from tests.prefect_server import api_url, free_port

SCHEMA = {
    "title": "Parameters",
    "type": "object",
    "properties": {"n": {"title": "n", "type": "integer", "position": 0, "default": 1}},
    "definitions": {},
}


@pytest.fixture
def deployment(gateway: PrefectGateway) -> UUID:
    """A deployment of its own for each test; nothing ever runs it."""
    return gateway.ensure_deployment(plan()).id


def plan(flow_name: str = "refresh-dataset") -> DeploymentPlan:
    return DeploymentPlan(
        flow_name=flow_name,
        name=f"demo.{uuid4().hex[:8]}",
        entrypoint="prefect_instances.flows.refresh_dataset.refresh_dataset",
        parameter_schema=SCHEMA,
        tags=("some-tag",),
        work_pool=POOL,
    )


POOL = "gateway-tests"


@pytest.fixture(scope="module", autouse=True)
def _pool(gateway: PrefectGateway) -> None:
    gateway.ensure_work_pool(POOL, "process")


SetState = Callable[[UUID, dict[str, Any]], None]


@pytest.fixture
def set_state(person: httpx.Client) -> SetState:
    """Move a run as its engine would."""

    def move(run_id: UUID, state: dict[str, Any]) -> None:
        body = {"state": state, "force": True}
        person.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()

    return move


# Connection


def test_a_healthy_server_tells_its_version(gateway: PrefectGateway) -> None:
    assert gateway.health() == prefect.__version__


def test_a_server_that_is_not_there_has_no_version() -> None:
    with PrefectGateway.connect(api_url(free_port())) as nowhere:
        assert nowhere.health() is None


# Runs


def test_a_run_starts_now_with_the_deployments_tags_and_defaults(
    gateway: PrefectGateway, deployment: UUID
) -> None:
    run = gateway.start_run(deployment, {"n": 5}, tags=("extra",), name="prices refresh · manual")
    assert run.state is RunState.SCHEDULED
    assert run.name == "prices refresh · manual"
    assert run.deployment_id == deployment
    assert run.parameters == {"n": 5}
    assert set(run.tags) == {"some-tag", "extra"}
    assert not run.scheduled
    assert gateway.read_run(run.id) == run


def test_a_run_may_be_asked_for_later(gateway: PrefectGateway, deployment: UUID) -> None:
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    run = gateway.start_run(deployment, {}, scheduled_time=later)
    assert run.expected_start_time == later


def test_the_same_key_is_the_same_run(gateway: PrefectGateway, deployment: UUID) -> None:
    key = f"gate:{uuid4()}:1"
    first = gateway.start_run(deployment, {"n": 1}, idempotency_key=key)
    again = gateway.start_run(deployment, {"n": 2}, idempotency_key=key)
    assert again.id == first.id
    assert again.parameters == {"n": 1}


def test_a_key_that_another_deployment_of_the_flow_used_is_refused(
    gateway: PrefectGateway, deployment: UUID
) -> None:
    key = f"gate:{uuid4()}:1"
    gateway.start_run(deployment, {}, idempotency_key=key)
    other = gateway.ensure_deployment(plan()).id
    with pytest.raises(PermanentError, match=str(deployment)):
        gateway.start_run(other, {}, idempotency_key=key)


def test_parameters_against_the_schema_are_refused(
    gateway: PrefectGateway, deployment: UUID
) -> None:
    with pytest.raises(PermanentError, match="'n'"):
        gateway.start_run(deployment, {"n": "many"})


def test_a_run_of_an_unknown_deployment_is_not_found(gateway: PrefectGateway) -> None:
    with pytest.raises(NotFound):
        gateway.start_run(uuid4(), {})


def test_reading_many_runs_leaves_out_those_that_are_unknown(
    gateway: PrefectGateway, deployment: UUID
) -> None:
    known = [gateway.start_run(deployment, {}).id for _ in range(2)]
    unknown = [uuid4() for _ in range(450)]
    found = gateway.read_runs([known[0], *unknown, known[1], known[0]])
    assert set(found) == set(known)


def test_an_unknown_run_is_not_found(gateway: PrefectGateway) -> None:
    with pytest.raises(NotFound):
        gateway.read_run(uuid4())


def test_live_runs_are_those_under_way_or_due(
    gateway: PrefectGateway, deployment: UUID, set_state: SetState
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    idle = gateway.ensure_deployment(plan()).id
    due, running, paused, retrying, ended = (gateway.start_run(deployment, {}).id for _ in range(5))
    planned = gateway.start_run(deployment, {}, scheduled_time=later).id
    set_state(running, {"type": "RUNNING", "name": "Running"})
    set_state(paused, {"type": "PAUSED", "name": "Paused"})
    set_state(retrying, {"type": "RUNNING", "name": "Running"})
    retry = {"scheduled_time": later.isoformat()}
    set_state(retrying, {"type": "SCHEDULED", "name": "AwaitingRetry", "state_details": retry})
    set_state(ended, {"type": "COMPLETED", "name": "Completed"})

    live = gateway.list_live_runs([deployment, idle])
    assert {run.id for run in live[deployment]} == {due, running, paused, retrying}
    assert live[idle] == []
    soon = gateway.list_live_runs([deployment], due_by=later)
    assert planned in {run.id for run in soon[deployment]}


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("PENDING", RunState.PENDING),
        ("PAUSED", RunState.PENDING),
        ("RUNNING", RunState.RUNNING),
        ("CANCELLING", RunState.RUNNING),
        ("COMPLETED", RunState.COMPLETED),
        ("FAILED", RunState.FAILED),
        ("CRASHED", RunState.CRASHED),
        ("CANCELLED", RunState.CANCELLED),
    ],
)
def test_every_state_of_prefect_has_one_of_ours(
    gateway: PrefectGateway,
    deployment: UUID,
    set_state: SetState,
    type_: str,
    expected: RunState,
) -> None:
    run = gateway.start_run(deployment, {})
    set_state(run.id, {"type": "RUNNING", "name": "Running"})
    set_state(run.id, {"type": type_, "name": "Special", "message": "why"})
    seen = gateway.read_run(run.id)
    assert (seen.state, seen.state_name, seen.message) == (expected, "Special", "why")


@pytest.mark.parametrize("type_", ["SCHEDULED", "PENDING", "RUNNING", "PAUSED"])
def test_a_run_whose_process_is_gone_is_crashed_whatever_it_was_doing(
    gateway: PrefectGateway, deployment: UUID, set_state: SetState, type_: str
) -> None:
    run = gateway.start_run(deployment, {})
    if type_ != "SCHEDULED":
        set_state(run.id, {"type": "RUNNING", "name": "Running"})
        set_state(run.id, {"type": type_})
    assert gateway.crash_run(run.id, "its process is gone")
    seen = gateway.read_run(run.id)
    assert (seen.state, seen.message) == (RunState.CRASHED, "its process is gone")


def test_a_run_that_died_while_it_was_being_cancelled_is_cancelled(
    gateway: PrefectGateway, deployment: UUID, set_state: SetState
) -> None:
    run = gateway.start_run(deployment, {})
    set_state(run.id, {"type": "RUNNING", "name": "Running"})
    assert gateway.cancel_run(run.id)
    assert gateway.crash_run(run.id, "its process is gone")
    seen = gateway.read_run(run.id)
    assert (seen.state, seen.message) == (RunState.CANCELLED, "its process is gone")


@pytest.mark.parametrize("type_", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
def test_a_run_that_is_over_keeps_its_end(
    gateway: PrefectGateway, deployment: UUID, set_state: SetState, type_: str
) -> None:
    run = gateway.start_run(deployment, {})
    set_state(run.id, {"type": "RUNNING", "name": "Running"})
    set_state(run.id, {"type": type_, "message": "its own"})
    assert not gateway.crash_run(run.id, "too late")
    assert not gateway.cancel_run(run.id)
    seen = gateway.read_run(run.id)
    assert (seen.state, seen.message) == (RunState(type_), "its own")


def test_an_unknown_run_can_neither_crash_nor_be_cancelled(gateway: PrefectGateway) -> None:
    assert not gateway.crash_run(uuid4(), "gone")
    assert not gateway.cancel_run(uuid4())


def test_a_run_that_nobody_picked_up_is_cancelled_at_once(
    gateway: PrefectGateway, deployment: UUID
) -> None:
    run = gateway.start_run(deployment, {})
    assert gateway.cancel_run(run.id)
    assert gateway.read_run(run.id).state is RunState.CANCELLED


def test_a_running_run_is_told_to_cancel(
    gateway: PrefectGateway, deployment: UUID, set_state: SetState
) -> None:
    run = gateway.start_run(deployment, {})
    set_state(run.id, {"type": "RUNNING", "name": "Running"})
    assert gateway.cancel_run(run.id)
    assert gateway.read_run(run.id).state_name == "Cancelling"


# Blocks


class GatewaySample(Block):
    """A block type of these tests."""

    label: str = Field(default="", title="Label")
    size: int = Field(default=1, ge=1)


@pytest.fixture
def document_name() -> str:
    return f"demo--{uuid4().hex[:8]}"


def test_a_saved_block_is_loaded_as_its_class(gateway: PrefectGateway, document_name: str) -> None:
    saved = gateway.save_block(GatewaySample(label="a", size=2), document_name)
    loaded = gateway.load_block(f"gatewaysample/{document_name}")
    assert isinstance(loaded, GatewaySample)
    assert (loaded.label, loaded.size) == ("a", 2)
    assert gateway.find_block_document("gatewaysample", document_name) == saved


def test_saving_again_overwrites_and_keeps_the_id(
    gateway: PrefectGateway, document_name: str
) -> None:
    first = gateway.save_block(GatewaySample(label="a"), document_name)
    assert gateway.save_block(GatewaySample(label="b"), document_name) == first
    loaded = gateway.load_block(f"gatewaysample/{document_name}")
    assert isinstance(loaded, GatewaySample)
    assert loaded.label == "b"


def test_blocks_go_to_the_gateways_server_whatever_the_settings_say(
    gateway: PrefectGateway, document_name: str
) -> None:
    with temporary_settings({PREFECT_API_URL: api_url(free_port())}):
        gateway.save_block(GatewaySample(label="a"), document_name)
        loaded = gateway.load_block(f"gatewaysample/{document_name}")
    assert isinstance(loaded, GatewaySample)


def test_a_deleted_document_is_gone(gateway: PrefectGateway, document_name: str) -> None:
    saved = gateway.save_block(GatewaySample(), document_name)
    assert gateway.delete_block_document(saved)
    assert not gateway.delete_block_document(saved)
    assert gateway.find_block_document("gatewaysample", document_name) is None
    with pytest.raises(NotFound):
        gateway.load_block(f"gatewaysample/{document_name}")


def test_a_document_of_an_unknown_type_is_none(gateway: PrefectGateway) -> None:
    assert gateway.find_block_document("no-such-type", "a") is None


def test_a_document_that_breaks_its_class_names_the_field(
    gateway: PrefectGateway, person: httpx.Client, document_name: str
) -> None:
    saved = gateway.save_block(GatewaySample(), document_name)
    person.patch(f"/block_documents/{saved}", json={"data": {"size": 0}}).raise_for_status()
    with pytest.raises(InvalidSpec) as caught:
        gateway.load_block(f"gatewaysample/{document_name}")
    assert [problem.path for problem in caught.value.problems] == ["size"]


def test_a_document_whose_class_is_not_imported_cannot_be_used(
    gateway: PrefectGateway, person: httpx.Client, document_name: str
) -> None:
    slug = f"foreign-{uuid4().hex[:8]}"
    type_ = person.post("/block_types/", json={"name": slug, "slug": slug}).json()
    fields = {"title": slug, "type": "object", "properties": {}, "block_type_slug": slug}
    schema_body = {"fields": fields, "block_type_id": type_["id"], "capabilities": []}
    schema = person.post("/block_schemas/", json=schema_body).json()
    body = {"block_type_id": type_["id"], "block_schema_id": schema["id"], "data": {}}
    person.post("/block_documents/", json={**body, "name": document_name}).raise_for_status()
    with pytest.raises(DefinitionUnavailable):
        gateway.load_block(f"{slug}/{document_name}")


def test_an_illegal_document_name_is_refused(gateway: PrefectGateway) -> None:
    with pytest.raises(PermanentError):
        gateway.save_block(GatewaySample(), "Not Legal")


def test_registering_a_type_again_changes_nothing(gateway: PrefectGateway) -> None:
    class Registered(Block):
        _block_type_slug = f"registered-{uuid4().hex[:8]}"
        _block_type_name = _block_type_slug

    assert gateway.ensure_block_type(Registered).change is Change.CREATED
    assert gateway.ensure_block_type(Registered).change is Change.UNCHANGED

    with pytest.warns(UserWarning, match="existing type will be overridden"):

        class Changed(Block):
            _block_type_slug = Registered._block_type_slug
            _block_type_name = Registered._block_type_slug
            more: str = ""

    assert gateway.ensure_block_type(Changed).change is Change.UPDATED


def test_two_processes_may_save_the_first_document_of_a_type_at_once(
    gateway: PrefectGateway,
) -> None:
    slug = f"raced-{uuid4().hex[:8]}"
    together = threading.Barrier(4)

    class Raced(Block):
        _block_type_slug = slug
        _block_type_name = slug

    def save(_: int) -> UUID:
        together.wait()
        return gateway.save_block(Raced(), "same-name")

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(save, range(4)))) == 1


# Work pools and artifacts


def test_a_pool_is_made_once(gateway: PrefectGateway) -> None:
    name = f"pool-{uuid4().hex[:8]}"
    made = gateway.ensure_work_pool(name, "process", base_job_template(gateway, "process"))
    again = gateway.ensure_work_pool(name, "process", base_job_template(gateway, "process"))
    assert (made.change, again.change) == (Change.CREATED, Change.UNCHANGED)
    assert made.id == again.id


def test_runs_of_our_process_pool_start_in_one_interpreter(
    gateway: PrefectGateway, person: httpx.Client
) -> None:
    name = f"pool-{uuid4().hex[:8]}"
    gateway.ensure_work_pool(name, "process", base_job_template(gateway, "process"))
    template = person.get(f"/work_pools/{name}").json()["base_job_template"]
    command = template["variables"]["properties"]["command"]["default"]
    assert command == "python -m prefect.engine"


def test_what_a_person_set_in_a_pools_template_stays(
    gateway: PrefectGateway, person: httpx.Client
) -> None:
    name = f"pool-{uuid4().hex[:8]}"
    gateway.ensure_work_pool(name, "process")
    theirs = {"job_configuration": {"command": "mine"}, "variables": {"properties": {}}}
    person.patch(f"/work_pools/{name}", json={"base_job_template": theirs}).raise_for_status()
    assert (
        gateway.ensure_work_pool(name, "process", base_job_template(gateway, "process")).change
        is Change.UPDATED
    )
    template = person.get(f"/work_pools/{name}").json()["base_job_template"]
    assert template["job_configuration"]["command"] == "mine"
    assert "env" in template["job_configuration"]


def test_a_pool_of_another_type_is_not_taken_over(gateway: PrefectGateway) -> None:
    name = f"pool-{uuid4().hex[:8]}"
    gateway.ensure_work_pool(name, "process")
    with pytest.raises(AlreadyExists):
        gateway.ensure_work_pool(name, "instances-warm")


def test_two_processes_may_make_the_same_pool_at_once(gateway: PrefectGateway) -> None:
    name = f"pool-{uuid4().hex[:8]}"
    together = threading.Barrier(3)

    def ensure(_: int) -> UUID:
        together.wait()
        return gateway.ensure_work_pool(name, "process").id

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(ensure, range(3)))) == 1


@pytest.mark.parametrize(
    ("type_", "data", "stored"),
    [
        ("markdown", "# Title", "# Title"),
        ("table", [{"a": 1, "b": float("nan")}], '[{"a":1,"b":null}]'),
        ("image", "data:image/png;base64,AA==", "data:image/png;base64,AA=="),
    ],
)
def test_an_artifact_is_stored_as_the_pages_read_it(
    gateway: PrefectGateway,
    person: httpx.Client,
    deployment: UUID,
    type_: Any,
    data: object,
    stored: str,
) -> None:
    run = gateway.start_run(deployment, {})
    key = f"key-{uuid4().hex[:8]}"
    identity = gateway.create_artifact(key, type_, data, "what it is", run.id)
    artifact = person.get(f"/artifacts/{identity}").json()
    assert (artifact["key"], artifact["type"], artifact["data"]) == (key, type_, stored)
    assert (artifact["description"], artifact["flow_run_id"]) == ("what it is", str(run.id))


def test_an_illegal_artifact_key_is_refused(gateway: PrefectGateway) -> None:
    with pytest.raises(PermanentError, match="key"):
        gateway.create_artifact("Not Legal", "markdown", "text")
