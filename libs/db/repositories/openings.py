"""Statements on gate openings and run requests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from prefect_instances.libs.core.records import OpeningStatus, RequestStatus, RunParameters
from prefect_instances.libs.core.status import Cause, Lifecycle
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    GateOpening,
    Resource,
    RunRequest,
)
from prefect_instances.libs.db.repositories.region import among, read_parameters


def select_only_opening(session: Session, flow_id: UUID) -> UUID:
    """Select the id of the one opening that a flow has."""
    return session.scalars(select(GateOpening.id).where(GateOpening.flow_id == flow_id)).one()


def select_unclaimed(session: Session, before: datetime) -> Sequence[Row[*tuple[Any, ...]]]:
    """Select open openings of active instances that no run has claimed, oldest announcement first.

    They were announced, and could be claimed, before ``before``. Rows are (opening id, flow id,
    deployment id of the flow, name of the instance, kind of the flow).
    """
    flow = FlowExecutionResource
    query = (
        select(GateOpening.id, flow.id, flow.deployment_id, Resource.name, flow.kind)
        .join(flow, flow.id == GateOpening.flow_id)
        .join(Resource, Resource.id == flow.instance_id)
        .where(
            GateOpening.status == OpeningStatus.OPEN,
            GateOpening.announced_at < before,
            GateOpening.not_before < before,
            Resource.lifecycle == Lifecycle.ACTIVE,
            flow.deployment_id.is_not(None),
        )
        .order_by(GateOpening.announced_at)
    )
    return session.execute(query).all()


def select_pending_parameters(session: Session, flow_id: UUID) -> RunParameters | None:
    """Select the parameters of a flow's pending request; None if none is pending."""
    query = select(RunRequest.parameters).where(
        RunRequest.flow_id == flow_id, RunRequest.status == RequestStatus.PENDING
    )
    parameters = session.scalar(query)
    return read_parameters(parameters) if parameters else None


def has_pending_request(session: Session, instance_id: UUID) -> bool:
    """Return True if a request of any flow of an instance is pending."""
    flow = FlowExecutionResource
    query = (
        select(RunRequest.id)
        .join(flow, flow.id == RunRequest.flow_id)
        .where(flow.instance_id == instance_id, RunRequest.status == RequestStatus.PENDING)
    )
    return session.scalar(query.limit(1)) is not None


def select_flows_requested_since(
    session: Session, flow_ids: Collection[UUID], cause: Cause, since: datetime
) -> set[UUID]:
    """Select which of some flows got a request of a cause at ``since`` or later."""
    query = select(RunRequest.flow_id).where(
        among(session, RunRequest.flow_id, flow_ids),
        RunRequest.cause == cause,
        RunRequest.created_at >= since,
    )
    return set(session.scalars(query))
