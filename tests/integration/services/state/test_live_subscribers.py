"""Real subscribers: complete, in order, once; and only with a token for that very channel."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cent import Client as Api
from cent import Disconnect, DisconnectRequest
from centrifuge import (
    CentrifugeError,
    Client,
    ClientEventHandler,
    SubscriptionEventHandler,
)
from pydantic import SecretStr

from prefect_instances.libs.adapters.centrifugo.connection import Connection
from prefect_instances.libs.adapters.centrifugo.subscriber import subscribe
from prefect_instances.libs.adapters.centrifugo.tokens import (
    sign_connection_token,
    sign_subscription_token,
)
from prefect_instances.libs.db import Database, migrate, sqlite_url
from tests.centrifugo.fixtures import connection_to
from tests.centrifugo.server import ContractServer
from tests.centrifugo.world import World

LIFE = timedelta(minutes=10)
PATIENCE = 60.0
CHANGES, DISCONNECTS, SEED = 1000, 50, 20261125
COME_AGAIN = Disconnect(code=3001, reason="cut by a test")


@pytest.fixture
def quick(migrated_sqlite: Path, tmp_path: Path) -> Database:
    """A database for what does not depend on its dialect."""
    database = Database(sqlite_url(tmp_path / "instances.db"))
    migrate(database)
    return database


class Subscriber(SubscriptionEventHandler):
    """Remembers what it was told, and how its subscription fared."""

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.recovered: list[bool] = []
        self.errors: list[int] = []
        self.ends: list[int] = []

    async def on_publication(self, ctx: Any) -> None:
        self.data.append(ctx.pub.data)

    async def on_subscribed(self, ctx: Any) -> None:
        if ctx.was_recovering:
            self.recovered.append(ctx.recovered)

    async def on_error(self, ctx: Any) -> None:
        self.errors.append(ctx.code)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self.ends.append(ctx.code)


class Connected(ClientEventHandler):
    """Remembers how its connection fared."""

    def __init__(self) -> None:
        self.ends: list[int] = []

    async def on_disconnected(self, ctx: Any) -> None:
        self.ends.append(ctx.code)


def client_of(centrifugo: Connection, user: str, events: Any = None, life: timedelta = LIFE) -> Any:
    async def token() -> str:
        return sign_connection_token(centrifugo.hmac_secret, user, datetime.now(UTC), life)

    return Client(
        centrifugo.subscribe_at,
        events=events or ClientEventHandler(),
        get_token=token,
        min_reconnect_delay=0.01,
        max_reconnect_delay=0.05,
    )


async def joined(client: Any, centrifugo: Connection, channel: str, user: str) -> Subscriber:
    async def token(_: Any) -> str:
        now = datetime.now(UTC)
        return sign_subscription_token(centrifugo.hmac_secret, user, channel, now, LIFE)

    told = Subscriber()
    subscription = client.new_subscription(channel, events=told, get_token=token, recoverable=True)
    await subscription.subscribe()
    await asyncio.wait_for(subscription.ready(), PATIENCE)
    return told


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():
            await asyncio.sleep(0.01)


def run(work: Awaitable[None]) -> None:
    asyncio.run(work)  # type: ignore[arg-type]


def test_a_thousand_changes_and_fifty_disconnects_lose_double_and_reorder_nothing(
    quick: Database, centrifugo: Connection
) -> None:
    chance = random.Random(SEED)  # repeatable
    world = World(quick, instances=5)
    live = world.live(centrifugo)
    live.check_broker()
    breaks = set(chance.sample(range(100), DISCONNECTS))
    api = Api(centrifugo.url, centrifugo.api_key.get_secret_value())

    async def follow() -> None:
        client = client_of(centrifugo, "soak")
        await client.connect()
        by_project = await joined(client, centrifugo, world.project_channel, "soak")
        by_instance = await joined(client, centrifugo, world.channel(0), "soak")
        expected, cut = [0] * 5, 0
        for step in range(100):
            for _ in range(10):
                at = chance.randrange(5)
                expected[at] += 1
                world.change(at)
            if step in breaks:
                cut += 1
                await until(lambda before=cut - 1: len(by_project.recovered) >= before)
                await client.ready()
                request = DisconnectRequest(user="soak", disconnect=COME_AGAIN)
                await asyncio.to_thread(api.disconnect, request)
            await asyncio.to_thread(live.drain, 30)
        await until(lambda: len(by_project.data) >= CHANGES)
        await until(lambda: len(by_instance.data) >= expected[0])
        assert [m["seq"] for m in by_instance.data] == list(range(1, expected[0] + 1))
        for at, instance_id in enumerate(world.instance_ids):
            seen = [m["seq"] for m in by_project.data if m["instance"] == str(instance_id)]
            assert seen == list(range(1, expected[at] + 1))
        await until(lambda: len(by_project.recovered) == DISCONNECTS)
        assert all(by_project.recovered)
        await client.disconnect()

    run(follow())


def test_a_token_opens_its_own_channel_only(centrifugo: Connection) -> None:
    mine, other = f"instance:{uuid4()}:status", f"instance:{uuid4()}:status"
    now = datetime.now(UTC)
    secret, foreign = centrifugo.hmac_secret, SecretStr("another-secret-of-sufficient-length")
    wrong = {
        "for another channel": sign_subscription_token(secret, "u", mine, now, LIFE),
        "for another user": sign_subscription_token(secret, "v", other, now, LIFE),
        "signed by somebody else": sign_subscription_token(foreign, "u", other, now, LIFE),
        "expired": sign_subscription_token(secret, "u", other, now - 2 * LIFE, LIFE),
        "of a connection": sign_connection_token(secret, "u", now, LIFE),
    }

    async def try_all() -> None:
        client = client_of(centrifugo, "u")
        await client.connect()
        await joined(client, centrifugo, mine, "u")
        for what, token in wrong.items():
            told = Subscriber()
            subscription = client.new_subscription(other, events=told, token=token)
            await subscription.subscribe()
            with pytest.raises((CentrifugeError, TimeoutError)):
                await asyncio.wait_for(subscription.ready(), 5)
            assert told.ends or told.errors, what
            await subscription.unsubscribe()
            client.remove_subscription(subscription)
        await client.disconnect()

    run(try_all())


@pytest.mark.parametrize("fault", ["foreign", "expired", "of a channel"])
def test_a_connection_needs_a_good_token(centrifugo: Connection, fault: str) -> None:
    now, secret = datetime.now(UTC), centrifugo.hmac_secret
    foreign = SecretStr("another-secret-of-sufficient-length")
    tokens = {
        "foreign": sign_connection_token(foreign, "u", now, LIFE),
        "expired": sign_connection_token(secret, "u", now - 2 * LIFE, LIFE),
        "of a channel": sign_subscription_token(secret, "u", "instance:x:status", now, LIFE),
    }

    async def connect() -> None:
        events = Connected()
        client = Client(centrifugo.subscribe_at, events=events, token=tokens[fault])
        await client.connect()
        await until(lambda: bool(events.ends))

    run(connect())


def test_a_token_that_runs_out_is_refreshed(server: ContractServer) -> None:
    """Only against the contract server: with the grace of a real one this would take minutes."""
    centrifugo = connection_to(server)

    async def stay() -> None:
        events, asked = Connected(), [0]
        life = timedelta(seconds=2)

        async def token() -> str:
            asked[0] += 1
            return sign_connection_token(centrifugo.hmac_secret, "u", datetime.now(UTC), life)

        async def channel_token(_: Any) -> str:
            asked[0] += 100
            now = datetime.now(UTC)
            return sign_subscription_token(
                centrifugo.hmac_secret, "u", "instance:x:status", now, life
            )

        client = Client(centrifugo.subscribe_at, events=events, get_token=token)
        await client.connect()
        told = Subscriber()
        subscription = client.new_subscription(
            "instance:x:status", events=told, get_token=channel_token
        )
        await subscription.subscribe()
        await until(lambda: asked[0] % 100 >= 2 and asked[0] >= 200)
        assert events.ends == []
        assert told.ends == []
        await client.disconnect()

    run(stay())


def test_pings_are_answered(server: ContractServer) -> None:
    server.ping = 0.2

    async def stay() -> None:
        client = client_of(connection_to(server), "u")
        await client.connect()
        await client.ready()
        await until(lambda: any(session.pongs >= 3 for session in server.sessions))
        await client.disconnect()

    run(stay())


def test_after_a_history_is_lost_a_subscriber_is_told_to_read_the_state(
    quick: Database, server: ContractServer
) -> None:
    world = World(quick)
    live = world.live(connection_to(server))
    live.check_broker()
    centrifugo = connection_to(server)

    async def follow() -> None:
        seen: list[Any] = []

        async def listen() -> None:
            now = datetime.now(UTC)
            secret = centrifugo.hmac_secret
            async for item in subscribe(
                centrifugo.subscribe_at,
                [world.channel()],
                lambda: sign_connection_token(secret, "u", now, LIFE),
                lambda channel: sign_subscription_token(secret, "u", channel, now, LIFE),
            ):
                seen.append("reload" if item["type"] == "reload" else item["seq"])

        task = asyncio.create_task(listen())
        await until(lambda: seen == ["reload"])
        world.change(times=2)
        await asyncio.to_thread(live.drain, 10)
        await until(lambda: seen == ["reload", 1, 2])
        server.stop()
        server.hub.streams.clear()  # what a restart without a persistent history does
        server.start()
        await until(lambda: seen == ["reload", 1, 2, "reload"])
        world.change()
        await asyncio.to_thread(live.drain, 10)
        await until(lambda: seen == ["reload", 1, 2, "reload", 3])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(follow())
