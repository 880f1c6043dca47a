"""One run of a dataset or signal: claim, read the pinned inputs, extract, store, publish."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, cast
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from libs.core.commands import Blocked, Output, RetryPolicy, Skipped, Started
from libs.core.errors import InstancesError, Interrupted, NotFound
from libs.core.records import Run
from libs.core.status import FlowKind, Mode, RunStatus
from libs.db.models import DatasetVersion, FlowExecutionResource, Resource
from libs.definitions.content import check_frame, check_signal, content_hash, merge
from libs.definitions.pipeline import ExtractContext, Input
from libs.definitions.store import StoredVersion
from libs.services.context import Services
from libs.services.data import Data, open_data, read_version
from libs.services.heartbeat import heartbeat
from libs.services.ledger import Ask, Publication
from libs.services.relay import relay_or_leave
from libs.specs import SignalContract, due_window, is_session, retry_delay

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger("instances.refresh")

SWEEP_EVERY = 20
"""Publications between two sweeps of a store: leftovers stay few, and sweeping costs nothing."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A run that succeeded: ``published`` is False where the output was unchanged."""

    project: str
    name: str
    run: Run
    published: bool
    rows: int
    last_data_date: date | None
    generation: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a Prefect flow run was started to do; ``slot`` is the schedule's, if that started it."""

    instance_id: UUID
    flow_run_id: UUID
    opening_id: UUID | None
    ask: Ask | None
    slot: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotASession:
    """A scheduled run on a day that its calendar has no session: there is nothing to do."""

    calendar: str


def refresh(services: Services, work: Work) -> Refreshed | Skipped | Blocked | NotASession:
    """Run the refresh flow of an instance once.

    Any error is recorded as the failure of the run and raised again. Raises Interrupted where the
    run lost its claim meanwhile: then nothing was published.
    """
    with services.database.read() as session:
        flow_id = _refresh_flow(session, work.instance_id)
    if work.slot is not None:
        schedule = open_data(services, work.instance_id).schedule
        if not is_session(schedule, work.slot):
            return NotASession(schedule.calendar)
    started = services.ledger.start(
        flow_id, work.flow_run_id, opening_id=work.opening_id, ask=work.ask
    )
    relay_or_leave(services)
    if not isinstance(started, Started):
        return started
    run = started.run
    try:
        with heartbeat(services, run.id):
            refreshed = _execute(services, work.instance_id, run)
    except Interrupted:
        raise
    except Exception as error:
        _record_failure(services, work.instance_id, run, error)
        raise
    relay_or_leave(services)
    return refreshed


def _refresh_flow(session: Session, instance_id: UUID) -> UUID:
    flow = FlowExecutionResource
    query = select(flow.id).where(flow.instance_id == instance_id, flow.kind == FlowKind.REFRESH)
    flow_id = session.scalar(query)
    if flow_id is None:
        raise NotFound("instance", str(instance_id))
    return flow_id


