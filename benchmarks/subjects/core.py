"""The commit of one READY: with many descendants beside bare SQL, and its gates in large graphs.

The descendants form a tree of tens below the flow that succeeds; all are READY and become STALE,
each with two events in the outbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Json
from sqlalchemy import delete, insert, select, true, update
from sqlalchemy.orm import Session

from benchmarks.databases import databases
from benchmarks.record import Figure, Run, Target, timed
from benchmarks.rows import NOW, alone, fill, flow_id, tree
from prefect_instances.libs.core.commands import Output, Started
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import Cause, FlowStatus, Reason
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import (
    Base,
    FlowExecutionResource,
    LineageEdge,
    OutboxEvent,
    Resource,
)
from prefect_instances.libs.services.state.ledger import Ledger, RunWish
from prefect_instances.libs.services.views import reports

REPEATS = 3
RIPPLE = ("gate_openings", "run_requests", "outbox", "runs")


def measure(run: Run) -> Iterator[Figure]:
    """Growth of a READY's commit with its descendants, and of what must not grow."""
    for size in run.pick([1_000], [1_000, 10_000]):
        for dialect, database in databases():
            database.transact(lambda session: fill(session, size + 1, tree))  # noqa: B023
            yield _commit(database, dialect, size)
            yield from _reads(database, dialect, size)
    sizes = run.pick([10, 1_000], [10, 100, 1_000, 10_000, 100_000])
    smallest: dict[str, float] = {}
    for size in sizes:
        for dialect, database in databases():
            database.transact(lambda session: _pair_among(session, size))  # noqa: B023
            seconds = _gate(database)
            yield Figure(
                "core", f"commit and gate of one pair, {dialect}", 1000 * seconds, "ms",
                f"among {sizes[0]} flows", 1000 * smallest.setdefault(dialect, seconds),
                Target(1.3, of_ratio=True), size,
            )  # fmt: skip


def _commit(database: Database, dialect: str, size: int) -> Figure:
    ledger = Ledger(database, lambda: NOW + timedelta(hours=1))
    began: list[UUID] = []

    def before() -> None:
        database.transact(_restore)
        began[:] = [_start(ledger, flow_id(0))]

    def commit() -> None:
        changed = len(ledger.succeed(began[0], _output()).flows)
        if changed != size + 1:
            raise RuntimeError(f"{changed} flows changed, not {size + 1}")

    ours = timed(commit, REPEATS, before)
    events = database.transact(lambda session: list(session.execute(select(*_OUTBOX))))
    rows = [row._asdict() for row in events]
    bare = timed(lambda: database.transact(lambda session: _bare(session, rows)), REPEATS, before)
    return Figure(
        "core", f"commit of one READY with its descendants, {dialect}", 1000 * ours, "ms",
        "bare SQL writing the same rows", 1000 * bare, Target(500), size,
    )  # fmt: skip


_OUTBOX = [column for column in OutboxEvent.__table__.c if column.name != "seq"]


def _bare(session: Session, events: list[dict[str, Any]]) -> None:
    """Three statements: flows STALE, instances STALE, events inserted (PostgreSQL: copied)."""
    flow: Any = FlowExecutionResource
    stale = {"status": FlowStatus.STALE, "reason": Reason.UPSTREAM_ADVANCED, "since": NOW}
    session.execute(update(flow).where(flow.id != flow_id(0)).values(stale))
    session.execute(
        update(Resource)
        .where(Resource.type == "DatasetInstance")
        .values(status=FlowStatus.STALE, updated_at=NOW)
    )
    rows = [{**row, "id": uuid4()} for row in events]
    if session.get_bind().dialect.name == "sqlite":
        session.execute(insert(OutboxEvent.__table__), rows)  # type: ignore[arg-type]  # a Table, to mypy a FromClause
        return
    driver: Any = session.connection().connection.driver_connection
    into = f"COPY outbox ({', '.join(rows[0])}) FROM STDIN"
    with driver.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row([Json(v) if isinstance(v, dict | list) else v for v in row.values()])


def _reads(database: Database, dialect: str, size: int) -> Iterator[Figure]:
    name = "bench/i000000"
    for what, call in {
        "status of all": lambda: reports.status(database, NOW),
        "status of one": lambda: reports.status(database, NOW, f"bench/i{size:06d}"),
        "lineage of one leaf": lambda: reports.lineage(database, f"bench/i{size:06d}"),
        "lineage of the root": lambda: reports.lineage(database, name),
    }.items():
        yield Figure("reports", f"{what}, {dialect}", 1000 * timed(call, REPEATS), "ms", at=size)


def _gate(database: Database) -> float:
    """Seconds that a READY takes which opens one gate."""
    ledger = Ledger(database, lambda: NOW + timedelta(hours=1))
    began: list[UUID] = []

    def before() -> None:
        pair = [flow_id(number, "pair") for number in (0, 1)]
        database.transact(lambda session: _restore(session, *pair))
        began[:] = [_start(ledger, flow_id(0, "pair"))]

    def commit() -> None:
        if len(ledger.succeed(began[0], _output()).openings) < 1:
            raise RuntimeError("no gate has opened")

    return timed(commit, 15, before)


def _pair_among(session: Session, size: int) -> None:
    fill(session, size, alone if size < 2 else tree)
    fill(session, 2, tree, project="pair")


def _start(ledger: Ledger, flow: UUID) -> UUID:
    wish = RunWish(Cause.MANUAL, RunParameters())
    started = ledger.start(flow, uuid4(), ask=wish)
    if not isinstance(started, Started):
        raise RuntimeError(f"the run did not start: {started}")
    return started.run.id


def _output() -> Output:
    version = uuid4()
    return Output(version, version.hex, None, None, None)


def _restore(session: Session, *only: UUID) -> None:
    """All flows READY, or ``only`` some, nothing asked for, no events."""
    for name in RIPPLE:
        session.execute(delete(Base.metadata.tables[name]))
    flow = FlowExecutionResource
    ready = {
        "status": FlowStatus.READY,
        "reason": Reason.RUN_SUCCEEDED,
        "generation": 1,
        "running": None,
        "opened_key": "",
        "version_id": None,
        "content_hash": "",
    }
    edge = LineageEdge
    some = flow.id.in_(only) if only else true()
    into = edge.downstream_flow_id.in_(only) if only else true()
    session.execute(update(flow).where(some).values(ready))
    session.execute(update(edge).where(into).values(consumed_generation=1))
    stale = Resource.status != FlowStatus.READY
    session.execute(update(Resource).where(stale).values(status=FlowStatus.READY))
