"""``doctor``: check what is reachable and what is broken."""

from __future__ import annotations

from dataclasses import asdict

import typer

from prefect_instances.cli.commands.arguments import Json
from prefect_instances.cli.doctor_checks import Level, examine
from prefect_instances.cli.output import FAILED, emit_json, emit_rows
from prefect_instances.cli.session import utc_now
from prefect_instances.libs.settings import load_settings

HEADERS = ("check", "result", "found", "what to do")


def doctor(json: Json = False) -> None:
    """Check what is reachable and what is broken; say what to do.

    Exits with 1 if a check fails.
    """
    findings = list(examine(load_settings(), utc_now()))
    if json:
        emit_json({"checks": [asdict(finding) for finding in findings]})
    else:
        emit_rows(HEADERS, [[str(cell) for cell in asdict(each).values()] for each in findings])
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(FAILED)
