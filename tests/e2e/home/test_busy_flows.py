"""What is asked while a flow is busy, by real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_instances.libs.db.repositories.region import read_parameters
from prefect_instances.libs.services.views import reports
from tests.e2e.stack import Stack, gated, write_rows
from tests.patience import eventually

pytestmark = pytest.mark.e2e

BOTH_DAYS = (["--as-of", "2022-01-04"], ["--as-of", "2022-01-03"])


@pytest.mark.parametrize(
    ("asked", "forced", "as_of"),
    [
        pytest.param(
            (["--force"], []), True, None, id="forced, then plain", marks=pytest.mark.thorough
        ),
        pytest.param(BOTH_DAYS, False, "2022-01-04", id="two days", marks=pytest.mark.thorough),
        pytest.param((*BOTH_DAYS, []), False, None, id="two days, then plain"),
    ],
)
def test_what_is_asked_of_a_busy_flow_is_done_by_its_next_run(
    stack: Stack,
    project: str,
    tmp_path: Path,
    asked: tuple[list[str], ...],
    forced: bool,
    as_of: str | None,
) -> None:
    folder, label = tmp_path / "source", f"{project}/source"
    write_rows(folder, 1.0)
    stack.apply({"project": project, "instances": [gated("source", folder)]}, "--wait")
    (folder / "hold").touch()
    stack.cli("run", label)
    eventually(lambda: stack.flow(label)["status"] == "RUNNING", 60, "it is busy")
    deployment = stack.flow(label)["deployment_id"]
    for number, options in enumerate(asked, start=1):
        stack.cli("run", label, *options)
        eventually(lambda n=number: _waiting(stack, deployment) == n, 60, "the request on record")
    (folder / "hold").unlink()

    eventually(lambda: len(stack.completed(label)) == 3, 60, "the run that was asked for")
    last = reports.run_info(stack.database, stack.runs(label)[0]["id"])
    done = read_parameters(last["parameters"])
    assert (done.force, done.as_of and str(done.as_of)) == (forced, as_of)
    assert len(stack.runs(label)) == 3


def _waiting(stack: Stack, deployment_id: str) -> int:
    """How many runs of a deployment came while it was busy and left their request."""
    body = {
        "deployments": {"id": {"any_": [deployment_id]}},
        "flow_runs": {"state": {"name": {"any_": ["UpstreamNotReady", "Skipped"]}}},
    }
    return int(stack.post("/flow_runs/count", body))
