"""Statements on the relay's row and on messages that the broker has not accepted yet."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from prefect_instances.libs.core.subscriber_messages import Message, RelayState, build_message
from prefect_instances.libs.db.models import LiveRelay, OutboxEvent
from prefect_instances.libs.db.repositories.outbox import read_event

_ONLY = 1
_PENDING = OutboxEvent.live_seq.is_not(None) & OutboxEvent.told_at.is_(None)


def read_relay(session: Session) -> RelayState:
    """Read which process publishes to subscribers, and whether it succeeds."""
    row = session.get(LiveRelay, _ONLY)
    if row is None:
        return RelayState()
    return RelayState(
        configured=row.configured,
        holder=row.holder,
        lease_until=row.lease_until,
        failures=row.failures,
        retry_at=row.retry_at,
        failing_since=row.failing_since,
        reason=row.reason,
    )


def write_relay(session: Session, state: RelayState) -> None:
    """Write the state of the relay, in the transaction that read it."""
    session.merge(LiveRelay(id=_ONLY, **asdict(state)))


def select_pending_messages(session: Session, limit: int) -> list[Message]:
    """Select the oldest messages that the broker has not accepted, in the order of commits."""
    rows = session.scalars(
        select(OutboxEvent).where(_PENDING).order_by(OutboxEvent.seq).limit(limit)
    )
    return [build_message(read_event(row), row.live_seq or 0) for row in rows]


def mark_messages_published(session: Session, event_ids: Collection[UUID], now: datetime) -> None:
    """Record that the broker has accepted these messages."""
    session.execute(update(OutboxEvent).where(OutboxEvent.id.in_(event_ids)).values(told_at=now))


def drop_pending_messages(session: Session, now: datetime) -> None:
    """Mark all waiting messages as sent, because no broker is configured."""
    session.execute(update(OutboxEvent).where(_PENDING).values(told_at=now))


def count_pending_messages(session: Session) -> tuple[int, datetime | None]:
    """Count the waiting messages; return the number and when the oldest occurred (None: none)."""
    query = select(func.count(), func.min(OutboxEvent.occurred)).where(_PENDING)
    row = session.execute(query).one()
    return row[0], row[1]
