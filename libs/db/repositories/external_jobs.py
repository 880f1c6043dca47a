"""Statements on jobs outside."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import ExternalJob


def find_external_job(session: Session, flow_id: UUID, name: str) -> ExternalJob | None:
    """Read the job that a flow has handed over under a name; None if there is none."""
    return session.get(ExternalJob, (flow_id, name))


def delete_external_jobs(session: Session, flow_id: UUID) -> None:
    """Delete the records of all jobs of a flow."""
    session.execute(delete(ExternalJob).where(ExternalJob.flow_id == flow_id))
