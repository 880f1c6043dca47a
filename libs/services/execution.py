"""One run of a flow, whatever its kind: claim, read the pinned inputs, compute, publish.

What a kind of flow computes is its *procedure*: a function from a ``Job`` to a ``Result``, in a
module of its own beside this one. Everything else is the same for all of them and lives here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, cast
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from libs.core.commands import Blocked, Output, RetryPolicy, Skipped, Started
from libs.core.errors import InstancesError, Interrupted, NotFound
from libs.core.records import Pin, Run
from libs.core.status import Cause, FlowKind, RunStatus
from libs.db.models import DatasetVersion, FlowExecutionResource, Resource, RunRecord
from libs.db.repositories.resources import Named, find_instance, newest_version
from libs.definitions.guardrails import Gate, Report
from libs.definitions.store import StoredVersion, StoreHandle
from libs.services.context import Services
from libs.services.data import read_version
from libs.services.guarding import guard, rows_of
from libs.services.heartbeat import heartbeat
from libs.services.ledger import Ask, Drift, Publication
from libs.services.relay import relay_or_leave
from libs.specs import (
    ComponentSpec,
    InstanceSpec,
    ScheduleSpec,
    due_window,
    expected_data_date,
    is_session,
    parse_spec,
    retry_delay,
    served_slot,
)

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger("instances.execution")

SWEEP_EVERY = 20
"""Publications between two sweeps of a store: leftovers stay few, and sweeping costs nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a Prefect flow run was started to do; ``slot`` is the schedule's, if that started it."""

    instance_id: UUID
    flow_run_id: UUID
    opening_id: UUID | None
    ask: Ask | None
    slot: datetime | None = None
    kind: str = FlowKind.REFRESH


@dataclass(frozen=True, slots=True)
class NotASession:
    """A scheduled run on a day that its calendar has no session: there is nothing to do."""

    calendar: str


@dataclass(frozen=True, slots=True)
class PinnedInput:
    """What one upstream edge was pinned to: the version, and its rows through the accessor.

    ``frame`` is read only when it is collected; for a version that is no frame (a model) it is
    not to be collected at all.
    """

    resource: str
    role: str
    flow_kind: str
    instance_id: UUID
    version: DatasetVersion
    services: Services

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows: (date x symbol) long, one column a field."""
        return read_version(self.services, self.version.id)


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a procedure works with. ``current`` is the version that is published now.

    In a ``rehearsal`` nothing outside may change: the result is compared and thrown away.
    """

    services: Services
    instance: Named
    spec: InstanceSpec
    flow: FlowExecutionResource
    run: Run
    inputs: Sequence[PinnedInput]
    current: DatasetVersion | None
    rehearsal: bool = False

    @property
    def kind(self) -> str:
        """The kind of flow that runs."""
        return self.flow.kind

    def component(self, role: str) -> ComponentSpec | None:
        """A component as it was when a run that is repeated was made; None for as it is now."""
        return self.spec.components()[role] if self.rehearsal else None

    @property
    def schedule(self) -> ScheduleSpec:
        """When the flow is due."""
        return self.spec.schedule_of(self.kind)


@dataclass(frozen=True, slots=True)
class Page:
    """Something for people to look at: it becomes a Prefect artifact of the run.

    ``key`` tells the pages of one flow apart; ``data`` is markdown, in which an image may be a data
    URI, or the rows of a table. (Prefect's own image artifacts print the whole URI below.)
    """

    key: str
    kind: Literal["markdown", "table"]
    data: object
    description: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows to publish, and the store that keeps them."""

    rows: pl.DataFrame
    store: StoreHandle

    @property
    def newest(self) -> date | None:
        """The newest date of the rows."""
        if not self.rows.height or "date" not in self.rows.columns:
            return None
        return cast("date | None", self.rows["date"].max())


@dataclass(frozen=True, slots=True)
class Added:
    """Rows, all of later dates, by which the published version grows; none: it stays current."""

    later: pl.DataFrame
    store: StoreHandle


@dataclass(frozen=True, slots=True)
class Stored:
    """An output that is no frame, kept elsewhere already: where, and what identifies it.

    ``digest`` equals that of the published output exactly where both are the same.
    """

    version: StoredVersion
    digest: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a procedure made. ``output`` is None where the published one stays current.

    ``frequency`` says how often the source has new data, None where lateness is not judged.
    ``drift`` is what monitoring found past its threshold; ``record`` writes more in the
    transaction that publishes, ``after`` does elsewhere what only a published output deserves: it
    is lost with a process that dies before it, and an error of it fails nothing any more.
    """

    output: Frame | Added | Stored | None
    metrics: Mapping[str, object] = field(default_factory=dict)
    pages: Sequence[Page] = ()
    frequency: str | None = None
    drift: Drift | None = None
    record: Callable[[Session], None] | None = None
    after: Callable[[], None] | None = None


