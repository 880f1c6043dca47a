"""Publish the output of a run: write it to its store, then commit the success."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import cast
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.commands import Output
from prefect_instances.libs.core.errors import InstancesError
from prefect_instances.libs.core.records import Run
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.db.models import DatasetVersion
from prefect_instances.libs.db.repositories.resources import Named
from prefect_instances.libs.db.repositories.versions import select_locations
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.store import StoredVersion, StoreHandle
from prefect_instances.libs.services.runs.external_jobs import RecordedJobs
from prefect_instances.libs.services.runs.run_context import (
    Appended,
    Frame,
    Job,
    Result,
    Stored,
    inputs_changed_from,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import Publication
from prefect_instances.libs.services.state.retrying import choose_retry_policy
from prefect_instances.libs.specs import (
    due_window,
    expected_data_date,
    served_slot,
)

_log = logging.getLogger("instances.execution")

SWEEP_EVERY = 20
"""Publications between two clean-ups of a store.

Unused files stay few, and cleaning up costs almost nothing.
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that succeeded; ``published`` is False if the output was unchanged."""

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


@dataclass(frozen=True, slots=True)
class PreparedOutput:
    """An output that is ready to publish; ``stored`` is None if it equals the published one.

    ``changed_from`` is the first date that differs from the published output; None if any date may
    differ.
    """

    digest: str
    newest: date | None
    rows: int
    columns: tuple[str, ...]
    stored: StoredVersion | None
    changed_from: date | None = None


def publish(job: Job, result: Result) -> Finished:
    """Write the output, commit the success, then do what follows a publication.

    Raises Interrupted if the run has lost its claim: then nothing is published.
    """
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
        serves_slot=_serves_slot(job),
    )
    seconds = round((now - run.started_at) / timedelta(seconds=1), 3)
    metrics = {"rows": made.rows, **result.metrics, **_of_inputs(job), "seconds": seconds}
    metrics |= {f"external_job_{name}": job_id for name, job_id in job.external_jobs.used.items()}
    version = _version_row(run, made, made.stored, now) if made.stored else None
    artifacts = [dict[str, object](key=page.key, kind=page.kind) for page in result.pages]
    services.ledger.succeed(
        run.id,
        output,
        Publication(version, metrics, artifacts, result.drift, _recorded(job, result)),
        choose_retry_policy(services, job.schedule, run.id, run.retries),
    )
    _follow_up(job, result)
    generation = job.flow.generation + (1 if made.stored else 0)
    if (
        made.stored
        and isinstance(result.output, Frame | Appended)
        and generation % SWEEP_EVERY == 0
    ):
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


def _recorded(job: Job, result: Result) -> Callable[[Session], None]:
    """Return what the transaction that publishes writes beside the publication itself."""

    def record(session: Session) -> None:
        if isinstance(job.external_jobs, RecordedJobs):
            job.external_jobs.settle(session)
        if result.record is not None:
            result.record(session)

    return record


def _made(job: Job, output: Frame | Appended | Stored | None) -> PreparedOutput:
    """Write the output if it is new; it is invisible until the transaction that publishes it."""
    if output is None or (isinstance(output, Appended) and not output.later.height):
        current, flow = job.current, job.flow
        rows = current.rows if current else 0
        return PreparedOutput(flow.content_hash, flow.last_data_date, rows, (), None)
    if isinstance(output, Appended):
        return _made_of_added(job, output)
    if isinstance(output, Stored):
        forced = job.run.parameters.force or output.renewed
        new = forced or output.digest != job.flow.content_hash
        version = output.version
        return PreparedOutput(
            output.digest,
            version.max_date,
            version.rows,
            output.columns,
            version if new else None,
        )
    return _made_of_frame(job, output)


def _made_of_frame(job: Job, output: Frame) -> PreparedOutput:
    from prefect_instances.libs.definitions.content import check_frame, content_hash

    check_frame(output.rows)
    digest = content_hash(output.rows)
    base = job.current.location if job.current else None
    stored = changed = None
    if digest != job.flow.content_hash or job.run.parameters.force or job.lost:
        stored = output.store.write(output.rows, job.run.id, base)
        changed = _changed_from(job, output)
    columns = tuple(output.rows.columns)
    return PreparedOutput(digest, output.newest, output.rows.height, columns, stored, changed)


def _changed_from(job: Job, output: Frame) -> date | None:
    """Return the first date that differs from an output of the same configuration, or None."""
    from prefect_instances.libs.definitions.content import find_first_change

    if job.current is None or job.flow.consumed_config_version != job.run.config_version:
        return None
    return find_first_change(output.store.scan(job.current.location).collect(), output.rows)


def _made_of_added(job: Job, output: Appended) -> PreparedOutput:
    """Append the new rows; the cost does not depend on the rows that are already stored."""
    from prefect_instances.libs.definitions.content import check_frame, extend_hash

    assert job.current is not None
    later = output.later
    check_frame(later)
    stored = output.store.append(later, job.run.id, job.current.location)
    digest = extend_hash(job.flow.content_hash, later)
    first = cast("date | None", later["date"].min())
    return PreparedOutput(digest, stored.max_date, stored.rows, tuple(later.columns), stored, first)


def _follow_up(job: Job, result: Result) -> None:
    if result.after is None:
        return
    try:
        result.after()
    except InstancesError as error:
        _log.warning("%s: published, but a step after it failed: %s", job.run.id, error)


def _of_inputs(job: Job) -> dict[str, object]:
    """Return the metric of the first date at which the inputs changed, if it is known."""
    first = inputs_changed_from(job.inputs)
    return {} if first in (None, date.min) else {"inputs_changed_from": str(first)}


def _serves_slot(job: Job) -> bool:
    """Return True if the run serves the slot that is due; a run about the past does not."""
    asked, newest = job.run.parameters, job.flow.last_data_date
    return asked.end is None and not (asked.as_of and newest and asked.as_of < newest)


def _expected(job: Job, result: Result) -> date | None:
    """Return the newest data date that the served slot demands; None if it is not judged.

    After a run about a range of dates the last served slot still counts.
    """
    run, schedule = job.run, job.schedule
    if not result.frequency or run.parameters.as_of or run.cause is Cause.RERUN:
        return None
    at = run.started_at
    if not _serves_slot(job) and job.flow.next_due_at is not None:
        at = job.flow.next_due_at - timedelta(microseconds=1)
    slot = served_slot(schedule, at)
    return None if slot is None else expected_data_date(result.frequency, schedule, slot)


def _sweep_store(services: Services, store: StoreHandle, flow_id: UUID) -> None:
    """Remove files of runs that died before publication; a failure is only logged."""
    with services.database.read() as session:
        published = select_locations(session, flow_id)
    try:
        store.sweep(published)
    except InstancesError as error:
        _log.warning("unused files stay until the next clean-up of this store: %s", error)


def _version_row(
    run: Run, made: PreparedOutput, stored: StoredVersion, now: datetime
) -> DatasetVersion:
    """Build the row of a version; it has the id of its run, which publishes at most one."""
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
        changed_from=made.changed_from,
    )
