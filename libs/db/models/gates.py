"""Gate openings and run requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.core.records import OpeningStatus, RequestStatus
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json, UtcDateTime, enum_column


class GateOpening(Base):
    """One opening of a flow's gate, for new inputs or for a request; see ``libs.core.records``."""

    __tablename__ = "gate_openings"
    __table_args__ = (
        UniqueConstraint("flow_id", "cause_key", name="uq_gate_openings_cause"),
        Index("ix_gate_openings_status", "status", "announced_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_execution_resources.id", ondelete="CASCADE")
    )
    cause_key: Mapped[str] = mapped_column(String(80))
    status: Mapped[OpeningStatus] = mapped_column(enum_column(OpeningStatus))
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    announced_at: Mapped[datetime] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    config_version: Mapped[int]
    vector: Mapped[dict[str, Any]] = mapped_column(Json)
    request_id: Mapped[UUID | None]
    attempt: Mapped[int]
    crashes: Mapped[int]
    claimed_by: Mapped[UUID | None]


class RunRequest(Base):
    """A request to run a flow; each flow has at most one pending request."""

    __tablename__ = "run_requests"
    __table_args__ = (
        Index(
            "uq_run_requests_pending",
            "flow_id",
            unique=True,
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
        Index("ix_run_requests_flow", "flow_id", "status"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_execution_resources.id", ondelete="CASCADE")
    )
    cause: Mapped[Cause] = mapped_column(enum_column(Cause))
    parameters: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[RequestStatus] = mapped_column(enum_column(RequestStatus))
    retries: Mapped[int]
    claimed_by: Mapped[UUID | None]
