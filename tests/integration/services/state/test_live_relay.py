"""Who relays, and when: every message once and in order, whatever the broker does."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from cent import Client, HistoryRequest

from prefect_instances.cli.doctor_checks import Level, check_live
from prefect_instances.libs.adapters.centrifugo.connection import Connection
from prefect_instances.libs.core.subscriber_messages import RelayState
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.outbox import (
    delete_published,
    mark_published,
    select_unpublished,
)
from prefect_instances.libs.db.repositories.subscribers import (
    count_pending_messages,
    read_relay,
    write_relay,
)
from prefect_instances.libs.services.state.event_relay import KEEP_PUBLISHED
from prefect_instances.libs.services.state.subscriber_relay import RELAY_LEASE
from tests.centrifugo.fixtures import connection_to
from tests.centrifugo.server import ContractServer
from tests.centrifugo.world import World
from tests.databases import on_both_databases

KEYS = [
    "type",
    "seq",
    "instance",
    "flow_kind",
    "old_status",
    "new_status",
    "reason",
    "generation",
    "timestamp",
]


def told(centrifugo: Connection, channel: str) -> list[dict[str, object]]:
    client = Client(centrifugo.url, centrifugo.api_key.get_secret_value())
    history = client.history(HistoryRequest(channel=channel, limit=-1))
    return [publication.data for publication in history.publications]


def seqs(centrifugo: Connection, channel: str) -> list[object]:
    return [message["seq"] for message in told(centrifugo, channel)]


def state(database: Database) -> RelayState:
    with database.read() as session:
        return read_relay(session)


def waits(database: Database) -> int:
    with database.read() as session:
        return count_pending_messages(session)[0]


def put(database: Database, changed: RelayState) -> None:
    database.transact(lambda session: write_relay(session, changed))


def test_a_change_reaches_both_channels_with_every_key(
    database: Database, centrifugo: Connection
) -> None:
    world = World(database, instances=2)
    live = world.live(centrifugo)
    assert live.check_broker()
    world.change(0)
    world.change(1)
    world.change(0)

    assert live.drain(10) == 3

    assert seqs(centrifugo, world.channel(0)) == [1, 2]
    assert seqs(centrifugo, world.channel(1)) == [1]
    project = told(centrifugo, world.project_channel)
    assert [(m["instance"], m["seq"]) for m in project] == [
        (str(world.instance_ids[0]), 1),
        (str(world.instance_ids[1]), 1),
        (str(world.instance_ids[0]), 2),
    ]
    assert set(KEYS) <= set(project[0])
    assert (project[0]["old_status"], project[0]["new_status"]) == ("RUNNING", "READY")
    assert waits(database) == 0
    assert state(database) == RelayState(configured=True)


def test_without_a_broker_nothing_is_published_and_nothing_waits(
    database: Database, centrifugo: Connection
) -> None:
    world = World(database)
    world.change(times=3)
    unconfigured = world.live(None)
    assert unconfigured.drain(10) == 0
    assert not unconfigured.check_broker()
    assert waits(database) == 0

    live = world.live(centrifugo)
    assert live.check_broker()
    world.change()
    assert live.drain(10) == 1
    assert seqs(centrifugo, world.channel()) == [4]


def test_a_kick_publishes_in_the_background_and_the_end_waits_for_it(
    database: Database, centrifugo: Connection
) -> None:
    world = World(database)
    world.live(centrifugo).check_broker()
    live = world.live(centrifugo)
    world.change()
    live.kick()
    live.close()

    if waits(database):  # a machine so slow that the end did not wait: then the sweep has it
        world.live(centrifugo, lambda: datetime.now(UTC) + timedelta(hours=1)).drain(10)
    assert seqs(centrifugo, world.channel()) == [1]


@on_both_databases
def test_many_relays_at_once_neither_double_nor_reorder(
    database: Database, server: ContractServer
) -> None:
    world = World(database, instances=3)
    world.live(connection_to(server)).check_broker()

    def commit_and_tell(at: int) -> None:
        live = world.live(connection_to(server))
        for _ in range(8):
            world.change(at)
            live.drain(30)

    threads = [threading.Thread(target=commit_and_tell, args=(at,)) for at in (0, 1, 2, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for at, count in ((0, 16), (1, 8), (2, 8)):
        published = server.published(world.channel(at))
        assert [m["seq"] for m in published] == list(range(1, count + 1))
    assert len(server.published(world.project_channel)) == 32
    assert waits(database) == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("slow", "no answer from"),
        ("500", "answered HTTP 500"),
        ("401", "refuses the API key"),
        ("garbage", "an invalid response"),
        ("down", "no connection"),
    ],
)
def test_a_fault_opens_the_circuit_and_the_rest_follows_in_order(
    database: Database, server: ContractServer, fault: str, reason: str
) -> None:
    world = World(database)
    now = [datetime.now(UTC)]
    connection = connection_to(server, timeout_seconds=0.3)
    live = world.live(connection, lambda: now[0])
    live.check_broker()
    world.change()
    live.drain(10)
    if fault == "down":
        server.stop()
    else:
        server.fault = fault

    world.change(times=3)
    live.drain(10)
    broken, requests = state(database), server.requests
    assert reason in broken.reason
    assert broken.failing_since == now[0]
    assert world.live(connection, lambda: now[0]).drain(10) == 0  # the circuit is open
    assert server.requests == requests

    if fault == "down":
        server.start()
    server.fault = ""
    now[0] += timedelta(minutes=2)
    assert live.drain(10) == 3
    assert [m["seq"] for m in server.published(world.channel())] == [1, 2, 3, 4]
    assert state(database) == RelayState(configured=True)


def test_pauses_grow_and_are_bounded(database: Database, server: ContractServer) -> None:
    world = World(database)
    now = [datetime.now(UTC)]
    live = world.live(connection_to(server), lambda: now[0])
    live.check_broker()
    server.fault = "500"
    world.change()
    pauses = []
    for _ in range(9):
        live.drain(10)
        retry_at = state(database).retry_at
        assert retry_at is not None
        pauses.append((retry_at - now[0]).total_seconds())
        now[0] = retry_at
    assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses[:6]))
    assert all(30 <= pause <= 60 for pause in pauses[6:])


def test_the_end_of_a_run_does_not_wait_for_a_broker_that_hangs(
    database: Database, server: ContractServer
) -> None:
    world = World(database)
    world.live(connection_to(server)).check_broker()
    server.fault = "slow"
    live = world.live(connection_to(server, timeout_seconds=8))
    world.change()
    live.kick()
    deadline = threading.Event()
    while not server.requests:
        deadline.wait(0.01)
    live.close()
    # The publication hangs for ten seconds, its time-out is eight: close came back before either.
    broken = state(database)
    assert "no answer for" in broken.reason
    assert broken.holder is None
    assert waits(database) == 1


def test_a_relay_that_died_is_followed_by_another(
    database: Database, centrifugo: Connection
) -> None:
    world = World(database)
    now = [datetime.now(UTC)]
    live = world.live(centrifugo, lambda: now[0])
    live.check_broker()
    world.change(times=2)
    put(database, replace(state(database), holder=uuid4(), lease_until=now[0] + RELAY_LEASE))
    assert live.drain(10) == 0

    now[0] += RELAY_LEASE + timedelta(seconds=1)
    live.drain(10)  # finds the dead one's lease
    assert state(database).failures == 1
    now[0] += timedelta(seconds=2)
    live.drain(10)
    assert seqs(centrifugo, world.channel()) == [1, 2]


@on_both_databases
def test_what_was_published_but_not_marked_is_not_doubled(
    database: Database, centrifugo: Connection
) -> None:
    world = World(database)
    live = world.live(centrifugo)
    live.check_broker()
    world.change(times=2)
    with database.read() as session:
        from prefect_instances.libs.adapters.centrifugo.publisher import Publisher
        from prefect_instances.libs.db.repositories.subscribers import select_pending_messages

        first = select_pending_messages(session, 1)[0]
    Publisher(centrifugo).publish(first.channels[0], first.payload, first.key)  # and then it died

    live.drain(10)
    assert seqs(centrifugo, world.channel()) == [1, 2]
    assert seqs(centrifugo, world.project_channel) == [1, 2]


def test_the_doctor_says_why_and_since_when(database: Database, server: ContractServer) -> None:
    world, now = World(database), datetime.now(UTC)
    assert "not configured" in check_live(database, now).detail
    live = world.live(connection_to(server))
    live.check_broker()
    assert check_live(database, now).level is Level.OK
    server.fault = "401"
    world.change()
    live.drain(10)
    finding = check_live(database, datetime.now(UTC))
    assert finding.level is Level.WARN
    assert "refuses the API key" in finding.detail
    assert "1 messages wait" in finding.detail
    assert server.api_key not in f"{finding}"


@on_both_databases
def test_what_waits_is_forgotten_with_the_outbox(database: Database) -> None:
    world = World(database)
    world.change(times=3)
    week = datetime.now(UTC) + timedelta(days=8)
    with database.read() as session:
        ids = [event.id for event in select_unpublished(session, 10)]
    database.transact(lambda session: mark_published(session, ids, datetime.now(UTC)))
    assert waits(database) == 3
    database.transact(lambda session: delete_published(session, week - KEEP_PUBLISHED))
    assert waits(database) == 0
