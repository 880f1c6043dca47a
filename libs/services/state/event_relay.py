"""Publishing what the outbox holds, at once by who committed it and later by the sweep.

An event counts as published when the server has accepted it. Two relays at once may publish one
event twice; its id is the same both times, and a gate's claim lets only one run work.
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
from prefect_instances.libs.db.repositories.outbox import (
    forget_published,
    mark_published,
    unpublished,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures

BATCH = 200
KEEP_PUBLISHED = timedelta(days=7)
_log = logging.getLogger("instances.relay")


def relay(services: Services, failures: Failures | None = None) -> int:
    """Publish everything that waits; the number of events. Raises Unavailable when it cannot.

    What others commit meanwhile is theirs to publish. An event that the server will never take is
    noted in ``failures`` and given up, so that those behind it go on: the sweep starts what a gate
    opened for, and the status is in the database.
    """
    failures = failures or Failures()
    count, full = 0, True
    while full:
        with services.database.read() as session:
            batch = unpublished(session, BATCH)
        if batch:
            _publish(services, batch, failures)
            _mark(services, [event.id for event in batch])
        count, full = count + len(batch), len(batch) == BATCH
    return count


def _mark(services: Services, accepted: list[UUID]) -> None:
    services.database.transact(lambda session: mark_published(session, accepted, services.now()))


def relay_or_leave(services: Services) -> None:
    """Publish now if the server answers; otherwise the sweep will.

    A state change that is committed must not fail because its announcement does. Subscribers are
    told in the background meanwhile.
    """
    services.live.kick()
    try:
        relay(services)
    except Unavailable as error:
        _log.warning("events wait in the outbox for the next sweep: %s", error)


def forget(services: Services) -> int:
    """Delete what was published long ago, so that the outbox stays bounded."""
    before = services.now() - KEEP_PUBLISHED
    return services.database.transact(lambda session: forget_published(session, before))


def _publish(services: Services, events: Sequence[Event], failures: Failures) -> None:
    """Announce events; an opening that is to wait is scheduled in Prefect instead.

    A retry after a crash starts after a pause. Its event would start it at once, so the run is
    created for that instant with the key that also the sweep would use.
    """
    delayed = [event for event in events if _not_before(event) > services.now()]
    _post(services, [event for event in events if event not in delayed], failures)
    for event in delayed:
        with failures.item(f"schedule of {event.name} {event.id}"):
            _schedule(services, event)


def _post(services: Services, events: Sequence[Event], failures: Failures) -> None:
    """Post the events together; singly where one of them is refused."""
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
