"""Writing events beside the state they tell of, and handing them to a publisher."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from libs.core.events import Event
from libs.db.models import OutboxEvent


def record_events(session: Session, events: Iterable[Event]) -> None:
    """Add events to the outbox, in order."""
    rows = [
        {
            "id": event.id,
            "name": event.name,
            "occurred": event.occurred,
            "resource": dict(event.resource),
            "related": [dict(labels) for labels in event.related],
            "payload": dict(event.payload),
            "published_at": None,
        }
        for event in events
    ]
    if rows:
        session.execute(insert(OutboxEvent), rows)


def unpublished(session: Session, limit: int) -> list[Event]:
    """The oldest events that no server has accepted yet."""
    rows = session.scalars(
        select(OutboxEvent)
        .where(OutboxEvent.published_at.is_(None))
        .order_by(OutboxEvent.seq)
        .limit(limit)
    )
    return [
        Event(
            id=row.id,
            name=row.name,
            occurred=row.occurred,
            resource=row.resource,
            related=tuple(row.related),
            payload=row.payload,
        )
        for row in rows
    ]


def mark_published(session: Session, ids: Collection[UUID], now: datetime) -> None:
    """Say that the server accepted these events."""
    session.execute(update(OutboxEvent).where(OutboxEvent.id.in_(ids)).values(published_at=now))


def backlog(session: Session) -> int:
    """How many events wait to be published."""
    query = select(func.count()).select_from(OutboxEvent)
    return session.scalar(query.where(OutboxEvent.published_at.is_(None))) or 0


def forget_published(session: Session, before: datetime) -> int:
    """Delete events published before an instant; how many there were."""
    gone = session.execute(delete(OutboxEvent).where(OutboxEvent.published_at < before))
    return int(gone.rowcount)  # type: ignore[attr-defined]  # a delete returns a CursorResult
