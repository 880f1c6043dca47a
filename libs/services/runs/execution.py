"""Execute one run of a flow of any kind: claim, read the pinned inputs, compute, publish."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from prefect_instances.libs.core.commands import AskedAgain, Blocked, Skipped, Started
from prefect_instances.libs.core.errors import InstancesError, Interrupted
from prefect_instances.libs.core.records import Run
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.core.texts import escape_unstorable
from prefect_instances.libs.db.repositories.runs import select_outcomes_since
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.guardrails import Gate, Report
from prefect_instances.libs.services.runs.guardrails import (
    GuardrailBlocked,
    guard,
    tabulate_reports,
)
from prefect_instances.libs.services.runs.heartbeat import heartbeat
from prefect_instances.libs.services.runs.opened import open_instance
from prefect_instances.libs.services.runs.preflight import begin
from prefect_instances.libs.services.runs.publishing import Finished, publish
from prefect_instances.libs.services.runs.run_context import (
    Appended,
    Frame,
    Job,
    Procedure,
    Result,
    Stored,
    Work,
    build_job,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.services.state.retrying import choose_retry_policy
from prefect_instances.libs.specs import ScheduleSpec, is_session

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger("instances.execution")


@dataclass(frozen=True, slots=True)
class NotASession:
    """A scheduled run on a day without a session in its calendar: there is nothing to do."""

    calendar: str


Outcome = Finished | Skipped | AskedAgain | Blocked | NotASession


def execute(services: Services, work: Work, procedure: Procedure) -> Outcome:
    """Run a flow of an instance once.

    Any error of a claimed run is recorded as its failure and raised again. Raises Interrupted if
    the run has lost its claim: then nothing is published. Raises DefinitionUnavailable before a run
    starts if a definition cannot be used.
    """
    opened = open_instance(services, work.instance_id, work.kind)
    schedule = opened.spec.schedule_of(work.kind, opened.flow.schedule_json)
    if work.slot is not None and not is_session(schedule, work.slot):
        return NotASession(schedule.calendar)
    if work.slot is not None and _is_served(services, opened.flow.id, work.slot):
        return Skipped("a run that started after this slot has already served it")
    started = begin(services, opened, work)
    if not isinstance(started, Started):
        return started
    try:
        with heartbeat(services, started.run.id):
            job = build_job(services, opened, started.run)
            reports = guard(job, Gate.START)
            result = procedure(job)
            reports += _guard_output(job, result)
            finished = publish(job, _with_guardrails(result, reports))
    except Interrupted:
        raise
    except Exception as error:
        _record_failure(services, schedule, started.run, error)
        raise
    relay_or_leave(services)
    return finished


def _guard_output(job: Job, result: Result) -> list[Report]:
    """Judge the output of a run; raise as ``guard`` does."""
    kept = job.current.rows if job.current and isinstance(result.output, Appended) else 0
    try:
        return guard(job, Gate.WRITE, _written(result.output), result.metrics, kept)
    except GuardrailBlocked as error:
        _tell(result, error)
        raise


def _tell(result: Result, blocked: GuardrailBlocked) -> None:
    """Record why a guardrail blocks an output that is already stored; only log an error here."""
    if result.blocked is None:
        return
    try:
        result.blocked(str(blocked))
    except InstancesError as error:
        _log.warning("the blocked output could not be marked: %s", error)


def _written(output: Frame | Appended | Stored | None) -> pl.DataFrame | None:
    """Return the rows that are about to be written; of a version that grows, only the new rows."""
    if isinstance(output, Frame):
        return output.rows
    return output.later if isinstance(output, Appended) and output.later.height else None


def _with_guardrails(result: Result, reports: Sequence[Report]) -> Result:
    page = Page("guardrails", "table", tabulate_reports(reports), "Guardrail contracts")
    return replace(result, pages=[*result.pages, page]) if reports else result


def _is_served(services: Services, flow_id: UUID, slot: datetime) -> bool:
    """Return True if a run that started after the slot has succeeded or is in progress.

    So if several slots are late together, because no worker was running, one run serves all of
    them. A run about a past range of dates serves no slot.
    """
    serving = (RunStatus.RUNNING, RunStatus.COMPLETED)
    with services.database.read() as session:
        return any(
            status in serving and not parameters.about_the_past
            for _, status, parameters in select_outcomes_since(session, flow_id, slot)
        )


def _record_failure(services: Services, schedule: ScheduleSpec, run: Run, error: Exception) -> None:
    """Record the failure, unless the run was declared dead meanwhile and has ended already."""
    text = describe_error(error)
    policy = choose_retry_policy(services, schedule, run.id, run.retries)
    try:
        services.ledger.end_badly(run.id, RunStatus.FAILED, text[:2000], policy)
    except Interrupted as lost:
        _log.warning("%s", lost)
        return
    relay_or_leave(services)


def describe_error(error: Exception) -> str:
    """Return the text of an error; one that is not of this project begins with its type."""
    text = escape_unstorable(str(error)).strip() or type(error).__name__
    return text if isinstance(error, InstancesError) else f"{type(error).__name__}: {text}"
