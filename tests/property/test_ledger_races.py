"""Two processes on one database, mostly at once: nobody misses the other, and one of them wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Barrier, Thread
from typing import TypeVar
from uuid import uuid4

import pytest

from prefect_instances.libs.core.commands import AskedAgain, Output, RetryPolicy, Skipped, Started
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.records import UNCLAIMED, Region, RequestStatus, Run, RunParameters
from prefect_instances.libs.core.status import Cause, FlowStatus, RunStatus
from prefect_instances.libs.services.state.ledger import Ledger, RunWish, utc_now
from tests.databases import on_each_database
from tests.property.graphs import Graph, diamond, fan_out, flow_id, of_pairs
from tests.property.sql_backend import SqlBackend

pytestmark = on_each_database

Answer = TypeVar("Answer")
ROUNDS = 5
BY_HAND = RunWish(Cause.MANUAL)


@pytest.fixture
def sql(database_url: str) -> Iterator[SqlBackend]:
    backend = SqlBackend(database_url)
    for ledger in backend.ledgers:
        ledger.clock = utc_now
    yield backend
    backend.dispose()


def at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer | BaseException]:
    """Call all at the same moment, each in a thread; answers or errors in their order."""
    barrier, answers = Barrier(len(calls)), dict[int, Answer | BaseException]()

    def work(at: int) -> None:
        barrier.wait()
        try:
            answers[at] = calls[at]()
        except BaseException as error:  # noqa: BLE001  # handed to the caller, who looks at it
            answers[at] = error

    threads = [Thread(target=work, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[at] for at in range(len(calls))]


def run_all(sql: SqlBackend, graph: Graph) -> None:
    """Hold the graph with everything READY, told by real clocks."""
    sql.build(graph, RetryPolicy())
    for flow in graph.flows:
        publish(sql.ledgers[0], begin(sql.ledgers[0], flow.name))


def begin(ledger: Ledger, name: str) -> Run:
    answer = ledger.start(flow_id(name), uuid4(), ask=BY_HAND)
    assert isinstance(answer, Started), answer
    return answer.run


def publish(ledger: Ledger, run: Run) -> None:
    ledger.succeed(run.id, Output(uuid4(), "new"))


def unclaimed(state: Region, name: str) -> list[dict[str, int]]:
    return [
        dict(opening.vector)
        for opening in state.openings.values()
        if opening.flow_id == flow_id(name) and opening.status in UNCLAIMED
    ]


def test_two_upstreams_that_publish_at_once_open_their_downstream_once(sql: SqlBackend) -> None:
    run_all(sql, diamond())
    first, second = sql.ledgers
    for generation in range(2, 2 + ROUNDS):
        b, c = begin(first, "B"), begin(second, "C")
        answers = at_once([partial(publish, first, b), partial(publish, second, c)])
        assert answers == [None, None]
        vector = {str(flow_id("B")): generation, str(flow_id("C")): generation}
        assert unclaimed(sql.snapshot(), "D") == [vector]
        publish(first, begin(first, "D"))
        assert sql.snapshot().flows[flow_id("D")].status is FlowStatus.READY


def test_one_of_many_flow_runs_for_an_opening_works(sql: SqlBackend) -> None:
    run_all(sql, of_pairs("A>B"))
    publish(sql.ledgers[0], begin(sql.ledgers[0], "A"))
    (opening,) = [o.id for o in sql.snapshot().openings.values() if o.status in UNCLAIMED]
    answers = at_once(
        [
            partial(sql.ledgers[at % 2].start, flow_id("B"), uuid4(), opening_id=opening)
            for at in range(6)
        ]
    )
    kinds = sorted(type(answer).__name__ for answer in answers)
    assert kinds == [Skipped.__name__] * 5 + [Started.__name__]


def test_one_flow_run_that_starts_twice_at_once_has_one_run(sql: SqlBackend) -> None:
    run_all(sql, of_pairs("A>B"))
    prefect_id = uuid4()
    answers = at_once(
        [partial(ledger.start, flow_id("B"), prefect_id, ask=BY_HAND) for ledger in sql.ledgers]
    )
    runs = {answer.run.id for answer in answers if isinstance(answer, Started)}
    assert len(answers) == 2
    assert len(runs) == 1
    assert all(isinstance(answer, Started) for answer in answers)


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CRASHED, RunStatus.CANCELLED])
def test_a_flow_run_that_has_ended_does_not_start_again(sql: SqlBackend, status: RunStatus) -> None:
    run_all(sql, of_pairs("A>B"))
    run = begin(sql.ledgers[0], "B")
    sql.ledgers[1].end_badly(run.id, status, "boom")
    known = set(sql.snapshot().runs)
    for ledger in sql.ledgers:
        answer = ledger.start(flow_id("B"), run.prefect_flow_run_id, ask=BY_HAND)
        assert isinstance(answer, AskedAgain)
    assert set(sql.snapshot().runs) == known, "it asks for a new run, and starts none itself"
    requests = sql.snapshot().requests.values()
    pending = [each for each in requests if each.status is RequestStatus.PENDING]
    assert [each.flow_id for each in pending] == [flow_id("B")], "asking twice makes one request"


@pytest.mark.parametrize(
    "round_", [0, *(pytest.param(at, marks=pytest.mark.thorough) for at in range(1, ROUNDS))]
)
def test_a_success_and_a_report_of_death_at_once_have_one_outcome(
    sql: SqlBackend, round_: int
) -> None:
    run_all(sql, of_pairs("A>B"))
    run = begin(sql.ledgers[0], "A")
    answers = at_once(
        [
            lambda: publish(sql.ledgers[0], run),
            lambda: sql.ledgers[1].end_badly(run.id, RunStatus.CRASHED, "silent"),
        ]
    )
    lost = [isinstance(answer, Interrupted) for answer in answers]
    assert sorted(lost) == [False, True]
    state = sql.snapshot()
    published = state.flows[flow_id("A")].generation == 2
    assert published == lost[1]
    assert state.runs[run.id].status is (RunStatus.COMPLETED if published else RunStatus.CRASHED)


def test_requests_at_once_leave_one_pending(sql: SqlBackend) -> None:
    run_all(sql, of_pairs("A>B"))
    begin(sql.ledgers[0], "B")
    answers = at_once(
        [partial(sql.ledgers[at % 2].ask, flow_id("B"), Cause.MANUAL) for at in range(6)]
    )
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    requests = sql.snapshot().requests.values()
    assert len([r for r in requests if r.status is RequestStatus.PENDING]) == 1


def test_a_refresh_and_the_runs_below_it_at_once_leave_nobody_behind(sql: SqlBackend) -> None:
    run_all(sql, fan_out())
    below = ["D1", "D2", "D3", "D4"]
    for _ in range(ROUNDS):
        source = begin(sql.ledgers[0], "A")
        runs = [_forced(sql.ledgers[1], name) for name in below]
        calls = [partial(publish, sql.ledgers[0], source)]
        calls += [partial(publish, sql.ledgers[1], run) for run in runs]
        assert at_once(calls) == [None] * 5
        state = sql.snapshot()
        newest = state.flows[flow_id("A")].generation
        for name in below:
            assert state.flows[flow_id(name)].status is FlowStatus.STALE
            assert unclaimed(state, name) == [{str(flow_id("A")): newest}]
            publish(sql.ledgers[0], begin(sql.ledgers[0], name))


def _forced(ledger: Ledger, name: str) -> Run:
    forced = RunWish(Cause.MANUAL, RunParameters(force=True))
    answer = ledger.start(flow_id(name), uuid4(), ask=forced)
    assert isinstance(answer, Started), answer
    return answer.run
