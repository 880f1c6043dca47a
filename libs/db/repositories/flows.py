"""Statements on flows and on the lineage edges between them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, delete, or_, select, update
from sqlalchemy.orm import Session, aliased

from prefect_instances.libs.core.status import FlowKind, Lifecycle, Require
from prefect_instances.libs.db.models import (
    DatasetVersion,
    FlowExecutionResource,
    LineageEdge,
    Resource,
)
from prefect_instances.libs.db.repositories.region import among


def select_flow(session: Session, instance_id: UUID, kind: str) -> FlowExecutionResource | None:
    """Select the flow of a kind of an instance; None if there is none."""
    flow = FlowExecutionResource
    return session.scalar(select(flow).where(flow.instance_id == instance_id, flow.kind == kind))


def select_flow_ids(session: Session, instance_ids: Collection[UUID]) -> list[UUID]:
    """Select the ids of the flows of some instances."""
    flow = FlowExecutionResource
    return list(
        session.scalars(select(flow.id).where(among(session, flow.instance_id, instance_ids)))
    )


def select_instance_ids(session: Session, flow_ids: Collection[UUID]) -> set[UUID]:
    """Select the ids of the instances that some flows belong to."""
    flow = FlowExecutionResource
    return set(session.scalars(select(flow.instance_id).where(among(session, flow.id, flow_ids))))


def select_owners(session: Session) -> dict[UUID, UUID]:
    """Select the instance id of every flow, by flow id."""
    flow = FlowExecutionResource
    return {row[0]: row[1] for row in session.execute(select(flow.id, flow.instance_id))}


def select_flow_generations(session: Session) -> Sequence[Row[UUID, UUID, str, int]]:
    """Select every flow as (id, instance_id, kind, generation)."""
    flow = FlowExecutionResource
    return session.execute(select(flow.id, flow.instance_id, flow.kind, flow.generation)).all()


def select_flow_names(session: Session) -> dict[UUID, str]:
    """Select the name of the instance of every flow, by flow id."""
    flow = FlowExecutionResource
    query = select(flow.id, Resource.name).join(Resource, Resource.id == flow.instance_id)
    return {row[0]: row[1] for row in session.execute(query)}


def select_past_due(session: Session, now: datetime, limit: int) -> list[UUID]:
    """Select active flows whose deadline passed without a breach event, longest overdue first.

    It reads a range of one index (``breached``, ``due_deadline``), however many flows there are.
    """
    flow = FlowExecutionResource
    query = (
        select(flow.id)
        .join(Resource, Resource.id == flow.instance_id)
        .where(
            flow.breached.is_(False),
            flow.due_deadline < now,
            Resource.lifecycle == Lifecycle.ACTIVE,
        )
        .order_by(flow.due_deadline)
        .limit(limit)
    )
    return list(session.scalars(query))


def select_nodes(
    session: Session, flow_ids: Collection[UUID] | None = None
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Select flows with their instances as rows of the lineage graph; None: all flows.

    Rows have flow_id, instance_id, kind, status, name, type and project. They are ordered by
    project, then by creation of the instance.
    """
    query = _nodes()
    if flow_ids is not None:
        query = query.where(among(session, FlowExecutionResource.id, flow_ids))
    return session.execute(query).all()


def _nodes() -> Select[*tuple[Any, ...]]:
    flow, project = FlowExecutionResource, aliased(Resource)
    return (
        select(
            flow.id.label("flow_id"),
            flow.instance_id,
            flow.kind,
            flow.status,
            Resource.name,
            Resource.type,
            project.name.label("project"),
        )
        .join(Resource, Resource.id == flow.instance_id)
        .join(project, project.id == Resource.parent_id)
        .order_by(project.name, Resource.created_at, Resource.name)
    )


def select_edges(
    session: Session, between: Collection[UUID] | None = None
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Select lineage edges, all columns; ``between``: only edges with both ends in these flows."""
    edge = LineageEdge
    query = select(*edge.__table__.c)
    if between is not None:
        query = query.where(
            among(session, edge.upstream_flow_id, between),
            among(session, edge.downstream_flow_id, between),
        )
    return session.execute(query).all()


def select_pairs_into(session: Session, flow_ids: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """Select the edges that lead to some flows, as (upstream flow id, downstream flow id)."""
    edge = LineageEdge
    query = select(edge.upstream_flow_id, edge.downstream_flow_id).where(
        among(session, edge.downstream_flow_id, flow_ids)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def select_reader_names(session: Session, flow_id: UUID) -> list[str]:
    """Select the names of the instances that read a flow, sorted, each once."""
    flow = FlowExecutionResource
    query = (
        select(Resource.name)
        .join(flow, flow.instance_id == Resource.id)
        .join(LineageEdge, LineageEdge.downstream_flow_id == flow.id)
        .where(LineageEdge.upstream_flow_id == flow_id)
    )
    return sorted(set(session.scalars(query)))


def select_upstream_ids(session: Session, instance_id: UUID) -> set[UUID]:
    """Select the ids of the other instances that an instance reads directly."""
    upstream, downstream = aliased(FlowExecutionResource), aliased(FlowExecutionResource)
    query = (
        select(upstream.instance_id)
        .join(LineageEdge, LineageEdge.upstream_flow_id == upstream.id)
        .join(downstream, LineageEdge.downstream_flow_id == downstream.id)
        .where(downstream.instance_id == instance_id, upstream.instance_id != instance_id)
    )
    return set(session.scalars(query))


def select_upstream_datasets(session: Session, flow_id: UUID) -> list[tuple[str, UUID]]:
    """Select the datasets and signals that a flow reads directly, as (type, instance id)."""
    upstream = FlowExecutionResource
    query = (
        select(Resource.type, Resource.id)
        .join(upstream, upstream.instance_id == Resource.id)
        .join(LineageEdge, LineageEdge.upstream_flow_id == upstream.id)
        .where(LineageEdge.downstream_flow_id == flow_id, upstream.kind == FlowKind.REFRESH)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def update_edge(
    session: Session, edge_id: UUID, *, position: int, require: Require, triggers: bool
) -> None:
    """Update the configured part of an edge; the consumed generation stays."""
    session.execute(
        update(LineageEdge)
        .where(LineageEdge.id == edge_id)
        .values(position=position, require=require, triggers=triggers)
    )


def delete_edges(session: Session, edge_ids: Collection[UUID]) -> None:
    """Delete lineage edges."""
    session.execute(delete(LineageEdge).where(LineageEdge.id.in_(edge_ids)))


def delete_flows(session: Session, flow_ids: Collection[UUID]) -> None:
    """Delete flows with their edges and versions, and the rows that reference them."""
    either = or_(
        LineageEdge.upstream_flow_id.in_(flow_ids), LineageEdge.downstream_flow_id.in_(flow_ids)
    )
    session.execute(delete(LineageEdge).where(either))
    session.execute(delete(DatasetVersion).where(DatasetVersion.flow_id.in_(flow_ids)))
    session.execute(delete(FlowExecutionResource).where(FlowExecutionResource.id.in_(flow_ids)))


def select_consumed(session: Session, flow_id: UUID) -> dict[tuple[UUID, str], int]:
    """Select the generation that a flow's last success read, by upstream flow and role."""
    edge = LineageEdge
    query = select(edge.upstream_flow_id, edge.role, edge.consumed_generation)
    rows = session.execute(query.where(edge.downstream_flow_id == flow_id))
    return {(row[0], row[1]): row[2] for row in rows}