def _record_failure(services: Services, instance_id: UUID, run: Run, error: Exception) -> None:
    """Commit the failure; a run that was declared dead meanwhile has its end already."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, InstancesError):
        text = f"{type(error).__name__}: {text}"
    try:
        services.ledger.end_badly(
            run.id, RunStatus.FAILED, text[:2000], _retry_policy(services, instance_id, run)
        )
    except Interrupted as lost:
        _log.warning("%s", lost)
        return
    relay_or_leave(services)


def _retry_policy(services: Services, instance_id: UUID, run: Run) -> RetryPolicy:
    """The schedule says how often a failure is repeated; crashes have a setting of their own."""
    base = services.ledger.retry
    try:
        schedule = open_data(services, instance_id).schedule
    except InstancesError:
        # A composition that cannot be opened is the failure itself: repeating it helps nobody.
        return base
    delay = retry_delay(schedule, run.retries + 1)
    if delay is None:
        return base
    return RetryPolicy(
        failed=schedule.max_retries,
        failed_delay=delay,
        crashed=base.crashed,
        crashed_delay=base.crashed_delay,
    )


@dataclass(frozen=True, slots=True)
class _Current:
    """The published version that a run builds on."""

    flow: FlowExecutionResource
    project: str
    version: DatasetVersion | None


@dataclass(frozen=True, slots=True)
class _Made:
    """What a run computed: ``stored`` is None where it equals what is published."""

    frame: pl.DataFrame
    digest: str
    stored: StoredVersion | None

    @property
    def newest(self) -> date | None:
        return cast("date | None", self.frame["date"].max()) if self.frame.height else None


def _execute(services: Services, instance_id: UUID, run: Run) -> Refreshed:
    data = open_data(services, instance_id)
    current = _current(services, run.flow_id)
    frame = _new_frame(services, data, current, run)
    check_frame(frame)
    if data.signal is not None:
        _check_signal(frame, data.signal)
    digest = content_hash(frame)
    unchanged = digest == current.flow.content_hash and not run.parameters.force
    base = current.version.location if current.version else None
    stored = None if unchanged else data.store.write(frame, run.id, base)
    return _publish(services, data, current, run, _Made(frame, digest, stored))


def _check_signal(frame: pl.DataFrame, signal: SignalContract) -> None:
    check_signal(
        frame,
        min_value=signal.min_value,
        max_value=signal.max_value,
        allow_nan=signal.allow_nan,
        index_columns=signal.index_columns,
    )


def _current(services: Services, flow_id: UUID) -> _Current:
    with services.database.read() as session:
        flow = session.get_one(FlowExecutionResource, flow_id)
        version = session.get(DatasetVersion, flow.version_id) if flow.version_id else None
        instance = session.get_one(Resource, flow.instance_id)
        project = session.get_one(Resource, instance.parent_id)
    return _Current(flow, project.name, version)


def _new_frame(services: Services, data: Data, current: _Current, run: Run) -> pl.DataFrame:
    """The whole dataset as it will be after this run."""
    stored = _stored(data, current, run)
    since = current.flow.last_data_date if stored is not None else None
    context = ExtractContext(data.name, run.started_at, run.parameters.as_of, run.parameters.mode)
    extract = data.pipeline.extract(context, _inputs(services, run), since)
    return merge(stored, extract, since)


def _stored(data: Data, current: _Current, run: Run) -> pl.DataFrame | None:
    """What an incremental run adds to; None where everything is read anew.

    That is the case for the first run, for mode full, after a change of the configuration, and
    when the data are asked for as of a day before the newest that is stored.
    """
    flow, as_of = current.flow, run.parameters.as_of
    newest = flow.last_data_date
    if current.version is None or run.parameters.mode is Mode.FULL or newest is None:
        return None
    if flow.consumed_config_version != run.config_version or (as_of and as_of < newest):
        return None
    return data.store.scan(current.version.location).collect()


def _inputs(services: Services, run: Run) -> list[Input]:
    """The pinned versions, in the order of the instance's references, through their accessors."""
    inputs = []
    for pin in run.pins:
        if pin.version_id is None:
            continue
        with services.database.read() as session:
            upstream = session.get_one(FlowExecutionResource, pin.upstream)
            name = session.get_one(Resource, upstream.instance_id).name
        inputs.append(Input(name, pin.role, read_version(services, pin.version_id)))
    return inputs


def _publish(services: Services, data: Data, current: _Current, run: Run, made: _Made) -> Refreshed:
    now, stored = services.now(), made.stored
    due = due_window(data.schedule, run.started_at)
    output = Output(
        version_id=run.id if stored else None,
        content_hash=made.digest,
        last_data_date=made.newest,
        next_due_at=due[0] if due else None,
        due_deadline=due[1] if due else None,
    )
    seconds = round((now - run.started_at) / timedelta(seconds=1), 3)
    metrics: dict[str, object] = {"rows": made.frame.height, "seconds": seconds}
    version = _version_row(run, made, stored, now) if stored else None
    services.ledger.succeed(run.id, output, Publication(version, metrics))
    if stored and (current.flow.generation + 1) % SWEEP_EVERY == 0:
        _sweep_store(services, data, run.flow_id)
    return Refreshed(
        project=current.project,
        name=data.name,
        run=run,
        published=stored is not None,
        rows=made.frame.height,
        last_data_date=made.newest,
        generation=current.flow.generation + (1 if stored else 0),
        seconds=seconds,
    )


def _sweep_store(services: Services, data: Data, flow_id: UUID) -> None:
    """Remove what runs left behind that died before they published; a failure costs only space."""
    query = select(DatasetVersion.location).where(DatasetVersion.flow_id == flow_id)
    with services.database.read() as session:
        published = set(session.scalars(query))
    try:
        data.store.sweep(published)
    except InstancesError as error:
        _log.warning("leftovers stay until the next sweep of this store: %s", error)


def _version_row(run: Run, made: _Made, stored: StoredVersion, now: datetime) -> DatasetVersion:
    """The version's id is its run's: one run publishes at most one."""
    return DatasetVersion(
        id=run.id,
        flow_id=run.flow_id,
        generation=0,
        location=stored.location,
        rows=stored.rows,
        min_date=stored.min_date,
        max_date=stored.max_date,
        columns=list(made.frame.columns),
        schema_hash=stored.schema_hash,
        content_hash=made.digest,
        produced_by_run=run.id,
        created_at=now,
    )
