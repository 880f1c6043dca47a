"""Statements on backfills."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from prefect_instances.libs.core.backfill import Chunk
from prefect_instances.libs.db.models import Backfill


def select_backfill(
    session: Session,
    flow_id: UUID,
    start: date,
    end: date,
    chunk: Chunk,
    *,
    downstream: bool,
    unfinished: bool = False,
) -> Backfill | None:
    """Select the newest backfill of a flow with exactly these choices; None if there is none.

    The dates are inclusive. ``unfinished`` selects only among backfills that have not ended.
    """
    query = (
        select(Backfill)
        .where(
            Backfill.flow_id == flow_id,
            Backfill.start_date == start,
            Backfill.end_date == end,
            Backfill.chunk == chunk.value,
            Backfill.downstream == downstream,
        )
        .order_by(Backfill.created_at.desc())
        .limit(1)
    )
    if unfinished:
        query = query.where(Backfill.finished_at.is_(None))
    return session.scalars(query).first()
