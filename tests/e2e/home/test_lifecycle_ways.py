"""Every lifecycle flow from everywhere: as a run of its deployment, and from the command line.

One row a flow says how it is called and what is different afterwards, in the records and in
Prefect. Where ``instances`` has no command that runs the flow, Prefect's own command line does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from sqlalchemy import select

from prefect_instances.libs.core.status import FlowStatus
from prefect_instances.libs.db.models import OutboxEvent, Resource
from prefect_instances.libs.services.lifecycle.automations import START_NAME
from prefect_instances.libs.services.lifecycle.lifecycle_flows import SWEEP, lifecycle_plans
from prefect_instances.libs.services.state.ledger import utc_now
from prefect_instances.libs.services.views import history, reports
from tests.e2e.stack import Stack, expression, market
from tests.patience import eventually

pytestmark = pytest.mark.e2e

WAYS = ("deployment", "command line")


@dataclass(frozen=True)
class World:
    """A small project: prices, what reads them, and of each way two that never ran."""

    stack: Stack
    project: str
    folder: Path
    way: str = ""

    def label(self, name: str) -> str:
        return f"{self.project}/{name}"

    def own(self, name: str) -> str:
        """The instance of that name that only this way uses."""
        return f"{name}_{WAYS.index(self.way)}"

    def file(self, document: Mapping[str, Any]) -> str:
        path = self.folder / f"{uuid4().hex}.yaml"
        path.write_text(yaml.safe_dump(dict(document)))
        return str(path)

    def find(self, path: str) -> dict[str, Any] | None:
        """A document of Prefect's API, None where it is not there."""
        answer = httpx.get(f"{self.stack.api_url}{path}", timeout=30)
        return dict(answer.json()) if answer.is_success else None

    def deployment(self, name: str) -> dict[str, Any] | None:
        """The deployment that refreshes an instance."""
        return self.find(f"/deployments/name/refresh-dataset/{self.project}.{name}")

    def lifecycle(self, name: str) -> str:
        return str(self.stack.instance(self.label(name))["lifecycle"])

    def delete(self, path: str) -> None:
        httpx.delete(f"{self.stack.api_url}{path}", timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> World:
    project = f"w{uuid4().hex[:6]}"
    idle = [f"{name}_{at}" for name in ("kept", "halted", "gone") for at in range(len(WAYS))]
    instances = [
        market("px", symbols=["KO", "XOM"]),
        expression("twice", "close * 2", "px"),
        idea("idea"),
        *({**market(name), "run_on_provision": False} for name in idle),
    ]
    stack.apply({"project": project, "instances": instances})
    for name in ("px", "twice"):
        label = f"{project}/{name}"
        eventually(lambda at=label: stack.flow(at)["status"] == "READY", 60, f"{label} READY")
    return World(stack, project, tmp_path_factory.mktemp("files"))


def idea(name: str) -> dict[str, Any]:
    """An experiment that nobody looks at."""
    return {
        "name": name,
        "type": "ExperimentInstance",
        "expression": "MEAN(close, 21) / close",
        "upstream_refs": [{"resource": "px"}],
        "run_on_provision": False,
    }


@contextmanager
def as_it_is(world: World) -> Iterator[None]:
    """Nothing has to be prepared."""
    yield


@dataclass(frozen=True)
class Row:
    """How a flow is called and what it did.

    ``given`` prepares what it is to act on, and tells ``check`` what it has to know of before;
    ``command`` are the words after ``instances``, None where only Prefect's command runs the flow.
    """

    flow: str
    parameters: Callable[[World], Mapping[str, Any]]
    command: Callable[[World], Sequence[str]] | None
    check: Callable[[World, Any], None]
    given: Callable[[World], AbstractContextManager[Any]] = as_it_is


def inline(world: World, name: str, **more: Any) -> dict[str, Any]:
    """The document of an instance that does not run by itself."""
    return {**market(name), "project": world.project, "run_on_provision": False, **more}


def named(name: str) -> Callable[[World], Mapping[str, Any]]:
    """The parameters of a flow that only wants to know which instance."""
    return lambda world: {"instance": world.label(world.own(name))}


def is_everywhere(world: World, name: str) -> None:
    """Rows, deployment and block, each knowing the others."""
    shown = reports.show(world.stack.database, utc_now(), world.label(name))
    deployment = world.deployment(name)
    block = world.find(f"/block_documents/{shown['handles']['block_document_id']}")
    assert world.lifecycle(name) == "ACTIVE"
    assert deployment is not None
    assert deployment["id"] == shown["handles"]["prefect_deployment_id"]
    assert deployment["parameters"] == {"instance": shown["id"]}
    assert block is not None
    assert block["name"] == f"{world.project}--{name}".replace("_", "-")


def is_nowhere(world: World, block_id: str) -> None:
    name = world.own("gone")
    assert name not in world.stack.statuses(world.project)
    assert world.deployment(name) is None
    assert world.find(f"/block_documents/{block_id}") is None


@contextmanager
def a_block(world: World) -> Iterator[str]:
    label = world.label(world.own("gone"))
    shown = reports.show(world.stack.database, utc_now(), label)
    yield shown["handles"]["block_document_id"]


def is_updated(world: World, _: None) -> None:
    name = world.own("kept")
    versions = history.history(world.stack.database, world.label(name))["versions"]
    deployment = world.deployment(name)
    assert len(versions) == 2
    assert deployment is not None
    assert deployment["description"] == "changed"
    is_everywhere(world, name)


def is_promoted(world: World, _: None) -> None:
    name = world.own("alpha")
    assert world.stack.instance(world.label(name))["type"] == "SignalInstance"
    is_everywhere(world, name)


def is_saved(world: World, _: None) -> None:
    """Other processes know the macro: the one that plans, and the one that computes."""
    macro, name = world.own("TREND"), world.own("trend")
    wanted = expression(name, f"{macro}(close, 5)", "px")
    world.stack.apply({"project": world.project, "instances": [wanted]})
    label = world.label(name)
    eventually(lambda: world.stack.flow(label)["status"] == "READY", 60, f"{label} READY")
    assert macro in world.stack.cli("definitions").out


@contextmanager
def paused(world: World) -> Iterator[None]:
    world.stack.run_deployment("pause-instance/default", named("halted")(world))
    yield


def stands(lifecycle: str, *, deployment_paused: bool) -> Callable[[World, None], None]:
    def check(world: World, _: None) -> None:
        deployment = world.deployment(world.own("halted"))
        assert world.lifecycle(world.own("halted")) == lifecycle
        assert deployment is not None
        assert deployment["paused"] is deployment_paused

    return check


@contextmanager
def much_deleted(world: World) -> Iterator[None]:
    """A deployment of an instance, one of a lifecycle flow, a block and an automation."""
    shown = reports.show(world.stack.database, utc_now(), world.label(world.own("kept")))
    rerun = world.find("/deployments/name/rerun-run/default")
    assert rerun is not None
    world.delete(f"/deployments/{shown['handles']['prefect_deployment_id']}")
    world.delete(f"/block_documents/{shown['handles']['block_document_id']}")
    world.delete(f"/deployments/{rerun['id']}")
    for automation in automations(world):
        world.delete(f"/automations/{automation['id']}")
    yield


def automations(world: World) -> list[dict[str, Any]]:
    body = {"automations": {"name": {"any_": [START_NAME]}}}
    return list(world.stack.post("/automations/filter", body))


def is_whole(world: World, _: None) -> None:
    is_everywhere(world, world.own("kept"))
    assert world.find("/deployments/name/rerun-run/default") is not None
    assert [automation["enabled"] for automation in automations(world)] == [True]


def first_run(world: World) -> str:
    return str(world.stack.completed(world.label("px"))[-1]["id"])


def reruns(world: World) -> list[dict[str, Any]]:
    return [run for run in world.stack.runs(world.label("px")) if run["cause"] == "rerun"]


@contextmanager
def earlier_reruns(world: World) -> Iterator[int]:
    yield len(reruns(world))


def is_repeated(world: World, before: int) -> None:
    newest, *_ = found = reruns(world)
    assert len(found) == before + 1
    assert newest["status"] == "completed"
    assert newest["metrics"]["identical"] is True


def freshness_tables(world: World) -> list[dict[str, Any]]:
    key = f"freshness-{world.project}-twice"
    return list(world.stack.post("/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}}))


@contextmanager
def earlier_tables(world: World) -> Iterator[int]:
    yield len(freshness_tables(world))


def is_told(world: World, before: int) -> None:
    found = freshness_tables(world)
    assert len(found) == before + 1
    for table in found:
        (upstream,) = json.loads(table["data"])
        assert (upstream["upstream"], upstream["blocks"]) == ("px.refresh", "no")


DAYS = {"start": "2020-01-15", "end": "2020-02-10"}


def days() -> list[str]:
    return [word for name, day in DAYS.items() for word in (f"--{name}", day)]


def backfills(world: World) -> list[dict[str, Any]]:
    """The runs of ``px`` that read the past anew, which is the same as it was."""
    runs = world.stack.runs(world.label("px"))
    return [run for run in runs if run["cause"] == "backfill"]


@contextmanager
def earlier_backfills(world: World) -> Iterator[int]:
    yield len(backfills(world))


def is_read_again(world: World, before: int) -> None:
    found = backfills(world)
    assert len(found) == before + 2, "January and February are a run each"
    assert {run["status"] for run in found} == {"completed"}
    assert world.stack.flow(world.label("px"))["generation"] == 1


@contextmanager
def an_unpublished_event(world: World) -> Iterator[UUID]:
    """An event that the server was not told of, while no sweep comes by itself."""
    sweep = world.find(f"/deployments/name/{SWEEP}")
    assert sweep is not None

    def forget(session: Any) -> UUID:
        event = session.scalars(select(OutboxEvent).order_by(OutboxEvent.seq.desc())).first()
        event.published_at = None
        return UUID(str(event.id))

    world.stack.post(f"/deployments/{sweep['id']}/pause_deployment", {})
    try:
        yield world.stack.database.transact(forget)
    finally:
        world.stack.post(f"/deployments/{sweep['id']}/resume_deployment", {})


def is_published(world: World, event_id: UUID) -> None:
    with world.stack.database.read() as session:
        published = select(OutboxEvent.published_at).where(OutboxEvent.id == event_id)
        assert session.scalar(published) is not None


@contextmanager
def a_wrong_status(world: World) -> Iterator[UUID]:
    instance_id = UUID(world.stack.instance(world.label("px"))["id"])

    def spoil(session: Any) -> None:
        session.get_one(Resource, instance_id).status = FlowStatus.ERROR

    world.stack.database.transact(spoil)
    assert world.stack.statuses(world.project)["px"] == "ERROR"
    yield instance_id


def is_ready(world: World, _: UUID) -> None:
    assert world.stack.statuses(world.project)["px"] == "READY"


def manifest(world: World, name: str) -> dict[str, Any]:
    return {"project": world.project, "instances": [inline(world, world.own(name))]}


CONTRACT = {"min_value": 0.0}

ROWS = (
    Row(
        "provision-instance",
        lambda world: {"instance": inline(world, world.own("made"))},
        None,
        lambda world, _: is_everywhere(world, world.own("made")),
    ),
    Row(
        "apply-manifest",
        lambda world: {"manifest": manifest(world, "applied")},
        lambda world: ["apply", "-f", world.file(manifest(world, "applied"))],
        lambda world, _: is_everywhere(world, world.own("applied")),
    ),
    Row(
        "update-instance",
        lambda world: {"instance": inline(world, world.own("kept"), description="changed")},
        lambda world: [
            "update",
            world.label(world.own("kept")),
            "--spec",
            world.file(inline(world, world.own("kept"), description="changed")),
        ],
        is_updated,
    ),
    Row(
        "promote-dataset",
        lambda world: {
            "dataset": world.label("px"),
            "name": world.own("alpha"),
            "signal": CONTRACT,
        },
        lambda world: [
            *("promote", world.label("px"), "--as", world.own("alpha")),
            *("--spec", world.file(CONTRACT)),
        ],
        is_promoted,
    ),
    Row(
        "save-macro",
        lambda world: {
            "experiment": world.label("idea"),
            "name": world.own("TREND"),
            "parameters": {"d": 21},
        },
        lambda world: [
            *("experiment", "promote", world.label("idea")),
            *("--as-macro", world.own("TREND"), "--parameter", "d=21"),
        ],
        is_saved,
    ),
    Row(
        "pause-instance",
        named("halted"),
        lambda world: ["pause", world.label(world.own("halted"))],
        stands("PAUSED", deployment_paused=True),
    ),
    Row(
        "resume-instance",
        named("halted"),
        lambda world: ["resume", world.label(world.own("halted"))],
        stands("ACTIVE", deployment_paused=False),
        paused,
    ),
    Row(
        "reconcile",
        lambda _: {},
        lambda _: ["reconcile"],
        is_whole,
        much_deleted,
    ),
    Row(
        "rerun-run",
        lambda world: {"run": first_run(world)},
        lambda world: ["rerun", first_run(world)],
        is_repeated,
        earlier_reruns,
    ),
    Row(
        "backfill-instance",
        lambda world: {"instance": world.label("px"), **DAYS},
        lambda world: ["backfill", world.label("px"), *days()],
        is_read_again,
        earlier_backfills,
    ),
    Row(
        "check-upstream-freshness",
        lambda world: {"instance": world.label("twice")},
        None,
        is_told,
        earlier_tables,
    ),
    Row("sweep-freshness", lambda _: {}, None, is_published, an_unpublished_event),
    Row(
        "aggregate-status",
        lambda world: {"instance": world.label("px")},
        None,
        is_ready,
        a_wrong_status,
    ),
    Row(
        "deprovision-instance",
        named("gone"),
        lambda world: ["delete", world.label(world.own("gone"))],
        is_nowhere,
        a_block,
    ),
)


def test_every_lifecycle_flow_has_its_row() -> None:
    assert sorted(f"{row.flow}/default" for row in ROWS) == sorted(
        plan.full_name for plan in lifecycle_plans()
    )


def calls() -> list[Any]:
    """Each row and way; of the rows without a command of ours the first one is enough."""
    return [
        pytest.param(row, way, id=f"{row.flow}-{way}")
        for row in ROWS
        for way in WAYS
        if way == "deployment" or row.command is not None or row is ROWS[0]
    ]


@pytest.mark.parametrize(("row", "way"), calls())
def test_a_lifecycle_flow_does_its_work_from(world: World, row: Row, way: str) -> None:
    here = World(world.stack, world.project, world.folder, way)
    with row.given(here) as before:
        call(here, row)
        row.check(here, before)


def call(world: World, row: Row) -> None:
    """Run the flow to its end, which must be a good one."""
    full_name = f"{row.flow}/default"
    if world.way == "deployment":
        ended = world.stack.run_deployment(full_name, row.parameters(world))
        assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    elif row.command is not None:
        world.stack.cli(*row.command(world))
    else:
        told = json.dumps(row.parameters(world))
        # Without --watch, which misses the end of a run that ends before it has connected.
        done = world.stack.prefect("deployment", "run", full_name, "--params", told)
        assert done.code == 0, done
        (run_id,) = re.findall(r"UUID: (\S+)", done.out)
        ended = world.stack.wait_for_end(run_id, full_name)
        assert ended["state_type"] == "COMPLETED", ended["state"]["message"]


def test_what_export_writes_is_applied_without_a_change(world: World) -> None:
    labels = [world.label(name) for name in world.stack.statuses(world.project)]
    path = world.folder / "exported.yaml"
    path.write_text(world.stack.cli("export", *labels).out)

    planned = world.stack.cli("apply", "-f", str(path), "--plan", "--json").json
    applied = world.stack.cli("apply", "-f", str(path))

    assert {step["name"] for step in planned["steps"]} == set(labels)
    assert {step["action"] for step in planned["steps"]} == {"unchanged"}
    assert "flow run" not in applied.err
