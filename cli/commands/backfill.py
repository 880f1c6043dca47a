"""``backfill``: read a past range of dates of a dataset or signal again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from prefect_instances.cli.commands.arguments import Json, Name, Timeout
from prefect_instances.cli.output import emit_json, emit_rows, end_not_ready, format_cell
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.session import open_services, utc_now
from prefect_instances.cli.waiting import (
    Patience,
    build_settled,
    statuses_of,
    submit,
    wait_for_run,
    wait_until_served,
    wait_until_settled,
)
from prefect_instances.libs.core.backfill import Chunk
from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.services.runs.backfilling import (
    BackfillRequest,
    downstream,
    read_progress,
)
from prefect_instances.libs.services.state.context import Services

BACKFILL = "backfill-instance/default"
ARTIFACT = "backfill"
HEADERS = ("start", "end", "run", "generation", "changed_from")

Day = datetime
FORMATS = ["%Y-%m-%d"]


def backfill(  # one argument for each option of the command
    name: Name,
    start: Annotated[Day, typer.Option("--start", formats=FORMATS, help="First day to read.")],
    end: Annotated[Day, typer.Option("--end", formats=FORMATS, help="Last day to read.")],
    chunk: Annotated[
        Chunk, typer.Option("--chunk", help="Range of dates that one run reads.")
    ] = Chunk.MONTH,
    downstream: Annotated[
        bool,
        typer.Option(
            "--downstream",
            help="Also run downstream flows that are not triggered (trainings, backtests), and "
            "wait for everything downstream; exit with 3 if something is not READY.",
        ),
    ] = False,
    timeout: Timeout = 0.0,
    json: Json = False,
) -> None:
    """Read a past range of dates again, in several runs.

    If the source has revised its history, a new version is published and its downstreams run.
    After an interruption, the same command continues.
    """
    asked = BackfillRequest(start.date(), end.date(), chunk, downstream)
    asked.pieces()
    if problems := RunParameters(start=asked.start, end=asked.end).problems(utc_now()):
        raise InvalidSpec(problems)
    with open_services() as services:
        patience = Patience.of(timeout)
        message, rows = _run_backfill(services, name, asked, patience, json)
        missing = _wait_downstream(services, name, patience, json) if downstream else []
    if json:
        emit_json({"backfill": rows, "message": message})
    else:
        emit_rows(HEADERS, [[format_cell(row[header]) for header in HEADERS] for row in rows])
        print(message)
    end_not_ready(missing)


def _run_backfill(
    services: Services, name: str, asked: BackfillRequest, patience: Patience, json: bool
) -> tuple[str, list[dict[str, Any]]]:
    """Run the backfill and show its progress; return its last message and one row per piece."""

    def describe_progress() -> str:
        progress = read_progress(services.database, name, asked)
        return str(progress) if progress else ""

    describe_progress()
    parameters = {
        "instance": name,
        "start": asked.start.isoformat(),
        "end": asked.end.isoformat(),
        "chunk": asked.chunk.value,
        "downstream": asked.downstream,
    }
    with Progress(json=json) as progress:
        started = submit(services, BACKFILL, parameters)
        what = f"backfill of {name}"
        ended = wait_for_run(services, started, what, progress, patience, how_far=describe_progress)
    return ended.message, services.prefect.read_artifact(ARTIFACT, started.id) or []


def _wait_downstream(services: Services, name: str, patience: Patience, json: bool) -> list[str]:
    """Wait for all downstream instances; return one line for each that did not become READY.

    One that is READY may still have the run to do that the backfill requested.
    """
    names = downstream(services.database, name)
    statuses = statuses_of(services, names)
    with Progress(json=json) as progress:
        waiting = [one for one in names if not wait_until_served(services, one, progress, patience)]
        missing = wait_until_settled(statuses, build_settled(services), progress, patience)
    return [f"{one} did not run: its request still waits" for one in waiting] + missing
