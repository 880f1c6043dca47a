"""Run one execution flow of an instance; shared by all kinds of flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from prefect import get_run_logger

from prefect_instances.flows.freshness_pages import show_freshness
from prefect_instances.flows.reporting import (
    current_run,
    end_already_failed,
    end_not_a_session,
    end_skipped,
    end_upstream_not_ready,
    report_errors,
)
from prefect_instances.libs.core.commands import AskedAgain, Blocked, Skipped
from prefect_instances.libs.core.errors import InstancesError, InvalidSpec, Problem
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import Cause, Mode
from prefect_instances.libs.db.repositories.resources import Named, get_instance
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.services.composition.changed_code import list_changed_of
from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.services.rendering.links import format_links, link_run
from prefect_instances.libs.services.runs.execution import NotASession, describe_error, execute
from prefect_instances.libs.services.runs.guardrails import GuardrailBlocked, tabulate_reports
from prefect_instances.libs.services.runs.procedures import run_procedure
from prefect_instances.libs.services.runs.publishing import Finished
from prefect_instances.libs.services.runs.run_context import Work
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import RunWish
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.services.views.explaining import as_markdown
from prefect_instances.libs.wiring import connect


def build_parameters(  # noqa: PLR0913  # one argument for each parameter of a flow
    mode: str = Mode.INCREMENTAL,
    as_of: date | None = None,
    force: bool = False,
    *,
    recursive: bool = False,
    smart: bool = False,
    start: date | None = None,
    end: date | None = None,
    accept_loss: bool = False,
) -> RunParameters:
    """Build the parameters of a run from the arguments of its flow."""
    return RunParameters(Mode(mode), as_of, force, recursive, smart, start, end, accept_loss)


def run_execution(kind: str, instance: str, opening: str | None, asked: RunParameters) -> Any:
    """Run a flow of an instance once and return the Prefect state of the outcome."""
    run = current_run()
    cause = Cause.SCHEDULE if run.auto_scheduled else Cause.MANUAL
    if asked.start is not None:
        cause = Cause.BACKFILL
    identities = [read_identity("instance", instance), read_identity("opening", opening or "")]
    problems = [found for found in identities if isinstance(found, Problem)]
    if problems:
        return report_errors(lambda: _refuse(problems), of_database=False)
    instance_id, opening_id = (found for found in identities if not isinstance(found, Problem))
    assert instance_id is not None
    work = Work(
        instance_id=instance_id,
        flow_run_id=run.id,
        opening_id=opening_id,
        ask=None if opening else RunWish(cause, asked),
        slot=run.expected_start_time if run.auto_scheduled else None,
        kind=kind,
    )
    return report_errors(lambda: _run(work, asked, run.tags), of_database=False)


def read_identity(name: str, text: str) -> UUID | Problem | None:
    """Return the id in a parameter of a flow, None if it is empty, a problem if it is no id."""
    try:
        return UUID(text) if text or name == "instance" else None
    except ValueError:
        return Problem(
            name, f"{text!r} is no id; `instances show NAME` tells the id of an instance"
        )


def _refuse(problems: Sequence[Problem]) -> Any:
    raise InvalidSpec(problems)


def _run(work: Work, asked: RunParameters, tags: Sequence[str]) -> Any:
    with connect() as services:
        if problems := asked.problems(services.now()):
            raise InvalidSpec(problems)
        services.refuse_foreign(tags)
        try:
            outcome = execute(services, work, run_procedure)
        except GuardrailBlocked as error:
            _show_blocked(services, work, error)
            raise
        except Exception as error:
            _show_failed(services, work, error)
            raise
        if isinstance(outcome, Skipped):
            return end_skipped(outcome)
        if isinstance(outcome, AskedAgain):
            return end_already_failed(outcome)
        if isinstance(outcome, Blocked):
            _show_waiting(services, work)
            return end_upstream_not_ready(outcome)
        if isinstance(outcome, NotASession):
            return end_not_a_session(outcome.calendar)
        get_run_logger().info("%s", _sentence(outcome))
        _show(services, outcome, work.flow_run_id)
        return None


def _show_blocked(services: Services, work: Work, error: GuardrailBlocked) -> None:
    """Write the guardrail reports of a blocked run as an artifact; a failure is only logged."""
    key = artifact_key(error.instance, work.kind, "guardrails")
    try:
        services.prefect.create_artifact(
            key, "table", tabulate_reports(error.reports), "Guardrail contracts", work.flow_run_id
        )
    except InstancesError as missing:
        get_run_logger().warning("artifact %s was not created: %s", key, missing)


def _show_failed(services: Services, work: Work, error: Exception) -> None:
    """Write why a run failed as the page of its flow; a failure of this is only logged."""
    try:
        with services.database.read() as session:
            instance = get_instance(session, str(work.instance_id))
        services.prefect.create_artifact(
            artifact_key(instance, work.kind, ""),
            "markdown",
            f"## {instance.label}\n\n{work.kind} failed: {as_markdown(describe_error(error))}",
            f"Summary of the last {work.kind} run",
            work.flow_run_id,
        )
    except InstancesError as missing:
        get_run_logger().warning("the page of the failure was not created: %s", missing)


def _show_waiting(services: Services, work: Work) -> None:
    """Write the check of the upstreams as artifacts of the run that waits for them."""
    try:
        show_freshness(services, str(work.instance_id), work.flow_run_id)
    except InstancesError as error:
        get_run_logger().warning("the table of the upstreams was not created: %s", error)


def _sentence(outcome: Finished) -> str:
    name = outcome.instance.label
    if outcome.kind not in ("refresh",):
        name = f"{name} ({outcome.kind})"
    if not outcome.generation:
        return f"{name} succeeded in {outcome.seconds:.1f} s; this flow publishes no version"
    if not outcome.published:
        return f"{name}: the output is unchanged; generation {outcome.generation} stays current"
    return (
        f"{name} published generation {outcome.generation}: {outcome.rows} rows "
        f"up to {outcome.last_data_date} in {outcome.seconds:.1f} s"
    )


def _show(services: Services, outcome: Finished, flow_run_id: UUID) -> None:
    """Write the artifacts of a run; a failed artifact does not fail a run that succeeded."""
    pages = [_summary(services, outcome), *outcome.pages]
    for page in pages:
        try:
            services.prefect.create_artifact(
                artifact_key(outcome.instance, outcome.kind, page.key),
                page.kind,
                page.data,
                page.description,
                flow_run_id,
            )
        except InstancesError as error:
            get_run_logger().warning("artifact %s was not created: %s", page.key, error)


def artifact_key(instance: Named, kind: str, page: str) -> str:
    """Return an artifact key: ``demo-sp500-prices``, plus the kind of flow and the page, if any."""
    parts: Sequence[str] = (instance.project, instance.name)
    parts = [*parts, *([] if kind == "refresh" else [kind])]
    return "-".join([*parts, *([page] if page else [])]).lower().replace("_", "-")


def _list_changed_code(services: Services, outcome: Finished) -> list[str]:
    with services.database.read() as session:
        return list_changed_of(session, services.registry, outcome.instance)


def _summary(services: Services, outcome: Finished) -> Page:
    """Summarise what a run read and published."""
    record = reports.run_info(services.database, str(outcome.run.id))
    lines = [
        f"## {outcome.instance.label}",
        "",
        _sentence(outcome),
        "",
        "| | |",
        "|---|---|",
    ]
    if outcome.generation:
        lines += [
            f"| output | generation {outcome.generation} |",
            f"| data up to | {outcome.last_data_date or '-'} |",
            f"| rows | {outcome.rows:,} |",
        ]
    lines += [f"| cause | {record['cause']} |", f"| run | `{record['id']}` |"]
    # Metrics that are tables have a page of their own.
    plain = {k: v for k, v in outcome.metrics.items() if k != "rows" and not isinstance(v, Mapping)}
    lines += [
        f"| {name.replace('_', ' ')} | {format_value(value)} |" for name, value in plain.items()
    ]
    lines += [
        f"| read `{pin['resource']}` as {pin['role']} | generation {pin['generation']} |"
        for pin in record["inputs"]
    ]
    for text in _list_changed_code(services, outcome):
        get_run_logger().warning("%s", text)
        lines += ["", f"**Changed code.** {as_markdown(text)}"]
    lines += format_links(link_run(services.settings, record["handles"], outcome.metrics))
    return Page("", "markdown", "\n".join(lines), f"Summary of the last {outcome.kind} run")
