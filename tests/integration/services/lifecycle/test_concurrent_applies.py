"""Two applies at once end as one after the other: the same rows, edges, deployments and blocks.

The real flow, its services and both databases; only the two flow runs are threads of this process.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import func, select

from prefect_instances.flows.apply_manifest import apply_manifest
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    GateOpening,
    LineageEdge,
    Resource,
)
from prefect_instances.libs.db.models import ResourceVersion as Version
from prefect_instances.libs.db.repositories.resources import (
    find_project,
    flows_of,
    select_newest_version,
)
from prefect_instances.libs.services.lifecycle.manifests import plan
from prefect_instances.libs.specs import survey_manifest
from tests.databases import on_both_databases, on_each_database
from tests.integration.bench import Bench, derived, make_bench, prices

Document = dict[str, Any]
DAILY = {"type": "cron", "expression": "0 18 * * 1-5"}


@pytest.fixture
def bench(
    database: Database, gateway: PrefectGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    url = database.url.render_as_string(hide_password=False)
    monkeypatch.setenv("INSTANCES_HOME", str(tmp_path))
    monkeypatch.setenv("INSTANCES_DATABASE_URL", url)
    with temporary_settings({PREFECT_API_URL: gateway.api_url}):
        yield make_bench(database, gateway, tmp_path)


def first(project: str) -> Document:
    """Prices, a momentum on them, and one more reader of them."""
    return {
        "project": project,
        "instances": [
            prices(project, "px"),
            derived(project, "momentum", "close / REF(close, 20) - 1", "px"),
            derived(project, "mean", "MEAN(close, 5)", "px"),
        ],
    }


def second(project: str) -> Document:
    """The same prices on a schedule, another momentum, and another reader, of that."""
    return {
        "project": project,
        "instances": [
            {**prices(project, "px"), "schedule": DAILY, "description": "Closes"},
            derived(project, "momentum", "close / REF(close, 60) - 1", "px"),
            derived(project, "rank", "RANK(value)", "momentum"),
        ],
    }


def apply(document: Document, **options: Any) -> State[Any]:
    """The flow run's end."""
    ended: State[Any] = apply_manifest(document, return_state=True, **options)
    return ended


def at_once(*applies: Mapping[str, Any]) -> list[State[Any]]:
    """Several applies that start together; their ends."""
    start = threading.Barrier(len(applies))

    def run(options: Mapping[str, Any]) -> State[Any]:
        start.wait(30)
        return apply(**options)

    with ThreadPoolExecutor(len(applies)) as pool:
        ends = [pool.submit(copy_context().run, run, options) for options in applies]
        return [end.result(timeout=240) for end in ends]


def everything(bench: Bench, person: httpx.Client, project: str) -> Document:
    """What there is of a project, named by what it is instead of by ids and the project."""
    with bench.services.database.read() as session:
        owner = find_project(session, project)
        assert owner is not None
        resources = list(session.scalars(select(Resource).where(Resource.parent_id == owner.id)))
        names: dict[Any, str] = {}
        instances, recorded = [], {}
        for resource in resources:
            versions = session.scalar(
                select(func.count()).select_from(Version).where(Version.resource_id == resource.id)
            )
            newest = select_newest_version(session, resource.id)
            spec = newest.spec_json if newest else None
            state = (str(resource.lifecycle), str(resource.status), resource.condition)
            instances.append((resource.name, resource.type, state, spec, versions))
            names[str(resource.id)] = resource.name
            for flow in flows_of(session, resource.id):
                names[flow.id] = f"{resource.name}.{flow.kind}"
                recorded[str(flow.deployment_id)] = names[flow.id]
        edges = session.scalars(select(LineageEdge)).all()
        mine = FlowExecutionResource.instance_id.in_([resource.id for resource in resources])
        openings = session.execute(
            select(GateOpening.flow_id, GateOpening.status)
            .join(FlowExecutionResource, FlowExecutionResource.id == GateOpening.flow_id)
            .where(mine)
        ).all()
        assert owner.condition is None
    document = {
        "instances": instances,
        "edges": [
            (names[edge.upstream_flow_id], names[edge.downstream_flow_id], edge.role, edge.position)
            for edge in edges
            if edge.upstream_flow_id in names
        ],
        "openings": Counter((names[flow_id], str(status)) for flow_id, status in openings),
        "deployments": _deployments(bench, project, names, recorded),
        "blocks": _blocks(person, project),
    }
    return _told(document, project)


def _deployments(
    bench: Bench, project: str, names: Mapping[Any, str], recorded: Mapping[str, str]
) -> list[Any]:
    """Each with the flow whose row has its id; one that no row knows is there with None."""
    return [
        (
            view.full_name,
            recorded.get(str(view.id)),
            names.get(view.parameters["instance"]),
            sorted(tag for tag in view.tags if not tag.startswith("instance:")),
            view.description,
            [(one.slug, one.cron, one.active) for one in view.schedules],
        )
        for view in bench.services.prefect.list_deployments_tagged(f"project:{project}")
    ]


def _blocks(person: httpx.Client, project: str) -> list[Any]:
    body = {"block_documents": {"name": {"like_": f"{project}--"}}}
    found = person.post("/block_documents/filter", json=body).raise_for_status().json()
    return [(document["name"], document["data"]) for document in found]


def _told(document: Document, project: str) -> Document:
    """Canonical: lists in order, and the project's name taken out."""
    told = {
        part: sorted(map(repr, value.items() if isinstance(value, Counter) else value))
        for part, value in document.items()
    }
    plain: Document = json.loads(json.dumps(told).replace(project, "PROJECT"))
    return plain


def names() -> Iterator[str]:
    """Projects of the test's own, all as long as each other."""
    while True:
        yield f"c{uuid4().hex[:8]}"


@on_each_database
@pytest.mark.parametrize(
    "prune",
    [
        pytest.param(False, id="side by side", marks=pytest.mark.thorough),
        pytest.param(True, id="one prunes"),
    ],
)
def test_two_applies_at_once_end_as_one_after_the_other(
    bench: Bench, person: httpx.Client, prune: bool
) -> None:
    projects = names()
    orders = []
    for forward in (True, False):
        project = next(projects)
        applies = [
            {"document": first(project)},
            {"document": second(project), "prune": prune},
        ]
        for options in applies if forward else reversed(applies):
            assert apply(**options).is_completed()
        orders.append(everything(bench, person, project))
    assert orders[0] != orders[1]

    project = next(projects)
    ends = at_once({"document": first(project)}, {"document": second(project), "prune": prune})
    assert [end.is_completed() for end in ends] == [True, True], ends
    assert everything(bench, person, project) in orders


@on_both_databases
def test_of_two_that_were_planned_on_the_same_state_one_is_refused_or_both_agree(
    bench: Bench, person: httpx.Client
) -> None:
    def planned(document: Document) -> Document:
        on = plan(bench.services, survey_manifest(document)).versions
        return {"document": document, "planned_on": on}

    projects = names()
    alone = []
    for manifest in (first, second):
        project = next(projects)
        assert apply(manifest(project)).is_completed()
        alone.append(everything(bench, person, project))

    project = next(projects)
    ends = at_once(planned(first(project)), planned(second(project)))
    assert sorted(end.is_completed() for end in ends) == [False, True]
    (refused,) = [end for end in ends if not end.is_completed()]
    assert "has changed since the plan was made" in str(refused.message)
    assert everything(bench, person, project) == alone[ends.index(refused) == 0]

    project = next(projects)
    ends = at_once(planned(first(project)), planned(first(project)))
    assert all(end.is_completed() for end in ends), ends
    assert everything(bench, person, project) == alone[0]
