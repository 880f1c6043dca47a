"""Real processes: a flow that a wheel's definition adds runs beside that of the type."""

from __future__ import annotations

import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

CONFIG = {"symbols": ["A", "B"], "start": "2022-01-01", "end": "2022-01-31"}


def test_an_added_flow_is_run_by_the_worker_and_counts(stack: Stack, project: str) -> None:
    walk = {
        "name": "walk",
        "type": "DatasetInstance",
        "pipeline": {"definition": "checked_walk", "config": CONFIG},
    }
    name = f"{project}/walk"
    stack.apply({"project": project, "instances": [walk]}, "--wait")

    entry = stack.instance(name)
    assert entry["status"] == "READY"
    flows = {flow["kind"]: flow for flow in entry["flows"]}
    assert {kind: flow["status"] for kind, flow in flows.items()} == {
        "refresh": "READY",
        "quality": "READY",
    }
    assert flows["quality"]["next_due_at"]
    [run] = [run for run in stack.completed(name) if run["flow_kind"] == "quality"]
    assert (run["type"], run["metrics"]["symbols"]) == ("DefinitionRun", 2)

    refused = stack.cli("run", name, "--flow", "quality", "--mode", "full", code=1)
    assert "has no option --mode" in refused.err
    stack.cli("run", name, "--flow", "quality", "--force", "--wait")
    stack.cli("run", name, "--wait")
    kinds = [run["flow_kind"] for run in stack.completed(name) if run["cause"] == "manual"]
    assert kinds == ["refresh", "quality"]
    assert stack.settled(project)
