"""From a run's commit to a subscriber, with the block in a real Prefect server."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
from collections.abc import Mapping
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from sqlalchemy import select

from prefect_instances.blocks import Centrifugo
from prefect_instances.cli.commands.live import _watch_lines, line_of
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import InvalidSpec, NotFound
from prefect_instances.libs.core.ids import WORK_POOL, instance_channel, project_channel
from prefect_instances.libs.core.subscriber_messages import RelayState
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Base, FlowExecutionResource, Resource
from prefect_instances.libs.db.repositories.subscribers import (
    count_pending_messages,
    read_relay,
    write_relay,
)
from prefect_instances.libs.services.runs.heartbeat import heartbeat
from prefect_instances.libs.services.state.ledger import RunWish
from prefect_instances.libs.services.state.subscriber_relay import SubscriberRelay
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.services.views.subscribing import grant_subscription
from prefect_instances.libs.services.views.watching import scope_of, watch
from prefect_instances.libs.wiring import open_broker
from tests.centrifugo.server import ContractServer
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, make_bench, prices
from tests.patience import eventually

API_KEY, HMAC_SECRET = "planted-api-key-5e1c0a", "planted-hmac-secret-77b3f2-long-enough"


@pytest.fixture
def server() -> Any:
    with ContractServer(api_key=API_KEY, secret=HMAC_SECRET) as started:
        yield started


@pytest.fixture
def bench(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Bench:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    made = make_bench(database, gateway, tmp_path)
    settings = made.services.settings.model_copy(
        update={"centrifugo_block": f"live-{uuid4().hex[:8]}"}
    )
    live = SubscriberRelay(
        database, made.services.ledger.clock, lambda: open_broker(settings, gateway)
    )
    object.__setattr__(made.services, "settings", settings)
    object.__setattr__(made.services, "live", live)
    return made


def configure(bench: Bench, server: ContractServer, **more: Any) -> None:
    block = Centrifugo(url=server.url, api_key=API_KEY, hmac_secret=HMAC_SECRET, **more)
    bench.services.prefect.save_block(block, bench.services.settings.centrifugo_block)
    bench.services.live.check_broker()


def settled(bench: Bench) -> None:
    """Everything is with the broker; the background may still be at it."""
    pause = threading.Event()
    for _ in range(3000):
        bench.services.live.drain(5)
        with bench.services.database.read() as session:
            if not count_pending_messages(session)[0] and read_relay(session).holder is None:
                return
        pause.wait(0.02)
    raise AssertionError("messages still wait")


def project_id(bench: Bench, project: str) -> Any:
    with bench.services.database.read() as session:
        return session.scalars(
            select(Resource.id).where(Resource.type == "Project", Resource.name == project)
        ).one()


@on_both_databases
def test_runs_tell_every_change_and_opening_numbered_without_gaps(
    bench: Bench, server: ContractServer, project: str
) -> None:
    configure(bench, server)
    bench.provision(prices(project, end_date="2020-03-30"))
    bench.provision(derived(project, "returns", "close / REF(close, 1) - 1", "prices"))
    bench.drain()
    settled(bench)

    for name in ("prices", "returns"):
        told = server.published(instance_channel(bench.instance_id(name)))
        assert [m["seq"] for m in told] == list(range(1, len(told) + 1))
        of_flow = [m for m in told if m["type"].startswith("instance.flow.")]
        assert [(m["old_status"], m["new_status"]) for m in of_flow][-2:] == [
            ("NOT_INITIALIZED", "RUNNING"),
            ("RUNNING", "READY"),
        ]
        assert of_flow[-1]["generation"] == 1
        assert of_flow[-1]["flow_kind"] == "refresh"
        assert "instance.gate.opened" in [m["type"] for m in told]
        whole = [m for m in told if m["type"] == "instance.status.changed"]
        assert whole[-1]["new_status"] == "READY"
        assert whole[-1]["flow_kind"] is None
        assert all(line_of(m) for m in told)
    both = server.published(project_channel(project_id(bench, project)))
    assert {m["name"] for m in both} == {f"{project}/prices", f"{project}/returns"}


def test_a_long_run_says_that_it_goes_on(
    bench: Bench, server: ContractServer, project: str
) -> None:
    configure(bench, server)
    bench.provision(prices(project, end_date="2020-03-30"))
    services = bench.services
    with services.database.read() as session:
        flow = session.get_one(FlowExecutionResource, bench.flow_id("prices"))
    from prefect_instances.libs.core.status import Cause

    started: Any = services.ledger.start(flow.id, uuid4(), ask=RunWish(Cause.MANUAL))
    object.__setattr__(
        services, "settings", services.settings.model_copy(update={"heartbeat_seconds": 0.05})
    )
    channel = instance_channel(bench.instance_id("prices"))

    def progress() -> list[Any]:
        settled(bench)
        return [m for m in server.published(channel) if m["type"] == "instance.run.progress"]

    with heartbeat(services, started.run.id):
        while len(told := progress()) < 2:
            pass
    assert told[0]["run"]["id"] == str(started.run.id)
    assert told[0]["new_status"] == "RUNNING"
    assert "running for" in line_of(told[0])


@on_both_databases
def test_tokens_are_for_what_exists_and_for_its_channel(
    bench: Bench, server: ContractServer, project: str
) -> None:
    with pytest.raises(NotFound):
        grant_subscription(bench.services, "prices", "ann")
    configure(bench, server, token_seconds=60)
    bench.provision(prices(project, end_date="2020-03-30"))

    one = grant_subscription(bench.services, f"{project}/prices", "ann")
    whole = grant_subscription(bench.services, project, "ann", project=True)

    assert one.channel == instance_channel(bench.instance_id("prices"))
    assert whole.channel == project_channel(project_id(bench, project))
    assert one.url == server.websocket_url
    claims = jwt.decode(one.subscription_token, HMAC_SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["channel"]) == ("ann", one.channel)
    assert claims["exp"] - claims["iat"] == 60
    assert "channel" not in jwt.decode(one.token, HMAC_SECRET, algorithms=["HS256"])
    for name, of_project in ((f"{project}/absent", False), ("absent", True), ("prices", True)):
        with pytest.raises(NotFound):
            grant_subscription(bench.services, name, "ann", project=of_project)
    assert HMAC_SECRET not in f"{asdict(one)}"


def test_a_block_that_cannot_be_used_is_told_without_its_values(
    bench: Bench, server: ContractServer, project: str
) -> None:
    bench.services.prefect.save_block(
        Centrifugo.model_construct(
            url="http://localhost:1/api", api_key=API_KEY, hmac_secret="", timeout_seconds=-1.0
        ),
        bench.services.settings.centrifugo_block,
    )
    assert not bench.services.live.check_broker()
    with bench.services.database.read() as session:
        reason = read_relay(session).reason
    assert "timeout_seconds" in reason
    with pytest.raises(InvalidSpec) as caught:
        grant_subscription(bench.services, "prices", "ann")
    assert API_KEY not in reason + str(caught.value)


def test_secrets_are_nowhere(
    bench: Bench,
    server: ContractServer,
    project: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    configure(bench, server)
    bench.provision(prices(project, end_date="2020-03-30"))
    bench.drain()
    for fault in ("500", "401", "garbage"):
        server.fault = fault
        bench.run("prices")
        later = bench.services.now() + timedelta(hours=1)
        SubscriberRelay(
            bench.services.database,
            lambda at=later: at,
            lambda: open_broker(bench.services.settings, bench.services.prefect),
        ).drain(5)
    gateway = bench.services.prefect
    found = [record.getMessage() for record in caplog.records]
    with bench.services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            found += [str(row) for row in session.execute(select(table))]
    for route in ("events", "artifacts", "block_documents", "flow_runs"):
        answer = gateway._api.request("POST", f"/{route}/filter", {}, doing="look")
        found.append(json.dumps(answer))
    found += [p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file()]
    assert any(project in text for text in found)
    assert not [text for text in found if API_KEY in text or HMAC_SECRET in text]


@contextmanager
def watching(bench: Bench, name: str) -> Any:
    """What ``instances watch`` gets, in a thread of its own."""
    seen: list[Mapping[str, Any]] = []
    runner, stop = asyncio.Runner(), asyncio.Event()
    loop = runner.get_loop()

    async def listen() -> None:
        items: Any = watch(bench.services, scope_of(bench.services, name))
        async with aclosing(items):
            async for item in items:
                seen.append(item)

    async def until_stopped() -> None:
        task = asyncio.create_task(listen())
        await stop.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def serve() -> None:
        with runner:
            runner.run(until_stopped())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


@on_both_databases
@pytest.mark.parametrize("over", ["centrifugo", "prefect"])
def test_watching_shows_one_instance_over_either(
    bench: Bench, server: ContractServer, project: str, over: str
) -> None:
    if over == "centrifugo":
        configure(bench, server)
    bench.provision(prices(project, end_date="2020-03-30"))
    bench.provision(prices(project, name="others", end_date="2020-03-30"))
    with watching(bench, f"{project}/prices") as seen:
        eventually(lambda: seen and seen[0]["type"] == "reload")
        bench.drain()
        if over == "centrifugo":
            settled(bench)
        eventually(lambda: any(m.get("new_status") == "READY" for m in seen))
    messages = [m for m in seen if m["type"] != "reload"]
    assert {m["instance"] for m in messages} == {str(bench.instance_id("prices"))}
    assert all((m["seq"] is None) == (over == "prefect") for m in messages)


def test_a_reader_that_ends_leaves_no_task_behind(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def end(_: Mapping[str, Any]) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        _watch_lines(bench.services, "", end, 0)
    gc.collect()

    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_broken_centrifugo_leaves_a_cascade_alone_and_all_follows_in_order(
    bench: Bench, server: ContractServer, project: str
) -> None:
    configure(bench, server)
    bench.provision(prices(project, end_date="2020-03-30"))
    bench.provision(derived(project, "returns", "close / REF(close, 1) - 1", "prices"))
    bench.drain()
    settled(bench)
    database = bench.services.database

    def close_circuit() -> None:
        """As if the pause after the failures were over."""
        eventually(lambda: relay_of(bench).holder is None)
        database.transact(lambda session: write_relay(session, RelayState(configured=True)))

    for fault in ("slow", "500", "401", "garbage", "down"):
        close_circuit()
        if fault == "down":
            server.stop()
        server.fault = "" if fault == "down" else fault
        bench.run("prices", force=True)
        bench.drain()
        eventually(lambda: relay_of(bench).failures > 0)
        assert relay_of(bench).reason
        document = reports.status(database, bench.services.now(), project=project)
        assert {entry["status"] for entry in document["instances"]} == {"READY"}

    server.fault = ""
    server.start()
    close_circuit()
    settled(bench)
    for name in ("prices", "returns"):
        told = server.published(instance_channel(bench.instance_id(name)))
        assert [m["seq"] for m in told] == list(range(1, len(told) + 1))
        assert told[-1]["new_status"] == "READY"
        # The forced output is the same each time, so the downstream's stays the first one.
        newest = max(m["generation"] or 0 for m in told)
        assert newest == (6 if name == "prices" else 1)


def relay_of(bench: Bench) -> RelayState:
    with bench.services.database.read() as session:
        return read_relay(session)
