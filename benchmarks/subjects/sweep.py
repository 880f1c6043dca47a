"""The freshness sweep over many flows, beside bare SQL that reads and writes the same rows.

A hundred flows are late, as after a bad night; the rest are not due.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from benchmarks.databases import databases
from benchmarks.record import Figure, Run, Target, timed
from benchmarks.rows import NOW, fill
from prefect_instances.libs.core.status import FlowStatus, Reason
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Base, FlowExecutionResource, Resource
from prefect_instances.libs.services.state.ledger import Ledger

LATE = 100
REPEATS = 3


def measure(run: Run) -> Iterator[Figure]:
    """Growth to 100,000 flows on both dialects."""
    for size in run.pick([1_000], [1_000, 10_000, 100_000]):
        for dialect, database in databases():
            database.transact(lambda session: fill(session, size, flow=_flow))  # noqa: B023
            yield from _figures(database, dialect, size)


def _figures(database: Database, dialect: str, size: int) -> Iterator[Figure]:
    ledger = Ledger(database, lambda: NOW)

    def mark() -> None:
        found = len(ledger.mark_past_due().flows)
        if found != LATE:
            raise RuntimeError(f"the sweep marked {found} flows, {LATE} are late")

    def restore() -> None:
        database.transact(_restore)

    quiet = Ledger(database, lambda: NOW - timedelta(days=1))
    yield Figure(
        "sweep", f"nothing late, {dialect}", 1000 * timed(quiet.mark_past_due, REPEATS), "ms",
        target=Target(1000), at=size,
    )  # fmt: skip
    marked = timed(mark, REPEATS, restore)
    bare = timed(lambda: database.transact(_bare), REPEATS, restore)
    yield Figure(
        "sweep", f"{LATE} late, {dialect}", 1000 * marked, "ms",
        "bare SQL on the same rows", 1000 * bare, Target(1000), size,
    )  # fmt: skip


def _flow(number: int) -> dict[str, Any]:
    late = number < LATE
    deadline = NOW - timedelta(minutes=number + 1) if late else NOW + timedelta(seconds=number)
    return {"next_due_at": deadline, "due_deadline": deadline}


def _bare(session: Session) -> None:
    """The same rows read and written by one statement a table, deciding nothing."""
    table: Any = FlowExecutionResource.__table__
    flow = FlowExecutionResource
    is_late = flow.breached.is_(False) & (flow.due_deadline < NOW)
    late = list(session.execute(select(table.c.id, table.c.instance_id).where(is_late)))
    written = {"breached": True, "status": FlowStatus.STALE, "reason": Reason.PAST_DUE}
    query = update(table).where(table.c.id == bindparam("flow"))
    session.execute(query.values(written), [{"flow": row.id} for row in late])
    resources: Any = Resource.__table__
    stale = update(resources).where(resources.c.id == bindparam("instance"))
    session.execute(
        stale.values(status=FlowStatus.STALE), [{"instance": row.instance_id} for row in late]
    )


def _restore(session: Session) -> None:
    """As it was before the sweep."""
    for name in ("gate_openings", "run_requests", "outbox"):
        session.execute(delete(Base.metadata.tables[name]))
    flow = FlowExecutionResource
    ready = {
        "status": FlowStatus.READY,
        "reason": Reason.RUN_SUCCEEDED,
        "breached": False,
        "opened_key": "",
    }
    session.execute(update(flow).where(flow.breached.is_(True)).values(ready))
    stale = Resource.status == FlowStatus.STALE
    session.execute(update(Resource).where(stale).values(status=FlowStatus.READY))
