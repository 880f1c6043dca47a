"""Compile the SQL statements of a run once, so that forked runs need not.

SQLAlchemy compiles a statement when it is first executed, which takes about 5 ms, and a run
executes dozens. So the process from which runs are forked provisions and runs two datasets in a
transaction that is rolled back.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.core.commands import Started
from prefect_instances.libs.core.status import Cause, FlowKind, Lifecycle
from prefect_instances.libs.db.repositories.openings import select_only_opening
from prefect_instances.libs.db.repositories.outbox import mark_published, select_unpublished
from prefect_instances.libs.definitions.guardrails import Gate
from prefect_instances.libs.definitions.store import StoredVersion
from prefect_instances.libs.services.composition.checks import examine
from prefect_instances.libs.services.composition.rows import write_rows
from prefect_instances.libs.services.runs.guardrails import guard
from prefect_instances.libs.services.runs.opened import open_instance
from prefect_instances.libs.services.runs.publishing import publish
from prefect_instances.libs.services.runs.run_context import Result, Stored, build_job
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import BATCH
from prefect_instances.libs.services.state.ledger import Ledger
from prefect_instances.libs.specs import InstanceSpec, parse_spec

COLUMNS = ("date", "symbol", "close")


def warm(services: Services) -> None:
    """Execute the statements of dataset runs and share the compiled statements with forks.

    Nothing becomes visible; other writers wait for less than a second.
    """
    known = services.ledger
    with services.database.simulate() as database:
        ledger = Ledger(database, known.clock, lease=known.lease, retry=known.retry)
        _live_through(replace(services, database=database, ledger=ledger))
    services.database.share_engine()


def _live_through(services: Services) -> None:
    project = f"w{uuid4().hex}"
    upstream = _spec(
        project, "upstream", {"definition": "market_data", "config": {"source": "sp500"}}
    )
    expression = {"definition": "expression", "config": {"expression": "close"}}
    downstream = _spec(project, "downstream", expression, upstream_refs=[{"resource": "upstream"}])
    _run(services, _provision(services, upstream))
    _run(services, _provision(services, downstream))


def _spec(project: str, name: str, pipeline: object, **more: object) -> InstanceSpec:
    of_all = {"project": project, "name": name, "type": "DatasetInstance"}
    return parse_spec({**of_all, "pipeline": pipeline, **more})


def _provision(services: Services, spec: InstanceSpec) -> UUID:
    def work(session: Session) -> UUID:
        now = services.now()
        return write_rows(session, examine(session, services.registry, spec, now), now).id

    instance_id = services.database.transact(work)
    services.ledger.set_lifecycle(instance_id, Lifecycle.ACTIVE, first_run=Cause.PROVISION)
    return instance_id


def _run(services: Services, instance_id: UUID) -> None:
    """What ``execute`` does, but for what leaves the database."""
    opened = open_instance(services, instance_id, FlowKind.REFRESH)
    with services.database.read() as session:
        opening = select_only_opening(session, opened.flow.id)
    started = services.ledger.start(opened.flow.id, uuid4(), opening_id=opening)
    assert isinstance(started, Started)
    job = build_job(services, opened, started.run)
    guard(job, Gate.START)
    version = StoredVersion("nowhere", 0, None, None, "")
    publish(job, Result(Stored(version, "nothing", COLUMNS)))
    with services.database.read() as session:
        waiting = [event.id for event in select_unpublished(session, BATCH)]
    services.database.transact(lambda s: mark_published(s, waiting, services.now()))
