"""The state in a database, changed by the real ``Ledger``: two of them, used in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import cycle
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from prefect_instances.libs.core.commands import Output, RetryPolicy, Start
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.records import Opening, Region, Request, Run
from prefect_instances.libs.core.status import Lifecycle, RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import (
    Base,
    FlowExecutionResource,
    GateOpening,
    LineageEdge,
    Resource,
    RunRecord,
    RunRequest,
)
from prefect_instances.libs.db.repositories.outbox import mark_published, select_unpublished
from prefect_instances.libs.db.repositories.region import load_region, read_parameters, read_run
from prefect_instances.libs.services.state.ledger import Ledger, RunWish
from tests.property.backend import DEFAULT_RETRY, EPOCH, TICK, Wish
from tests.property.graphs import PROJECT, Graph, named, region_of

Answer = TypeVar("Answer")


class SqlBackend:
    """Two engines on one database, as two processes have; every call goes to the other one."""

    def __init__(self, url: str) -> None:
        self.now = EPOCH
        self.databases = [Database(url), Database(url)]
        self.ledgers = [Ledger(database, lambda: self.now) for database in self.databases]
        self._turns = cycle(self.ledgers)

    def build(self, graph: Graph, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self.now = EPOCH
        for ledger in self.ledgers:
            ledger.retry = retry
        self.databases[0].transact(lambda session: insert_graph(session, graph))

    def _transact(self, call: Callable[[Ledger], Answer]) -> Answer:
        self.now += TICK
        return call(next(self._turns))

    def start(
        self,
        flow_id: UUID,
        prefect_id: UUID,
        *,
        opening_id: UUID | None = None,
        wish: Wish | None = None,
    ) -> Start:
        ask = RunWish(wish.cause, wish.parameters) if wish else None
        return self._transact(
            lambda ledger: ledger.start(flow_id, prefect_id, opening_id=opening_id, ask=ask)
        )

    def succeed(self, run_id: UUID, output: Output) -> None:
        self._transact(lambda ledger: ledger.succeed(run_id, output))

    def end_badly(self, run_id: UUID, status: RunStatus, error: str) -> None:
        self._transact(lambda ledger: ledger.end_badly(run_id, status, error))

    def ask(self, flow_id: UUID, wish: Wish) -> None:
        self._transact(lambda ledger: ledger.ask(flow_id, wish.cause, wish.parameters))

    def reconfigure(self, flow_id: UUID) -> None:
        self._transact(lambda ledger: ledger.reconfigure(flow_id))

    def set_lifecycle(self, instance_id: UUID, lifecycle: Lifecycle) -> None:
        self._transact(lambda ledger: ledger.set_lifecycle(instance_id, lifecycle))

    def mark_past_due(self) -> None:
        self._transact(lambda ledger: ledger.mark_past_due())

    def announce_again(self, opening_id: UUID) -> None:
        self._transact(lambda ledger: ledger.announce_again(opening_id))

    def take_events(self) -> list[Event]:
        def take(session: Session) -> list[Event]:
            events = select_unpublished(session, 1000)
            mark_published(session, [event.id for event in events], self.now)
            return events

        return self.databases[0].transact(take)

    def snapshot(self) -> Region:
        with self.databases[1].read() as session:
            return read_everything(session)

    def close(self) -> None:
        """The next history uses the same connections; ``dispose`` gives them back."""

    def dispose(self) -> None:
        for database in self.databases:
            database.close()


def read_everything(session: Session) -> Region:
    """The whole state, with what has ended, which no decision loads."""
    live = load_region(session, set(session.scalars(select(FlowExecutionResource.id))))
    openings = [Opening(*row) for row in _all(session, GateOpening, Opening)]
    requests = [
        Request(**{**row._asdict(), "parameters": read_parameters(row.parameters)})
        for row in _all(session, RunRequest, Request)
    ]
    runs = [read_run(row._asdict()) for row in _all(session, RunRecord, Run)]
    return Region(
        instances=live.instances,
        flows=live.flows,
        edges=live.edges,
        openings={opening.id: opening for opening in openings},
        requests={request.id: request for request in requests},
        runs={run.id: run for run in runs},
    )


def _all(session: Session, model: Any, record: Any) -> list[Any]:
    columns = model.__table__.c
    query = select(*(columns[field.name] for field in fields(record)))
    return list(session.execute(query))


def insert_graph(session: Session, graph: Graph) -> None:
    """Empty every table and hold this graph alone, as just provisioned."""
    for table in reversed(Base.metadata.sorted_tables):
        session.execute(delete(table))
    region = region_of(graph)
    project = named("project", PROJECT)
    rows = [_resource(project, "Project", PROJECT, None)]
    for instance in region.instances.values():
        row = _resource(instance.id, instance.type, instance.name, project)
        row |= {"status": instance.status, "contract": instance.contract.document()}
        rows.append(row)
    session.execute(insert(Resource), rows)
    flows = [
        {field.name: getattr(flow, field.name) for field in fields(flow)}
        for flow in region.flows.values()
    ]
    session.execute(insert(FlowExecutionResource), flows)
    edges = [
        {
            "id": edge.id,
            "upstream_flow_id": edge.upstream,
            "downstream_flow_id": edge.downstream,
            "position": at,
            "role": edge.role,
            "kind": "input",
            "require": edge.require,
            "triggers": edge.triggers,
            "consumed_generation": edge.consumed,
        }
        for at, edge in enumerate(region.edges.values())
    ]
    if edges:
        session.execute(insert(LineageEdge), edges)


def _resource(id_: UUID, type_: str, name: str, parent: UUID | None) -> dict[str, Any]:
    return {
        "id": id_,
        "type": type_,
        "parent_id": parent,
        "scope": str(parent or type_),
        "name": name,
        "name_key": name.lower(),
        "lifecycle": Lifecycle.ACTIVE,
        "status": None,
        "contract": None,
        "condition": None,
        "created_at": EPOCH,
        "updated_at": EPOCH,
    }