Procedure = Callable[[Job], Result]


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that succeeded: ``published`` is False where the output was unchanged."""

    instance: Named
    kind: str
    run: Run
    published: bool
    rows: int
    last_data_date: date | None
    generation: int
    seconds: float
    metrics: Mapping[str, object]
    pages: Sequence[Page]


Outcome = Finished | Skipped | Blocked | NotASession


def execute(services: Services, work: Work, procedure: Procedure) -> Outcome:
    """Run a flow of an instance once.

    Any error is recorded as the failure of the run and raised again. Raises Interrupted where the
    run lost its claim meanwhile: then nothing was published.
    """
    with services.database.read() as session:
        flow_id = _flow_id(session, work)
        spec = _spec(session, work.instance_id)
    schedule = spec.schedule_of(work.kind)
    if work.slot is not None and not is_session(schedule, work.slot):
        return NotASession(schedule.calendar)
    if work.slot is not None and _is_served(services, flow_id, work.slot):
        return Skipped("a run that began after this slot has served it")
    started = services.ledger.start(
        flow_id, work.flow_run_id, opening_id=work.opening_id, ask=work.ask
    )
    relay_or_leave(services)
    if not isinstance(started, Started):
        return started
    try:
        with heartbeat(services, started.run.id):
            job = _job(services, work.instance_id, started.run)
            reports = guard(job, Gate.START)
            result = procedure(job)
            kept = job.current.rows if job.current and isinstance(result.output, Added) else 0
            reports += guard(job, Gate.WRITE, _written(result.output), result.metrics, kept)
            finished = _publish(job, _with_guardrails(result, reports))
    except Interrupted:
        raise
    except Exception as error:
        _record_failure(services, spec, work.kind, started.run, error)
        raise
    relay_or_leave(services)
    return finished


def _written(output: Frame | Added | Stored | None) -> pl.DataFrame | None:
    """The rows that are about to be written; of a version that grows, only those added."""
    if isinstance(output, Frame):
        return output.rows
    return output.later if isinstance(output, Added) and output.later.height else None


def _with_guardrails(result: Result, reports: Sequence[Report]) -> Result:
    page = Page("guardrails", "table", rows_of(reports), "Guardrail contracts")
    return replace(result, pages=[*result.pages, page]) if reports else result


NO_SLOT = frozenset({Cause.BACKFILL, Cause.RERUN})
"""Causes of runs that are about the past: they serve no slot, and no slot judges their data."""


def _is_served(services: Services, flow_id: UUID, slot: datetime) -> bool:
    """Whether a run that began after the slot has done, or does, what the slot is for.

    So of slots that come late together, when a worker was away, the first one is run for all.
    """
    query = select(RunRecord.parameters).where(
        RunRecord.flow_id == flow_id,
        RunRecord.started_at >= slot,
        RunRecord.status.in_((RunStatus.RUNNING, RunStatus.COMPLETED)),
        RunRecord.cause.not_in(NO_SLOT),
    )
    with services.database.read() as session:
        return any(not parameters.get("as_of") for parameters in session.scalars(query))


def _flow_id(session: Session, work: Work) -> UUID:
    flow = FlowExecutionResource
    query = select(flow.id).where(flow.instance_id == work.instance_id, flow.kind == work.kind)
    flow_id = session.scalar(query)
    if flow_id is None:
        raise NotFound("instance", str(work.instance_id))
    return flow_id


def _spec(session: Session, instance_id: UUID) -> InstanceSpec:
    version = newest_version(session, instance_id)
    if version is None:
        raise NotFound("instance", str(instance_id))
    return parse_spec(version.spec_json)


def _job(services: Services, instance_id: UUID, run: Run) -> Job:
    with services.database.read() as session:
        flow = session.get_one(FlowExecutionResource, run.flow_id)
        instance = find_instance(session, str(instance_id))
        if instance is None:
            raise NotFound("instance", str(instance_id))
        current = session.get(DatasetVersion, flow.version_id) if flow.version_id else None
        spec = _spec(session, instance_id)
        inputs = [
            found for pin in run.pins if (found := pinned_input(services, session, pin)) is not None
        ]
    return Job(services, instance, spec, flow, run, inputs, current)


def pinned_input(services: Services, session: Session, pin: Pin) -> PinnedInput | None:
    """What a pin stands for; None where the upstream had published nothing."""
    if pin.version_id is None:
        return None
    upstream = session.get_one(FlowExecutionResource, pin.upstream)
    return PinnedInput(
        resource=session.get_one(Resource, upstream.instance_id).name,
        role=pin.role,
        flow_kind=upstream.kind,
        instance_id=upstream.instance_id,
        version=session.get_one(DatasetVersion, pin.version_id),
        services=services,
    )


def _record_failure(
    services: Services, spec: InstanceSpec, kind: str, run: Run, error: Exception
) -> None:
    """Commit the failure; a run that was declared dead meanwhile has its end already."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, InstancesError):
        text = f"{type(error).__name__}: {text}"
    policy = _retry_policy(services, spec, kind, run)
    try:
        services.ledger.end_badly(run.id, RunStatus.FAILED, text[:2000], policy)
    except Interrupted as lost:
        _log.warning("%s", lost)
        return
    relay_or_leave(services)


