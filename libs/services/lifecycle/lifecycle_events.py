"""The events about an instance's lifecycle: provisioned, updated, deprovisioned."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.events import build_instance_event
from prefect_instances.libs.db.repositories.outbox import record_events
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.services.state.event_subjects import related_resources


def record_lifecycle_event(
    session: Session, name: str, instance_id: UUID, now: datetime, key: str = "", **payload: object
) -> None:
    """Record an event about an instance; ``key``, by default the time, tells it from others."""
    instance = get_instance(session, str(instance_id))
    related = related_resources(session, instance_id)
    event = build_instance_event(name, now, instance, key or now.isoformat(), related, **payload)
    record_events(session, [event])
