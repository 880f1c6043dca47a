"""Flow execution resources and the lineage edges between them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.core.status import FlowStatus, Reason, Require
from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json, UtcDateTime, enum_column


class FlowExecutionResource(Base):
    """One flow of an instance: its Prefect deployment and its state.

    The columns are those of ``libs.core.records.FlowState``, and ``schedule_json``: the schedule
    that the definition gives the flow if the instance has none for it.
    """

    __tablename__ = "flow_execution_resources"
    __table_args__ = (
        UniqueConstraint("instance_id", "kind", name="uq_flow_execution_resources_kind"),
        UniqueConstraint("deployment_id", name="uq_flow_execution_resources_deployment"),
        CheckConstraint("generation >= 0", name="generation"),
        Index("ix_flow_execution_resources_due", "breached", "due_deadline"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("resources.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(40))
    status: Mapped[FlowStatus] = mapped_column(enum_column(FlowStatus))
    reason: Mapped[Reason] = mapped_column(enum_column(Reason))
    since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    detail: Mapped[str] = mapped_column(Text)
    deployment_id: Mapped[UUID | None]
    generation: Mapped[int]
    version_id: Mapped[UUID | None]
    content_hash: Mapped[str] = mapped_column(String(64))
    config_version: Mapped[int]
    consumed_config_version: Mapped[int]
    running: Mapped[UUID | None]
    opened_key: Mapped[str] = mapped_column(String(80))
    overtaken: Mapped[int]
    last_run_id: Mapped[UUID | None]
    last_ready_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_data_date: Mapped[date | None]
    next_due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    due_deadline: Mapped[datetime | None] = mapped_column(UtcDateTime)
    breached: Mapped[bool] = mapped_column(default=False, server_default=false())
    aggregated: Mapped[bool] = mapped_column(default=True, server_default=true())
    schedule_json: Mapped[dict[str, Any] | None] = mapped_column(Json)


class LineageEdge(Base):
    """A dependency between two flows, and the generation that the downstream last read over it.

    ``position`` is the position of the reference in the downstream's list of upstreams.
    """

    __tablename__ = "lineage_edges"
    __table_args__ = (
        UniqueConstraint(
            "upstream_flow_id", "downstream_flow_id", "role", name="uq_lineage_edges_role"
        ),
        CheckConstraint("upstream_flow_id <> downstream_flow_id", name="no_self_reference"),
        Index("ix_lineage_edges_downstream", "downstream_flow_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    upstream_flow_id: Mapped[UUID] = mapped_column(ForeignKey("flow_execution_resources.id"))
    downstream_flow_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_execution_resources.id", ondelete="CASCADE")
    )
    position: Mapped[int]
    role: Mapped[str] = mapped_column(String(80))
    require: Mapped[Require] = mapped_column(enum_column(Require))
    triggers: Mapped[bool]
    consumed_generation: Mapped[int]
