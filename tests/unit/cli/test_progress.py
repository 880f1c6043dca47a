"""What waiting shows: each change of a few instances; of many, counts and what is in error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.spinner import Spinner

from prefect_instances.cli import progress
from prefect_instances.cli.progress import Progress


def document(ready: int, **others: int) -> dict[str, Any]:
    statuses = ["READY"] * ready
    statuses += [status for status, number in others.items() for _ in range(number)]
    return {"instances": [entry(at, status) for at, status in enumerate(statuses)]}


def entry(at: int, status: str) -> dict[str, Any]:
    flow = {
        "status": status,
        "reason": "RunFailed",
        "message": "",
        "error": "",
        "generation": 1,
        "last_data_date": None,
        "since": None,
        "blocked_by": [],
    }
    return {
        "name": f"i{at:04d}",
        "project": "demo",
        "type": "DatasetInstance",
        "lifecycle": "ACTIVE",
        "status": status,
        "freshness": "FRESH",
        "flows": [flow],
    }


def test_each_change_of_a_few_instances_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress()
    shown.show(document(1, RUNNING=1))
    shown.show(document(2))
    assert capsys.readouterr().out.splitlines() == [
        "i0000: READY (RunFailed)",
        "i0001: RUNNING (RunFailed)",
        "i0001: READY (RunFailed)",
    ]


def test_of_many_instances_the_counts_and_those_in_error_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "COUNT_SECONDS", 0.0)
    shown = Progress(expected=2000)
    shown.show(document(1200, RUNNING=4, ERROR=1))
    shown.show(document(1999, ERROR=1))
    assert capsys.readouterr().out.splitlines() == [
        "i1204: ERROR (RunFailed)",
        "1,200 of 2,000 READY, 1 ERROR, 4 RUNNING",
        "i1999: ERROR (RunFailed)",
        "1,999 of 2,000 READY, 1 ERROR",
    ]


def test_the_counts_of_many_instances_come_once_in_a_while(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Progress()
    for ready in (50, 51, 52):
        shown.show(document(ready, RUNNING=3))
    assert capsys.readouterr().out == "50 of 53 READY, 3 RUNNING\n"


def test_a_terminal_shows_a_bar_and_the_instances_that_need_attention() -> None:
    shown = Progress(expected=2000)
    shown._spinner = Spinner("dots")
    shown.show(document(1200, NOT_INITIALIZED=50, RUNNING=4, ERROR=1))
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(file=nowhere, width=120, record=True, color_system="standard")
        console.print(shown._renderable())
    lines = [line.strip() for line in console.export_text().splitlines() if line.strip()]
    table, bar = lines[2 : 2 + progress.LISTED], lines[2 + progress.LISTED]
    statuses = ["ERROR", *["RUNNING"] * 4, *["NOT_INITIALIZED"] * 7]
    assert [line.split()[2] for line in table] == statuses
    assert bar.startswith("━" * 24)
    assert bar.endswith(" 1,200 of 2,000 READY, 1 ERROR, 50 NOT_INITIALIZED, 4 RUNNING")
