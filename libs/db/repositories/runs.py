"""Statements on run records, and on the guardrail reports of runs and creations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, update
from sqlalchemy.orm import Session

from prefect_instances.libs.core.records import Run, RunParameters
from prefect_instances.libs.core.status import Cause, RunStatus
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    GuardrailReport,
    Resource,
    RunRecord,
)
from prefect_instances.libs.db.repositories.region import among, read_parameters


def select_run(session: Session, identity: UUID) -> RunRecord | None:
    """Select a run by its id or the id of its Prefect flow run; None if there is none."""
    return session.scalars(select(RunRecord).where(_is(identity))).one_or_none()


def select_run_and_owner(session: Session, identity: UUID) -> Row[RunRecord, str, Resource] | None:
    """Select a run with the kind of its flow and its instance, by either id of the run."""
    flow = FlowExecutionResource
    query = (
        select(RunRecord, flow.kind, Resource)
        .join(flow, flow.id == RunRecord.flow_id)
        .join(Resource, Resource.id == flow.instance_id)
        .where(_is(identity))
    )
    return session.execute(query).one_or_none()


def _is(identity: UUID) -> ColumnElement[bool]:
    return (RunRecord.id == identity) | (RunRecord.prefect_flow_run_id == identity)


def select_runs_of_instance(
    session: Session, instance_id: UUID, limit: int
) -> Sequence[Row[RunRecord, str]]:
    """Select at most ``limit`` runs of an instance with the kind of their flow, newest first."""
    flow = FlowExecutionResource
    query = (
        select(RunRecord, flow.kind)
        .join(flow, flow.id == RunRecord.flow_id)
        .where(flow.instance_id == instance_id)
        .order_by(RunRecord.started_at.desc(), RunRecord.id)
        .limit(limit)
    )
    return session.execute(query).all()


def select_running(
    session: Session, *, instance_id: UUID | None = None, flow_id: UUID | None = None
) -> Sequence[Row[UUID, UUID, UUID, str]]:
    """Select the runs that are RUNNING, all or those of one instance or one flow.

    Rows are (run id, Prefect flow run id, instance id, kind of the flow).
    """
    flow = FlowExecutionResource
    query = (
        select(RunRecord.id, RunRecord.prefect_flow_run_id, flow.instance_id, flow.kind)
        .join(flow, flow.id == RunRecord.flow_id)
        .where(RunRecord.status == RunStatus.RUNNING)
    )
    if instance_id is not None:
        query = query.where(flow.instance_id == instance_id)
    if flow_id is not None:
        query = query.where(flow.id == flow_id)
    return session.execute(query).all()


def select_leases(
    session: Session, flow_run_ids: Collection[UUID] | None = None
) -> Sequence[Row[UUID, UUID, RunStatus, datetime | None, datetime | None]]:
    """Select runs as (run id, Prefect flow run id, status, end of the lease, end of the run).

    ``flow_run_ids`` selects the runs of these Prefect flow runs; None: all RUNNING runs.
    """
    run = RunRecord
    query = select(run.id, run.prefect_flow_run_id, run.status, run.lease_until, run.ended_at)
    if flow_run_ids is None:
        return session.execute(query.where(run.status == RunStatus.RUNNING)).all()
    known = among(session, run.prefect_flow_run_id, list(flow_run_ids))
    return session.execute(query.where(known)).all()


def extend_lease(session: Session, run_id: UUID, until: datetime) -> bool:
    """Set the end of a RUNNING run's lease; return False if the run is not RUNNING."""
    moved = session.execute(
        update(RunRecord)
        .where(RunRecord.id == run_id, RunRecord.status == RunStatus.RUNNING)
        .values(lease_until=until)
    )
    return bool(moved.rowcount)  # type: ignore[attr-defined]  # an update returns a CursorResult


def update_results(
    session: Session,
    run_id: UUID,
    metrics: Mapping[str, object],
    artifacts: Sequence[Mapping[str, object]],
) -> None:
    """Record the metrics and artifacts of a run."""
    session.execute(
        update(RunRecord)
        .where(RunRecord.id == run_id)
        .values(metrics=metrics, artifacts=list(artifacts))
    )


