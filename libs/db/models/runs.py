"""Runs: executions of flows; a record does not change once the run has ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.core.status import Cause, RunStatus
from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json, UtcDateTime, enum_column


class RunRecord(Base):
    """One execution of a flow by one Prefect flow run.

    ``pins`` lists for each upstream edge what the run reads: generation and output version.
    ``lease_until`` is set while the run is in progress, and its heartbeat extends it.
    """

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("prefect_flow_run_id", name="uq_runs_prefect_flow_run"),
        Index("ix_runs_flow", "flow_id", "started_at"),
        Index("ix_runs_status", "status", "lease_until"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(40))
    flow_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_execution_resources.id", ondelete="CASCADE")
    )
    prefect_flow_run_id: Mapped[UUID]
    status: Mapped[RunStatus] = mapped_column(enum_column(RunStatus))
    cause: Mapped[Cause] = mapped_column(enum_column(Cause))
    config_version: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pins: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    parameters: Mapped[dict[str, Any]] = mapped_column(Json)
    opening_id: Mapped[UUID | None]
    request_id: Mapped[UUID | None]
    retries: Mapped[int]
    output_version: Mapped[UUID | None]
    metrics: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    artifacts: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    error: Mapped[str] = mapped_column(Text)
