"""Write events together with the state change they describe, and hand them to a publisher."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.orm import Session

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.subscriber_messages import subject
from prefect_instances.libs.db.engine import translate_driver_errors
from prefect_instances.libs.db.models import OutboxEvent, Resource
from prefect_instances.libs.db.repositories.region import among
from prefect_instances.libs.db.types import json_text

_OUTBOX = cast("Table", OutboxEvent.__table__)


def record_events(session: Session, events: Iterable[Event]) -> None:
    """Add events to the outbox, in order; number those that subscribers get."""
    events = list(events)
    numbers = _numbered(session, events)
    rows = [
        {
            "id": event.id,
            "name": event.name,
            "occurred": event.occurred,
            "resource": dict(event.resource),
            "related": [dict(labels) for labels in event.related],
            "payload": dict(event.payload),
            "published_at": event.occurred if event.name in UNANNOUNCED else None,
            "live_seq": numbers.get(event.id),
            "told_at": None,
        }
        for event in events
    ]
    if rows:
        _insert(session.connection(), rows)


def record_new_events(session: Session, events: Iterable[Event]) -> None:
    """Add the events that the outbox does not hold yet, published or not; each id once."""
    by_id = {event.id: event for event in events}
    known = set(
        session.scalars(select(OutboxEvent.id).where(among(session, OutboxEvent.id, list(by_id))))
    )
    record_events(session, [event for id_, event in by_id.items() if id_ not in known])


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Insert rows in the fastest way of each dialect: one commit may write thousands of events."""
    if connection.dialect.name == "sqlite":
        # The table, not the class: its unit of work would take most of the time.
        connection.execute(insert(_OUTBOX), rows)
        return
    columns = list(rows[0])
    statement = f"COPY outbox ({', '.join(columns)}) FROM STDIN"
    driver: Any = connection.connection.driver_connection
    with (
        translate_driver_errors(connection, statement),
        driver.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for row in rows:
            copy.write_row([_copied(value) for value in row.values()])


def _copied(value: object) -> object:
    return json_text(value) if isinstance(value, dict | list) else value


UNANNOUNCED = frozenset({ids.RUN_PROGRESS})
"""Events for subscribers only: Prefect knows by itself that a run is in progress."""


def _numbered(session: Session, events: Iterable[Event]) -> dict[UUID, int]:
    """Reserve the next message numbers of the instances, by event id; set-based."""
    told = [(event.id, of) for event in events if (of := subject(event)) is not None]
    counts = Counter(of for _, of in told)
    last: dict[UUID, int] = {}
    if counts:
        query = select(Resource.id, Resource.live_seq)
        found = session.execute(query.where(among(session, Resource.id, list(counts))))
        last = {row.id: row.live_seq for row in found}
    alike: dict[int, list[UUID]] = defaultdict(list)
    for instance_id in last:
        alike[counts[instance_id]].append(instance_id)
    table: Any = Resource.__table__
    for count, instance_ids in alike.items():
        moved = update(table).where(among(session, table.c.id, instance_ids))
        session.execute(moved.values(live_seq=table.c.live_seq + count))
    numbers = {}
    for event_id, instance_id in told:
        if instance_id in last:
            last[instance_id] += 1
            numbers[event_id] = last[instance_id]
    return numbers


def select_unpublished(session: Session, limit: int) -> list[Event]:
    """Select the oldest events that Prefect has not accepted yet, in the order of commits."""
    rows = session.scalars(
        select(OutboxEvent)
        .where(OutboxEvent.published_at.is_(None))
        .order_by(OutboxEvent.seq)
        .limit(limit)
    )
    return [read_event(row) for row in rows]


def read_event(row: OutboxEvent) -> Event:
    """Build the event that a row holds."""
    return Event(
        id=row.id,
        name=row.name,
        occurred=row.occurred,
        resource=row.resource,
        related=tuple(row.related),
        payload=row.payload,
    )


def mark_published(session: Session, event_ids: Collection[UUID], now: datetime) -> None:
    """Record that Prefect has accepted these events."""
    session.execute(
        update(OutboxEvent).where(OutboxEvent.id.in_(event_ids)).values(published_at=now)
    )


def count_unpublished(session: Session) -> int:
    """Count the events that wait to be published."""
    query = select(func.count()).select_from(OutboxEvent)
    return session.scalar(query.where(OutboxEvent.published_at.is_(None))) or 0


def delete_published(session: Session, before: datetime) -> int:
    """Delete events that were published before an instant; return their number."""
    gone = session.execute(delete(OutboxEvent).where(OutboxEvent.published_at < before))
    return int(gone.rowcount)  # type: ignore[attr-defined]  # a delete returns a CursorResult
