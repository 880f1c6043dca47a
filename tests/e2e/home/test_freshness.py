"""Real processes: a source that is late and catches up, and a schedule that fires meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack, expression, on_postgresql
from tests.patience import eventually

pytestmark = [pytest.mark.e2e, on_postgresql]

EVERY_MINUTE = {"type": "interval", "minutes": 1}


def write_days(path: Path, last: datetime, count: int = 21) -> None:
    """So many days up to ``last``, three weeks if nothing is said."""
    days = [(last - timedelta(days=back)).date().isoformat() for back in range(count)]
    rows = [f"{day},AAA,{at}.0" for at, day in enumerate(reversed(days), start=1)]
    path.write_text("\n".join(["date,symbol,close", *rows]) + "\n")


def manifest(project: str, path: Path) -> dict[str, Any]:
    """levels, of a file that changes daily; derived, triggered by it; follower, by its schedule."""
    levels = {
        "name": "levels",
        "type": "DatasetInstance",
        "pipeline": {
            "definition": "file",
            "config": {"path": str(path), "data_frequency": "daily"},
        },
        "schedule": {**EVERY_MINUTE, "max_retries": 40, "backoff_seconds": 4},
    }
    follower = {
        **expression("follower", "close * 2", {"resource": "levels", "triggers": False}),
        "schedule": EVERY_MINUTE,
        "run_on_provision": False,
    }
    derived = expression("derived", "close + 1", "levels")
    return {"project": project, "instances": [levels, derived, follower]}


def ended_as(stack: Stack, deployment_id: str, state: str) -> int:
    """How many of a deployment's flow runs are in a state of that name."""
    deployments = {"id": {"any_": [deployment_id]}}
    runs = {"state": {"name": {"any_": [state]}}}
    return int(stack.post("/flow_runs/count", {"deployments": deployments, "flow_runs": runs}))


def test_a_late_source_catches_up_and_what_its_schedule_asked_happens_then(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    path, today = tmp_path / "levels.csv", datetime.now(UTC)
    write_days(path, today - timedelta(days=30))
    stack.apply(manifest(project, path))
    levels, derived, follower = (f"{project}/{name}" for name in ("levels", "derived", "follower"))
    try:
        deployment = stack.flow(follower)["deployment_id"]
        eventually(
            lambda: stack.flow(levels)["reason"] == "SourceDelayed", 60, "the source is late"
        )
        eventually(
            lambda: ended_as(stack, deployment, "UpstreamNotReady"), 150, "the schedule fires"
        )
        assert stack.runs(follower) == []
        assert stack.runs(derived) == []
        assert stack.flow(levels)["generation"] == 1

        write_days(path, today, 51)

        eventually(lambda: stack.completed(follower), 90, "what was asked happens")
        eventually(lambda: stack.completed(derived), 60, "the descendant is fed")
        assert stack.completed(follower)[-1]["cause"] == "schedule"
        for name in (derived, follower):
            first = stack.completed(name)[-1]
            assert [pin["generation"] for pin in first["inputs"]] == [2]
        assert stack.flow(levels)["generation"] == 2
        assert len({run["cause"] for run in stack.completed(levels)} & {"retry", "schedule"}) > 0
    finally:
        stack.cli("delete", levels, "--cascade")
