"""Statements of the audit: they read everything that the database holds about flows and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from prefect_instances.libs.core.audit import Records, StoredVersion
from prefect_instances.libs.core.records import Run
from prefect_instances.libs.core.status import FlowKind, RunStatus
from prefect_instances.libs.db.models import DatasetVersion, FlowExecutionResource, RunRecord
from prefect_instances.libs.db.repositories.region import load_region, read_run


def load_records(session: Session) -> Records:
    """Load the whole graph, every run and every published version."""
    flow_ids = list(session.scalars(select(FlowExecutionResource.id)))
    columns = RunRecord.__table__.c
    runs = session.execute(select(*(columns[field.name] for field in fields(Run))))
    version = DatasetVersion
    versions = session.execute(
        select(
            version.id,
            version.flow_id,
            version.generation,
            version.location,
            version.produced_by_run,
        )
    )
    return Records(
        load_region(session, flow_ids),
        {row.id: read_run(row._asdict()) for row in runs},
        tuple(StoredVersion(*row) for row in versions),
    )


def select_run_facts(
    session: Session, instance_id: UUID, kind: FlowKind
) -> Sequence[Row[UUID, RunStatus, dict[str, Any]]]:
    """Select (id, status, metrics) of every run of an instance's flow, newest first."""
    flow, run = FlowExecutionResource, RunRecord
    query = (
        select(run.id, run.status, run.metrics)
        .join(flow, flow.id == run.flow_id)
        .where(flow.instance_id == instance_id, flow.kind == kind)
        .order_by(run.started_at.desc())
    )
    return session.execute(query).all()
