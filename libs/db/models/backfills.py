"""Backfills: ranges of past dates that are read again, piece by piece."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import UtcDateTime


class Backfill(Base):
    """A requested backfill; the runs since ``created_at`` say how much of it is done.

    The dates are inclusive. ``finished_at`` is None until every piece is read.
    """

    __tablename__ = "backfills"
    __table_args__ = (Index("ix_backfills_flow", "flow_id", "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_execution_resources.id", ondelete="CASCADE")
    )
    start_date: Mapped[date]
    end_date: Mapped[date]
    chunk: Mapped[str] = mapped_column(String(10))
    downstream: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