def select_config_versions_used(session: Session, instance_id: UUID) -> Sequence[int]:
    """Select the configuration version of each run of an instance, one a run."""
    flow = FlowExecutionResource
    query = (
        select(RunRecord.config_version)
        .join(flow, flow.id == RunRecord.flow_id)
        .where(flow.instance_id == instance_id)
    )
    return session.scalars(query).all()


def select_last_success_start(session: Session, flow_id: UUID) -> datetime | None:
    """Select when the newest success started, reruns and backfills excluded; None if there is none.

    Reruns and backfills serve no slot of the schedule.
    """
    query = (
        select(RunRecord.started_at)
        .where(
            RunRecord.flow_id == flow_id,
            RunRecord.status == RunStatus.COMPLETED,
            RunRecord.cause.not_in((Cause.RERUN, Cause.BACKFILL)),
        )
        .order_by(RunRecord.started_at.desc())
        .limit(1)
    )
    return session.scalar(query)


def select_newest_success(session: Session, flow_id: UUID) -> RunRecord | None:
    """Select the newest run of a flow that succeeded, reruns excluded; None if there is none."""
    query = (
        select(RunRecord)
        .where(
            RunRecord.flow_id == flow_id,
            RunRecord.status == RunStatus.COMPLETED,
            RunRecord.cause != Cause.RERUN,
        )
        .order_by(RunRecord.started_at.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def select_pins_of_success_before(session: Session, run: Run) -> Sequence[dict[str, Any]]:
    """Select the pins of the flow's last success before a run; empty if there is none."""
    query = (
        select(RunRecord.pins)
        .where(
            RunRecord.flow_id == run.flow_id,
            RunRecord.started_at <= run.started_at,
            RunRecord.id != run.id,
            RunRecord.status == RunStatus.COMPLETED,
            RunRecord.cause != Cause.RERUN,
        )
        .order_by(RunRecord.started_at.desc())
        .limit(1)
    )
    return session.scalar(query) or ()


def select_runs_since(session: Session, flow_id: UUID, since: datetime) -> Sequence[RunRecord]:
    """Select the runs of a flow that started at ``since`` or later, newest first; no reruns."""
    query = select(RunRecord).where(*_since(flow_id, since)).order_by(RunRecord.started_at.desc())
    return session.scalars(query).all()


def select_outcomes_since(
    session: Session, flow_id: UUID, since: datetime
) -> list[tuple[datetime, RunStatus, RunParameters]]:
    """Select start, status and parameters of the runs of ``select_runs_since``, oldest first.

    It reads three columns only.
    """
    query = (
        select(RunRecord.started_at, RunRecord.status, RunRecord.parameters)
        .where(*_since(flow_id, since))
        .order_by(RunRecord.started_at)
    )
    return [
        (row.started_at, row.status, read_parameters(row.parameters))
        for row in session.execute(query)
    ]


def _since(flow_id: UUID, since: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        RunRecord.flow_id == flow_id,
        RunRecord.started_at >= since,
        RunRecord.cause != Cause.RERUN,
    )


def select_guardrail_reports_of_run(session: Session, run_id: UUID) -> Sequence[GuardrailReport]:
    """Select the guardrail reports of a run, in the order in which they were checked."""
    return _reports(session, GuardrailReport.run_id == run_id)


def select_guardrail_reports_of_creation(
    session: Session, instance_id: UUID
) -> Sequence[GuardrailReport]:
    """Select the guardrail reports that an instance got without a run, in the order checked."""
    return _reports(
        session, GuardrailReport.instance_id == instance_id, GuardrailReport.run_id.is_(None)
    )


def select_newest_report_of_run(
    session: Session, run_id: UUID, kind: str
) -> GuardrailReport | None:
    """Select the newest guardrail report of a kind on a run; None if there is none."""
    reports = _reports(session, GuardrailReport.run_id == run_id, GuardrailReport.kind == kind)
    return reports[-1] if reports else None


def _reports(session: Session, *which: ColumnElement[bool]) -> Sequence[GuardrailReport]:
    report = GuardrailReport
    query = select(report).where(*which).order_by(report.created_at, report.kind, report.id)
    return session.scalars(query).all()
