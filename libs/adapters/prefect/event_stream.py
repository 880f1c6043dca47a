"""Live stream of the events of instances from Prefect's server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.events import Event


async def stream_instance_events(api_url: str) -> AsyncGenerator[Event | None]:
    """Yield None once connected, then every event of the project; reconnect after failures.

    Events during a broken connection are lost. Raises Unavailable if the server is away.
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
