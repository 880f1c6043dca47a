"""Repeating a run on its recorded inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.services.runs.rerun import NotRepeatable, rerun
from prefect_instances.libs.services.views import reports
from tests.databases import on_both_databases
from tests.integration.bench import NEXT_DAY, Bench, derived, prices


def runs_of(bench: Bench, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = reports.runs(bench.services.database, name)["runs"]
    return found


def from_file(project: str, path: Path) -> dict[str, Any]:
    return {
        "name": "quotes",
        "type": "DatasetInstance",
        "project": project,
        "pipeline": {"definition": "file", "config": {"path": str(path)}},
    }


@on_both_databases
def test_every_run_of_a_cascade_repeats_bit_for_bit(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "twice", "close * 2", "prices"))
    bench.drain()
    bench.run("prices", as_of=NEXT_DAY)
    bench.drain()
    before = [(run["id"], name) for name in ("prices", "twice") for run in runs_of(bench, name)]
    assert len(before) == 4

    for run_id, name in before:
        comparison = rerun(bench.services, UUID(run_id), uuid4())
        assert comparison.identical, (name, comparison.differences)

    for name in ("prices", "twice"):
        recorded = [run for run in runs_of(bench, name) if run["cause"] == "rerun"]
        assert len(recorded) == 2
        assert all(run["metrics"]["identical"] for run in recorded)
    document = reports.status(bench.services.database, bench.services.now())
    assert {entry["status"] for entry in document["instances"]} == {"READY"}
    assert {entry["flows"][0]["generation"] for entry in document["instances"]} == {2}


@on_both_databases
def test_a_source_that_was_revised_is_told_exactly(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    path = tmp_path / "quotes.csv"
    path.write_text("date,symbol,close\n2024-01-02,A,1.0\n2024-01-02,B,2.0\n2024-01-03,A,3.0\n")
    bench.provision(from_file(project, path))
    bench.drain()
    path.write_text("date,symbol,close\n2024-01-02,A,1.0\n2024-01-02,C,2.0\n2024-01-03,A,4.0\n")

    comparison = rerun(bench.services, UUID(runs_of(bench, "quotes")[0]["id"]), uuid4())

    assert not comparison.identical
    assert comparison.differences["rows_missing"] == 1
    assert comparison.differences["rows_added"] == 1
    assert comparison.differences["rows_changed"] == 1
    assert comparison.differences["sample"] == [{"date": "2024-01-03", "symbol": "A", "close": 4.0}]


def test_a_run_that_failed_or_is_unknown_is_not_repeated(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    path = tmp_path / "quotes.csv"
    path.write_text("date,symbol,close\n2024-01-02,A,1.0\n")
    bench.provision(from_file(project, path))
    bench.drain()
    path.write_text("date,symbol\n")
    with pytest.raises(Exception, match=r"quotes\.csv"):
        bench.run("quotes")

    with pytest.raises(NotRepeatable):
        rerun(bench.services, UUID(runs_of(bench, "quotes")[0]["id"]), uuid4())
    with pytest.raises(NotFound):
        rerun(bench.services, uuid4(), uuid4())
