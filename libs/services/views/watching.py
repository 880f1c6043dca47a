"""Watch instances live: over Centrifugo if it is configured, otherwise over Prefect's events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.core.subscriber_messages import build_message, subject
from prefect_instances.libs.db.repositories.resources import (
    get_instance,
    select_projects_of_instances,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views.subscribing import connection

USER = "instances-watch"


@dataclass(frozen=True, slots=True)
class Scope:
    """What to watch: the channels, and the instance (None: all instances)."""

    channels: tuple[str, ...]
    instance_id: UUID | None = None


def scope_of(services: Services, name: str) -> Scope:
    """Build the scope of one instance, or of all present projects for ""; raise NotFound."""
    with services.database.read() as session:
        if name:
            found = get_instance(session, name)
            return Scope((ids.instance_channel(found.id),), found.id)
        projects = select_projects_of_instances(session)
        return Scope(tuple(ids.project_channel(id_) for id_ in projects))


async def watch(services: Services, scope: Scope) -> AsyncGenerator[Mapping[str, object]]:
    """Yield the messages about the instances of ``scope`` as they arrive, without an end.

    They have the form of ``libs.core.subscriber_messages``. A message ``reload`` says that earlier
    ones may be missing. Over Prefect's event stream ``seq`` is None, and there are no progress
    messages of runs.
    """
    found = connection(services.settings, services.prefect)
    if found is None:
        async with aclosing(_over_prefect(services, scope)) as items:
            async for item in items:
                yield item
        return
    if not scope.channels:
        raise PermanentError("there is no instance to watch yet; create one with `instances apply`")
    from prefect_instances.libs.adapters.centrifugo.subscriber import subscribe
    from prefect_instances.libs.adapters.centrifugo.tokens import (
        sign_connection_token,
        sign_subscription_token,
    )

    life = timedelta(seconds=found.token_seconds)
    subscribed = subscribe(
        found.subscribe_at,
        list(scope.channels),
        lambda: sign_connection_token(found.hmac_secret, USER, services.now(), life),
        lambda channel: sign_subscription_token(
            found.hmac_secret, USER, channel, services.now(), life
        ),
    )
    async with aclosing(subscribed) as items:
        async for item in items:
            yield item


async def _over_prefect(services: Services, scope: Scope) -> AsyncGenerator[Mapping[str, object]]:
    from prefect_instances.libs.adapters.centrifugo.subscriber import RELOAD
    from prefect_instances.libs.adapters.prefect.event_stream import stream_instance_events

    async with aclosing(stream_instance_events(services.prefect.api_url)) as events:
        async for event in events:
            if event is None:
                yield RELOAD
                continue
            of = subject(event)
            if of is not None and scope.instance_id in (None, of):
                yield {**build_message(event, 0).payload, "seq": None}
