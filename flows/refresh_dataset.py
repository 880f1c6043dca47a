"""The execution flow of datasets and signals."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from prefect import flow, get_run_logger

from flows.reporting import (
    current_run,
    not_a_session,
    reported,
    skipped,
    upstream_not_ready,
)
from libs.core.commands import Blocked, Skipped
from libs.core.records import RunParameters
from libs.core.status import Cause, Mode
from libs.services import reports
from libs.services.context import Services
from libs.services.ledger import Ask
from libs.services.refresh import NotASession, Refreshed, Work, refresh
from libs.wiring import connect


@flow(name="refresh-dataset", persist_result=False)
def refresh_dataset(
    instance: str,
    opening: str | None = None,
    mode: Literal["incremental", "full"] = "incremental",
    as_of: date | None = None,
    force: bool = False,
) -> Any:
    """Refresh a dataset or signal: read what is pinned, extract, store, publish.

    Args:
        instance: Id of the instance; the deployment knows it.
        opening: The gate opening that this run is for; set by the automation, never by hand.
        mode: incremental adds to what is stored, full reads everything anew.
        as_of: Newest day of data to read; empty for all there is.
        force: Run on the last published inputs whatever their status, and publish even if the
            output is unchanged.
    """
    run = current_run()
    asked = RunParameters(mode=Mode(mode), as_of=as_of, force=force)
    slot: datetime | None = run.expected_start_time if run.auto_scheduled else None
    cause = Cause.SCHEDULE if run.auto_scheduled else Cause.MANUAL
    work = Work(
        instance_id=UUID(instance),
        flow_run_id=run.id,
        opening_id=UUID(opening) if opening else None,
        ask=None if opening else Ask(cause, asked),
        slot=slot,
    )
    return reported(lambda: _refresh(work))


def _refresh(work: Work) -> Any:
    with connect() as services:
        outcome = refresh(services, work)
        if isinstance(outcome, Skipped):
            return skipped(outcome)
        if isinstance(outcome, Blocked):
            return upstream_not_ready(outcome)
        if isinstance(outcome, NotASession):
            return not_a_session(outcome.calendar)
        get_run_logger().info("%s", _sentence(outcome))
        _show(services, outcome, work.flow_run_id)
        return None


def _sentence(outcome: Refreshed) -> str:
    name = f"{outcome.project}/{outcome.name}"
    if not outcome.published:
        return f"{name} is unchanged: generation {outcome.generation} stays current"
    return (
        f"{name} published generation {outcome.generation}: {outcome.rows} rows "
        f"up to {outcome.last_data_date} in {outcome.seconds:.1f} s"
    )


def _show(services: Services, outcome: Refreshed, flow_run_id: UUID) -> None:
    """A page for people: what was read and what came of it."""
    record = reports.run_info(services.database, str(outcome.run.id))
    lines = [
        f"## {outcome.project}/{outcome.name}",
        "",
        _sentence(outcome),
        "",
        "| | |",
        "|---|---|",
        f"| output | generation {outcome.generation} |",
        f"| rows | {outcome.rows} |",
        f"| data up to | {outcome.last_data_date or '-'} |",
        f"| cause | {record['cause']} |",
        f"| run | `{record['id']}` |",
    ]
    lines += [
        f"| read `{pin['resource']}` as {pin['role']} | generation {pin['generation']} |"
        for pin in record["inputs"]
    ]
    key = f"{outcome.project}-{outcome.name}".lower().replace("_", "-")
    services.prefect.create_artifact(
        key, "markdown", "\n".join(lines), "What the last refresh did", flow_run_id
    )
