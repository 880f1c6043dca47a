"""``doctor``: what is reachable, what is broken, what to do."""

from __future__ import annotations

from dataclasses import asdict

import typer

from cli.commands.arguments import Json
from cli.output import FAILED, emit_json, emit_rows
from cli.session import utc_now

HEADERS = ("check", "result", "found", "what to do")


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command("doctor")(doctor)


def doctor(json: Json = False) -> None:
    """Check what is reachable and what is broken.

    Ends with 1 if a check fails; each finding says what to do.
    """
    from cli.checkup import Level, examine
    from libs.settings import load_settings

    findings = list(examine(load_settings(), utc_now()))
    if json:
        emit_json({"checks": [asdict(finding) for finding in findings]})
    else:
        emit_rows(HEADERS, [[str(cell) for cell in asdict(each).values()] for each in findings])
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(FAILED)
