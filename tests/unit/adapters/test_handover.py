"""A run's process asks the server only for what its worker has not handed over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending, Running

from prefect_instances.libs.adapters.prefect.handover import (
    enter_with_handed,
    hand_over,
    load_handed,
)


class Client:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.read: list[UUID] = []

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        self.read.append(flow_run_id)
        return FlowRun(id=flow_run_id, flow_id=uuid4(), run_count=7)


class Engine:
    """The part of Prefect's engine that enters a run, as Prefect's does."""

    def __init__(self, flow_run: FlowRun, client: Client) -> None:
        self.flow, self.flow_run, self.client = SimpleNamespace(version="v"), flow_run, client

    @contextmanager
    def setup_run_context(self, client: Client | None = None) -> Iterator[FlowRun]:
        self.flow_run = (client or self.client).read_flow_run(self.flow_run.id)
        yield self.flow_run


enter: Any = enter_with_handed(Engine.setup_run_context)


def handed_run() -> FlowRun:
    run = FlowRun(flow_id=uuid4(), state=Pending(), parameters={"x": 1})
    hand_over(run.model_dump_json())
    return run


def test_what_was_handed_over_is_not_read_and_once_it_runs_only_the_next_attempt_reads_it() -> None:
    client, run = Client(), handed_run()
    loaded = load_handed(client.read_flow_run)(run.id)
    loaded.state = Running()
    engine = Engine(loaded, client)
    with enter(engine) as begun:
        assert (begun.run_count, begun.flow_version, begun.parameters) == (1, "v", {"x": 1})
        assert begun.state_type == loaded.state.type
        assert begun.start_time == loaded.state.timestamp
    assert client.read == []

    with enter(engine) as again:
        assert again.run_count == 7
    assert load_handed(client.read_flow_run)(run.id).run_count == 7
    assert client.read == [run.id, run.id]


def test_a_run_that_did_not_become_running_and_one_of_another_id_are_read() -> None:
    client, run = Client(), handed_run()
    other = uuid4()
    assert load_handed(client.read_flow_run)(other).id == other
    with enter(Engine(run, client)) as read:
        assert read.run_count == 7
    assert client.read == [other, run.id]
