"""Subscribing with the official Centrifugo client, as applications do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.core.errors import InstancesError, PermanentError

if TYPE_CHECKING:
    from centrifuge import Client

RELOAD: Mapping[str, object] = {"type": "reload"}
"""The first message, and the one after a gap: the subscriber must read the state again."""


async def subscribe(
    url: str,
    channels: list[str],
    connect_token: Callable[[], str],
    channel_token: Callable[[str], str],
) -> AsyncGenerator[Mapping[str, object]]:
    """Yield the messages of some channels, in order and once each; ``RELOAD`` after gaps.

    The functions return new tokens when the old ones expire. Broken connections are restored, and
    missed messages are recovered. Raises PermanentError if the server refuses.
    """
    from centrifuge import Client

    queue: asyncio.Queue[Mapping[str, object] | InstancesError] = asyncio.Queue()

    async def token() -> str:
        return connect_token()

    client = Client(url, events=_connection_events(queue), get_token=token)
    await client.connect()
    try:
        for channel in channels:
            await _subscribe(client, queue, channel, channel_token)
        async with aclosing(_in_order(queue)) as messages:
            async for message in messages:
                yield message
    finally:
        await client.disconnect()


async def _in_order(queue: asyncio.Queue[Any]) -> AsyncGenerator[Mapping[str, object]]:
    """Yield messages, except those with a number not above the last one of their instance."""
    last: dict[object, int] = {}
    while True:
        item = await queue.get()
        if isinstance(item, InstancesError):
            raise item
        instance, seq = item.get("instance"), item.get("seq")
        if isinstance(seq, int):
            if seq <= last.get(instance, 0):
                continue
            last[instance] = seq
        yield item


async def _subscribe(
    client: Client, queue: asyncio.Queue[Any], channel: str, channel_token: Callable[[str], str]
) -> None:
    async def token(of: Any) -> str:  # noqa: ARG001  # called with the context
        return channel_token(channel)

    get_token: Callable[[Any], Awaitable[str]] = token
    subscription = client.new_subscription(
        channel,
        events=_channel_events(queue, channel),
        get_token=get_token,
        recoverable=True,
        positioned=True,
    )
    await subscription.subscribe()


def _connection_events(queue: asyncio.Queue[Any]) -> Any:
    from centrifuge import ClientEventHandler, DisconnectedContext

    class Events(ClientEventHandler):  # type: ignore[misc]  # it ships no types
        async def on_disconnected(self, ctx: DisconnectedContext) -> None:
            if ctx.code:  # not our own leaving
                queue.put_nowait(PermanentError(f"Centrifugo refuses the connection: {ctx.reason}"))

    return Events()


def _channel_events(queue: asyncio.Queue[Any], channel: str) -> Any:
    from centrifuge import (
        PublicationContext,
        SubscribedContext,
        SubscriptionEventHandler,
        UnsubscribedContext,
    )

    class Events(SubscriptionEventHandler):  # type: ignore[misc]  # it ships no types
        async def on_subscribed(self, ctx: SubscribedContext) -> None:
            if not (ctx.was_recovering and ctx.recovered):
                queue.put_nowait(RELOAD)

        async def on_publication(self, ctx: PublicationContext) -> None:
            queue.put_nowait(ctx.pub.data)

        async def on_unsubscribed(self, ctx: UnsubscribedContext) -> None:
            if ctx.code:
                detail = f"Centrifugo refuses {channel}: {ctx.reason}"
                queue.put_nowait(PermanentError(detail))

    return Events()
