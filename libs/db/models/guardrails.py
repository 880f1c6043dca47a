"""Guardrail reports: what was checked at a gate, and the result."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json, UtcDateTime


class GuardrailReport(Base):
    """The result of checking one contract once.

    ``run_id`` is None for a check at ``instance.create``. ``mode`` is ``warn`` or ``block``.
    """

    __tablename__ = "guardrail_reports"
    __table_args__ = (
        Index("ix_guardrail_reports_instance", "instance_id", "created_at"),
        Index("ix_guardrail_reports_run", "run_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("resources.id", ondelete="CASCADE"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    gate: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(80))
    mode: Mapped[str] = mapped_column(String(10))
    passed: Mapped[bool]
    message: Mapped[str] = mapped_column(Text)
    details_json: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
