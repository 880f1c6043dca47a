"""The events of instances as Prefect's server passes them on, while they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.events import Event


async def instance_events(api_url: str) -> AsyncIterator[Event | None]:
    """None once it listens, then every event of the project; what breaks is connected again.

    What happens while it is broken is not seen. Raises Unavailable where the server is away.
    """
    from prefect.events.clients import PrefectEventSubscriber
    from prefect.events.filters import EventFilter, EventNameFilter

    wanted = EventFilter(event=EventNameFilter(prefix=["instance."]))
    try:
        async with PrefectEventSubscriber(api_url=api_url, filter=wanted) as events:
            yield None
            async for event in events:
                yield Event(
                    id=event.id,
                    name=event.event,
                    occurred=event.occurred.astimezone(UTC),
                    resource=dict(event.resource),
                    related=tuple(dict(related) for related in event.related),
                    payload=event.payload,
                )
    except Exception as error:
        detail = f"its event stream broke: {type(error).__name__}"
        raise Unavailable("Prefect API", detail) from error
