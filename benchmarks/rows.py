"""Instances, flows and edges as rows in bulk: what 10,000 provisioned instances leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from prefect_instances.libs.core.status import FlowStatus, Lifecycle, Reason, Require
from prefect_instances.libs.db.models import FlowExecutionResource, LineageEdge, Resource

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
BATCH = 5000

Parents = Callable[[int], Sequence[int]]
"""The numbers of the flows that a flow reads, all smaller than its own."""


def instance_id(number: int, project: str = "bench") -> UUID:
    """Id of an instance by its number."""
    return uuid5(NAMESPACE_OID, f"{project}/{number}")


def flow_id(number: int, project: str = "bench") -> UUID:
    """Id of the only flow of an instance."""
    return uuid5(instance_id(number, project), "refresh")


def alone(_: int) -> Sequence[int]:
    """No flow reads another."""
    return ()


def tree(number: int) -> Sequence[int]:
    """All descend from the first, by ten each."""
    return ((number - 1) // 10,) if number else ()


def fill(
    session: Session,
    count: int,
    parents: Parents = alone,
    *,
    project: str = "bench",
    flow: Callable[[int], dict[str, Any]] = lambda _: {},
) -> None:
    """``count`` READY datasets with one flow each; ``flow`` overrides columns by its number."""
    parent = uuid5(NAMESPACE_OID, project)
    session.execute(insert(Resource), [_resource(parent, "Project", None, project)])
    for numbers in _batches(count):
        session.execute(
            insert(Resource),
            [
                _resource(instance_id(n, project), "DatasetInstance", parent, f"i{n:06d}")
                for n in numbers
            ],
        )
        session.execute(
            insert(FlowExecutionResource), [{**_flow(n, project), **flow(n)} for n in numbers]
        )
        edges = [_edge(up, n, project) for n in numbers for up in parents(n)]
        if edges:
            session.execute(insert(LineageEdge), edges)
    session.execute(text("ANALYZE"))


def _batches(count: int) -> Iterable[range]:
    return (range(first, min(first + BATCH, count)) for first in range(0, count, BATCH))


def _resource(id_: UUID, type_: str, parent: UUID | None, name: str) -> dict[str, Any]:
    return {
        "id": id_,
        "type": type_,
        "parent_id": parent,
        "scope": str(parent or type_),
        "name": name,
        "name_key": name,
        "lifecycle": Lifecycle.ACTIVE,
        "status": FlowStatus.READY if parent else None,
        "contract": None,
        "condition": None,
        "created_at": NOW,
        "updated_at": NOW,
    }


def _flow(number: int, project: str) -> dict[str, Any]:
    instance = instance_id(number, project)
    return {
        "id": flow_id(number, project),
        "instance_id": instance,
        "kind": "refresh",
        "status": FlowStatus.READY,
        "reason": Reason.RUN_SUCCEEDED,
        "since": NOW,
        "detail": "",
        "deployment_id": uuid5(instance, "deployment"),
        "generation": 1,
        "version_id": None,
        "content_hash": "",
        "config_version": 1,
        "consumed_config_version": 1,
        "running": None,
        "opened_key": "",
        "overtaken": 0,
        "next_due_at": None,
        "due_deadline": None,
        "breached": False,
    }


def _edge(upstream: int, downstream: int, project: str) -> dict[str, Any]:
    return {
        "id": uuid5(flow_id(downstream, project), str(upstream)),
        "upstream_flow_id": flow_id(upstream, project),
        "downstream_flow_id": flow_id(downstream, project),
        "position": 0,
        "role": "input",
        "kind": "refresh",
        "require": Require.READY,
        "triggers": True,
        "consumed_generation": 1,
    }