def _retry_policy(services: Services, spec: InstanceSpec, kind: str, run: Run) -> RetryPolicy:
    """The schedule says how often a failure is repeated; crashes have a setting of their own."""
    base, schedule = services.ledger.retry, spec.schedule_of(kind)
    delay = retry_delay(schedule, run.retries + 1, str(run.id))
    if delay is None:
        return base
    return RetryPolicy(
        failed=schedule.max_retries,
        failed_delay=delay,
        crashed=base.crashed,
        crashed_delay=base.crashed_delay,
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """An output as it is published; ``stored`` is None where it equals what is published."""

    digest: str
    newest: date | None
    rows: int
    columns: tuple[str, ...]
    stored: StoredVersion | None


def _made(job: Job, output: Frame | Added | Stored | None) -> _Made:
    """Write what is new; nothing is visible before the transaction that publishes it."""
    if output is None or (isinstance(output, Added) and not output.later.height):
        current, flow = job.current, job.flow
        rows = current.rows if current else 0
        return _Made(flow.content_hash, flow.last_data_date, rows, (), None)
    if isinstance(output, Added):
        return _made_of_added(job, output)
    if isinstance(output, Stored):
        new = output.digest != job.flow.content_hash or job.run.parameters.force
        version = output.version
        return _Made(
            output.digest,
            version.max_date,
            version.rows,
            output.columns,
            version if new else None,
        )
    return _made_of_frame(job, output)


def _made_of_frame(job: Job, output: Frame) -> _Made:
    from libs.definitions.content import check_frame, content_hash

    check_frame(output.rows)
    digest = content_hash(output.rows)
    base = job.current.location if job.current else None
    stored = None
    if digest != job.flow.content_hash or job.run.parameters.force:
        stored = output.store.write(output.rows, job.run.id, base)
    columns = tuple(output.rows.columns)
    return _Made(digest, output.newest, output.rows.height, columns, stored)


def _made_of_added(job: Job, output: Added) -> _Made:
    """Without the rows that are there already: what it costs depends on the new ones only."""
    from libs.definitions.content import check_frame, extend_hash

    assert job.current is not None
    later = output.later
    check_frame(later)
    stored = output.store.append(later, job.run.id, job.current.location)
    digest = extend_hash(job.flow.content_hash, later)
    return _Made(digest, stored.max_date, stored.rows, tuple(later.columns), stored)


def _publish(job: Job, result: Result) -> Finished:
    services, run = job.services, job.run
    made = _made(job, result.output)
    now = services.now()
    due = due_window(job.schedule, run.started_at)
    output = Output(
        version_id=run.id if made.stored else None,
        content_hash=made.digest,
        last_data_date=made.newest,
        next_due_at=due[0] if due else None,
        due_deadline=due[1] if due else None,
        expected_data_date=_expected(job, result),
    )
    seconds = round((now - run.started_at) / timedelta(seconds=1), 3)
    metrics = {"rows": made.rows, **result.metrics, "seconds": seconds}
    version = _version_row(run, made, made.stored, now) if made.stored else None
    artifacts = [dict[str, object](key=page.key, kind=page.kind) for page in result.pages]
    services.ledger.succeed(
        run.id,
        output,
        Publication(version, metrics, artifacts, result.drift, result.record),
        _retry_policy(services, job.spec, job.kind, run),
    )
    _follow_up(job, result)
    generation = job.flow.generation + (1 if made.stored else 0)
    if made.stored and isinstance(result.output, Frame | Added) and generation % SWEEP_EVERY == 0:
        _sweep_store(services, result.output.store, run.flow_id)
    return Finished(
        instance=job.instance,
        kind=job.kind,
        run=run,
        published=made.stored is not None,
        rows=made.rows,
        last_data_date=made.newest,
        generation=generation,
        seconds=seconds,
        metrics=metrics,
        pages=result.pages,
    )


def _follow_up(job: Job, result: Result) -> None:
    if result.after is None:
        return
    try:
        result.after()
    except InstancesError as error:
        _log.warning("%s: published, but not everything that follows: %s", job.run.id, error)


def _expected(job: Job, result: Result) -> date | None:
    """What the slot that this run serves demands of the newest data; None: it is not judged."""
    run = job.run
    if not result.frequency or run.parameters.as_of or run.cause in NO_SLOT:
        return None
    slot = served_slot(job.schedule, run.started_at)
    return None if slot is None else expected_data_date(result.frequency, job.schedule, slot)


def _sweep_store(services: Services, store: StoreHandle, flow_id: UUID) -> None:
    """Remove what runs left behind that died before they published; a failure costs only space."""
    query = select(DatasetVersion.location).where(DatasetVersion.flow_id == flow_id)
    with services.database.read() as session:
        published = set(session.scalars(query))
    try:
        store.sweep(published)
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
        columns=list(made.columns),
        schema_hash=stored.schema_hash,
        content_hash=made.digest,
        produced_by_run=run.id,
        created_at=now,
    )
