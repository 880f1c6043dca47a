"""What subscribers and runs notice of Centrifugo: the way of one change, and a cascade without it.

A change is committed and relayed as a run does it, beside a bare ``cent`` publication to the same
server. The server is the contract server of the tests, because no package brings the real one. The
cascades come in pairs: no Centrifugo configured, and one that is down, slow, or answers nonsense.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from statistics import median
from time import perf_counter
from typing import Any

from cent import Client, PublishRequest

from benchmarks.cascades import Home
from benchmarks.live import derived, new_day, source
from benchmarks.record import Figure, Run, Target
from prefect_instances.libs.adapters.centrifugo.connection import Connection
from prefect_instances.libs.adapters.centrifugo.subscriber import subscribe
from prefect_instances.libs.adapters.centrifugo.tokens import (
    sign_connection_token,
    sign_subscription_token,
)
from prefect_instances.libs.core.subscriber_messages import RelayState
from prefect_instances.libs.db import Database, migrate, sqlite_url
from prefect_instances.libs.db.repositories.subscribers import (
    count_pending_messages,
    read_relay,
    write_relay,
)
from tests.centrifugo.fixtures import connection_to
from tests.centrifugo.server import ContractServer
from tests.centrifugo.world import World

FAULTS = ("slow", "500", "401", "garbage", "down")
NAMES = ("live_a", "live_b", "live_c")
SECONDS = 30.0


def measure(run: Run) -> Iterator[Figure]:
    """The way of one change; unless ``--quick``, pairs of cascades with a broken Centrifugo."""
    yield from latency(run)
    if not run.quick:
        yield paired_cascades(run, 30)


def latency(run: Run) -> Iterator[Figure]:
    """Commit to subscriber, beside a bare publication."""
    database = Database(sqlite_url(run.scratch / "realtime.db"))
    migrate(database)
    world = World(database)
    with ContractServer() as server, _listening(server, world.channel()) as arrived:
        connection = connection_to(server)
        live, bare = world.live(connection), Client(server.url, server.api_key)
        live.check_broker()

        def publish() -> None:
            bare.publish(PublishRequest(channel=world.channel(), data={"type": "bare"}))

        ours, theirs = [], []
        for _ in range(run.pick(20, 200)):
            _rest(database)
            ours.append(_timed(arrived, world.change, live.kick))
            theirs.append(_timed(arrived, lambda: None, publish))
        live.close()
    database.close()
    milliseconds, other = 1000 * median(ours[1:]), 1000 * median(theirs[1:])
    yield Figure(
        "realtime",
        "commit to subscriber, median",
        milliseconds,
        "ms",
        "bare cent publication to subscriber",
        other,
        Target(100),
    )


def _rest(database: Database) -> None:
    """Wait until the previous relay has ended; else it would send the next message too."""
    while True:
        with database.read() as session:
            if read_relay(session).holder is None and not count_pending_messages(session)[0]:
                return
        time.sleep(0.001)


def _timed(arrived: threading.Event, before: Callable[[], None], act: Callable[[], None]) -> float:
    arrived.clear()
    before()
    begin = perf_counter()
    act()
    if not arrived.wait(SECONDS):
        raise RuntimeError("a message did not reach its subscriber")
    return perf_counter() - begin


@contextmanager
def _listening(server: ContractServer, channel: str) -> Iterator[threading.Event]:
    """Set whenever a message arrives; a subscriber with an event loop and thread of its own."""
    arrived, ready = threading.Event(), threading.Event()
    runner, connection = asyncio.Runner(), connection_to(server)
    loop = runner.get_loop()

    async def listen() -> None:
        async with aclosing(_messages(connection, channel)) as items:
            async for item in items:
                (ready if item["type"] == "reload" else arrived).set()

    task = loop.create_task(listen())

    def serve() -> None:
        with runner:
            runner.run(asyncio.wait([task]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        if not ready.wait(SECONDS):
            raise RuntimeError("the subscriber is not connected")
        yield arrived
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)


def _messages(connection: Connection, channel: str) -> Any:
    now, secret, life = datetime.now(UTC), connection.hmac_secret, timedelta(hours=1)
    return subscribe(
        connection.subscribe_at,
        [channel],
        lambda: sign_connection_token(secret, "bench", now, life),
        lambda name: sign_subscription_token(secret, "bench", name, now, life),
    )


def paired_cascades(run: Run, pairs: int) -> Figure:
    """The duration of a chain of three with a broken Centrifugo, over that without any."""
    path = run.scratch / "realtime.csv"
    new_day(path)
    below = [derived(name, up) for up, name in pairwise(NAMES)]
    run.live.apply("realtime", [source(NAMES[0], path), *below])
    home = Home(run.live, "realtime")
    home.rest()

    def cascade() -> float:
        before = [len(home.completed(name)) for name in (NAMES[0], NAMES[-1])]
        new_day(path)
        home.refresh(NAMES[0])
        first, last = home.after(NAMES[0], before[0]), home.after(NAMES[-1], before[1])
        home.rest()
        begin, end = (datetime.fromisoformat(at) for at in (first["started_at"], last["ended_at"]))
        return (end - begin).total_seconds()

    cascade()
    ratios = []
    for number, fault in zip(range(pairs), cycle(FAULTS), strict=False):
        with ContractServer() as server:
            if number % 2:
                without, broken = _without(run, cascade), _broken(run, server, fault, cascade)
            else:
                broken, without = _broken(run, server, fault, cascade), _without(run, cascade)
        print(f"  {fault}: {broken:.2f} s, without {without:.2f} s", file=sys.stderr, flush=True)
        ratios.append(broken / without)
    return Figure(
        "realtime",
        f"chain of 3 with a broken Centrifugo, median ratio of {pairs} pairs",
        median(ratios),
        "×",
        "the same without Centrifugo",
        None,
        Target(1.05),
    )


def _without(run: Run, cascade: Callable[[], float]) -> float:
    prefect, live = run.live.services.prefect, run.live.services.live
    document = prefect.find_block_document("centrifugo", "instances")
    if document is not None:
        prefect.delete_block_document(document)
    live.check_broker()
    return cascade()


def _broken(run: Run, server: ContractServer, fault: str, cascade: Callable[[], float]) -> float:
    from prefect_instances.blocks import Centrifugo

    services = run.live.services
    block = Centrifugo(url=server.url, api_key=server.api_key, hmac_secret=server.secret)
    services.prefect.save_block(block, "instances")
    services.live.check_broker()
    # A closed circuit: the failures of the pair before must not make this one easy.
    services.database.transact(lambda session: write_relay(session, RelayState(configured=True)))
    if fault == "down":
        server.stop()
    else:
        server.fault = fault
    return cascade()
