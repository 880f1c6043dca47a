"""Publish the events of the outbox: right after a commit, or later by the sweep.

An event counts as published once the server has accepted it. Two relays that run at the same time
may publish one event twice: its id is the same both times, and only one run can claim an opening.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from prefect_instances.libs.adapters.prefect import KeyTaken
from prefect_instances.libs.core import ids
from prefect_instances.libs.core.errors import NotFound, PermanentError, Unavailable
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.outbox import (
    count_unpublished,
    delete_published,
    mark_published,
    select_unpublished,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures
from prefect_instances.libs.settings import Settings

BATCH = 200
KEEP_PUBLISHED = timedelta(days=7)
_log = logging.getLogger("instances.relay")


def relay(services: Services, failures: Failures | None = None) -> int:
    """Publish all waiting events and return their number.

    It reads batches until one is not full; events that another process commits later are published
    by that process. An event that the server refuses is recorded in ``failures`` and counts as
    published, so that it does not block later ones: the sweep starts the run of its opening, and
    the status is in the database. Raises Unavailable if Prefect does not answer.
    """
    failures = failures or Failures()
    count, full = 0, True
    while full:
        with services.database.read() as session:
            batch = select_unpublished(session, BATCH)
        if batch:
            _publish(services, batch, failures)
            _mark(services, [event.id for event in batch])
        count, full = count + len(batch), len(batch) == BATCH
    return count


def _mark(services: Services, accepted: list[UUID]) -> None:
    services.database.transact(lambda session: mark_published(session, accepted, services.now()))


def relay_or_leave(services: Services) -> None:
    """Publish events now if the server answers; otherwise leave them to the sweep.

    A committed state change must not fail because its events cannot be sent. Messages to
    subscribers are published in the background.
    """
    services.live.kick()
    try:
        relay(services)
    except Unavailable as error:
        _log.warning("events wait in the outbox for the next sweep: %s", error)


def find_late_events(
    database: Database, settings: Settings, now: datetime
) -> tuple[int, datetime] | None:
    """Return the number of unpublished events and since when; None if two sweeps can explain it."""
    with database.read() as session:
        count, oldest = count_unpublished(session), select_unpublished(session, 1)
    if not oldest or now - oldest[0].occurred <= timedelta(seconds=2 * settings.sweep_seconds):
        return None
    return count, oldest[0].occurred


def delete_old_events(services: Services) -> int:
    """Delete events published more than ``KEEP_PUBLISHED`` ago and return their number."""
    before = services.now() - KEEP_PUBLISHED
    return services.database.transact(lambda session: delete_published(session, before))


def _publish(services: Services, events: Sequence[Event], failures: Failures) -> None:
    """Send events; if an opening must wait, schedule its run in Prefect instead.

    A retry after a crash starts after a delay, but its event would start it at once. So the run is
    created for that time, with the idempotency key that the sweep would use.
    """
    delayed = [event for event in events if _not_before(event) > services.now()]
    _post(services, [event for event in events if event not in delayed], failures)
    for event in delayed:
        with failures.item(f"schedule of {event.name} {event.id}"):
            _schedule(services, event)


def _post(services: Services, events: Sequence[Event], failures: Failures) -> None:
    """Send the events in one request, or one by one if one of them is refused."""
    try:
        services.prefect.publish(events)
    except PermanentError:
        for event in events:
            with failures.item(f"event {event.name} {event.id}"):
                services.prefect.publish([event])


def _not_before(event: Event) -> datetime:
    text = event.payload.get("not_before") if event.name == ids.GATE_OPENED else None
    return datetime.fromisoformat(str(text)) if text else event.occurred


def _schedule(services: Services, event: Event) -> None:
    deployment = UUID(event.related[0]["prefect.resource.id"].removeprefix("prefect.deployment."))
    opening, attempt = str(event.payload["opening"]), event.payload["attempt"]
    try:
        services.prefect.start_run(
            deployment,
            {"opening": opening},
            idempotency_key=f"gate:{opening}:{attempt}",
            scheduled_time=_not_before(event),
        )
    except NotFound:
        _log.warning("the deployment of %s does not exist; the sweep restores it", event.resource)
    except KeyTaken as taken:
        _log.warning("%s: %s; the sweep retries with the next key", event.resource, taken)
