"""What happens at every run touches rows by their indexes, however many instances there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, select

from benchmarks.rows import NOW, fill, flow_id, tree
from prefect_instances.libs.core.commands import Output, Started
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import LineageEdge
from prefect_instances.libs.db.repositories.outbox import select_unpublished
from prefect_instances.libs.services.state.ledger import Ledger, RunWish
from prefect_instances.libs.services.views import explaining, reports
from tests.databases import on_each_database

pytestmark = on_each_database

COUNT = 4_000
LEAF = COUNT - 1
LATE = 3
GROWING = "flow_execution_resources|lineage_edges|resources|gate_openings|run_requests|runs|outbox"
# An index of what is unpublished is short: reading all of it is what it is for.
SHORT = "(?! USING INDEX ix_outbox_unpublished)"
WHOLE = re.compile(
    rf"(?:Seq Scan on|\bSCAN|BLOOM FILTER ON) (?:{GROWING})(?:_\d+)?\b{SHORT}.*"
    r"|.*AUTOMATIC.* INDEX.*"
    rf"|Index (?:Only )?Scan using (?!ix_outbox_unpublished)\w+ on (?:{GROWING})\b"
    r".*$(?!\n.*Index Cond)",
    re.MULTILINE,
)
"""A table read, or an index of it without a condition, or read to build an index or a filter."""

Act = Callable[[Database], object]


def later() -> Any:
    return NOW + timedelta(hours=1)


def start_and_succeed(database: Database) -> None:
    ledger = Ledger(database, later)
    started = ledger.start(flow_id(LEAF), uuid4(), ask=RunWish(Cause.MANUAL, RunParameters()))
    assert isinstance(started, Started)
    ledger.succeed(started.run.id, Output(uuid4(), "content"))


def sweep(database: Database) -> None:
    assert len(Ledger(database, later).mark_past_due().flows) == LATE


def relay(database: Database) -> None:
    with database.read() as session:
        select_unpublished(session, 200)


ACTS: dict[str, Act] = {
    "a run and its gate": start_and_succeed,
    "the sweep": sweep,
    "the relay": relay,
    "status of one": lambda database: reports.status(database, NOW, f"bench/i{LEAF:06d}"),
    "freshness of one": lambda database: explaining.freshness(database, NOW, f"bench/i{LEAF:06d}"),
    "lineage of one": lambda database: reports.lineage(database, f"bench/i{LEAF:06d}"),
    "runs of one": lambda database: reports.runs(database, f"bench/i{LEAF:06d}"),
}


def late(number: int) -> dict[str, Any]:
    """The first few flows have missed their deadline; the others are due tomorrow or later."""
    deadline = NOW if number < LATE else NOW + timedelta(days=1, seconds=number)
    return {"next_due_at": deadline, "due_deadline": deadline}


def test_nothing_that_happens_often_reads_a_whole_table(database: Database) -> None:
    database.transact(lambda session: fill(session, COUNT, tree, flow=late))
    found = {name: whole_reads(database, act) for name, act in ACTS.items()}

    assert {name: reads for name, reads in found.items() if reads} == {}


def test_who_is_late_is_found_by_one_query_on_a_range_of_an_index(database: Database) -> None:
    database.transact(lambda session: fill(session, COUNT, tree, flow=late))
    quiet = Ledger(database, lambda: NOW - timedelta(hours=1))

    sent = statements(database, lambda _: quiet.mark_past_due())

    (statement, parameters), *more = [one for one in sent if one[0].startswith("SELECT")]
    assert more == []
    plan = plan_of(database, statement, parameters)
    assert "ix_flow_execution_resources_due" in plan
    wanted = (
        "breached=? AND due_deadline<?" if database.is_sqlite else "Index Cond: .*due_deadline <"
    )
    assert re.search(wanted.replace("?", r"\?"), plan)


def test_a_query_that_reads_a_whole_table_is_noticed(database: Database) -> None:
    database.transact(lambda session: fill(session, 3))

    def act(database: Database) -> None:
        with database.read() as session:
            session.execute(select(LineageEdge.id).where(LineageEdge.position == 0))

    assert whole_reads(database, act)


@pytest.mark.parametrize("count", [10, 2000])
def test_a_run_and_its_gate_take_as_many_statements_in_any_graph(
    database: Database, count: int
) -> None:
    database.transact(lambda session: fill(session, count, tree, flow=late))

    def act(database: Database) -> None:
        ledger = Ledger(database, later)
        started = ledger.start(flow_id(count - 1), uuid4(), ask=RunWish(Cause.MANUAL))
        assert isinstance(started, Started)
        ledger.succeed(started.run.id, Output(uuid4(), "content"))

    assert len(statements(database, act)) <= 45


def statements(database: Database, act: Act) -> list[tuple[str, Any]]:
    """What an act sends to the database, with the parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        act(database)
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return sent


def whole_reads(database: Database, act: Act) -> list[str]:
    """The steps of the plans of an act that read all of a table that grows."""
    steps = []
    for statement, parameters in statements(database, act):
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            plan = plan_of(database, statement, parameters)
            steps += [f"{match[0]}: {statement}" for match in WHOLE.finditer(plan)]
    return steps


def plan_of(database: Database, statement: str, parameters: Any) -> str:
    """How the database executes a statement, a step a line."""
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    one = parameters[0] if isinstance(parameters, list) else parameters
    with database.engine.connect() as connection:
        plan = connection.exec_driver_sql(explain + statement, one)
        return "\n".join(str(row) for row in plan)
