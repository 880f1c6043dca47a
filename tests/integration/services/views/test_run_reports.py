"""The pages of a run are read once it has ended, for it writes them until then."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy import select

from prefect_instances.libs.adapters.prefect import RunState
from prefect_instances.libs.db.models import FlowExecutionResource
from prefect_instances.libs.services.views import run_reports
from tests.integration.bench import Bench, prices


@pytest.mark.parametrize("patient", [True, False])
def test_a_report_waits_for_a_run_that_still_writes_its_pages(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    bench.provision(prices(project))
    flow = FlowExecutionResource.deployment_id
    with bench.services.database.read() as session:
        deployment = session.scalars(
            select(flow).where(FlowExecutionResource.id == bench.flow_id("prices"))
        ).one()
    assert deployment is not None
    prefect = bench.services.prefect
    run = prefect.start_run(deployment, {})

    def write_and_end(_seconds: float) -> None:
        prefect.create_artifact("late-page", "markdown", "a plot", flow_run_id=run.id)
        prefect.finish_run(run.id, RunState.COMPLETED, "done")

    clock = SimpleNamespace(monotonic=run_reports.time.monotonic, sleep=write_and_end)
    monkeypatch.setattr(run_reports, "time", clock)
    if not patient:
        monkeypatch.setattr(run_reports, "END_SECONDS", 0)

    pages, missing = run_reports._read_pages(bench.services, run.id)

    assert missing == ""
    assert ["a plot" in page for page in pages.values()] == ([True] if patient else [])
