"""Statements on trials: configurations whose results were measured on the same prices."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from prefect_instances.libs.core.status import Cause, FlowKind, RunStatus
from prefect_instances.libs.db.models import FlowExecutionResource, RunRecord
from prefect_instances.libs.db.repositories.region import among

MEASURED = (FlowKind.PREVIEW, FlowKind.TRAINING, FlowKind.BACKTEST)
"""Kinds of flow whose results a person compares and chooses by."""


@dataclass(frozen=True, slots=True)
class TrialRun:
    """A completed run of a configuration that counts as a trial, with its metrics."""

    instance_id: UUID
    kind: str
    config_version: int
    metrics: dict[str, Any]


def select_trial_runs(session: Session, flow_ids: Collection[UUID]) -> list[TrialRun]:
    """Select the completed runs of previews, trainings and backtests among flows, oldest first.

    Reruns are left out.
    """
    flow, run = FlowExecutionResource, RunRecord
    query = (
        select(flow.instance_id, flow.kind, run.config_version, run.metrics)
        .join(flow, flow.id == run.flow_id)
        .where(
            among(session, flow.id, flow_ids),
            flow.kind.in_(MEASURED),
            run.status == RunStatus.COMPLETED,
            run.cause != Cause.RERUN,
        )
        .order_by(run.started_at)
    )
    return [TrialRun(*row) for row in session.execute(query)]
