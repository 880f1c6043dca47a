"""Runs over a dataset that is revised: what they see of each date, and what a revision changes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest

from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench, derived


def known(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2024, month, day, hour, tzinfo=UTC)


QUARTERS = [
    (date(2023, 12, 31), "A", 10.0, known(1, 3)),
    (date(2023, 12, 31), "B", 20.0, known(1, 4)),
    (date(2023, 12, 31), "A", 11.0, known(1, 8, 23)),
]
LATE = [
    (date(2023, 12, 31), "B", 25.0, known(1, 5)),
    (date(2023, 9, 30), "A", 99.0, known(1, 9)),
]
SCHEMA: dict[str, Any] = {
    "date": pl.Date,
    "symbol": pl.String,
    "earnings": pl.Float64,
    "knowledge_time": pl.Datetime("us", "UTC"),
}


def write_quarters(path: Path, rows: list[tuple[Any, ...]]) -> None:
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(path)


def dataset(project: str, name: str, path: Path, accessor: str) -> dict[str, Any]:
    return {
        "name": name,
        "project": project,
        "type": "DatasetInstance",
        "pipeline": {"definition": "file", "config": {"path": str(path)}},
        "accessor": {"definition": accessor},
    }


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Daily prices, all 1, and earnings of the quarters before with a revision."""
    found = {name: tmp_path / f"{name}.parquet" for name in ("prices", "quarters")}
    days = [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9)]
    rows = [(day, symbol, 1.0) for day in days for symbol in "AB"]
    pl.DataFrame(rows, schema=["date", "symbol", "close"], orient="row").write_parquet(
        found["prices"]
    )
    write_quarters(found["quarters"], QUARTERS)
    return found


def world(bench: Bench, project: str, paths: dict[str, Path]) -> None:
    bench.provision(dataset(project, "prices", paths["prices"], "simple"))
    bench.provision(dataset(project, "quarters", paths["quarters"], "point_in_time"))
    inputs = {"earnings": {"resource": "quarters"}}
    bench.provision(
        derived(project, "yield", "earnings / close", "prices", "quarters", inputs=inputs)
    )
    bench.provision(derived(project, "alone", "earnings", "quarters"))
    bench.drain()


def rows_of(bench: Bench, project: str, name: str) -> list[tuple[int, str, float]]:
    document = reports.show(bench.services.database, bench.services.now(), f"{project}/{name}")
    frame = read_version(bench.services, UUID(document["output"]["version"])).collect()
    return [
        (row[0].day, row[1], row[2])
        for row in frame.sort("symbol", "date").select("date", "symbol", "value").iter_rows()
    ]


FIRST = [(3, "A", 10.0), (4, "A", 10.0), (5, "A", 10.0), (8, "A", 11.0), (9, "A", 11.0)]
OTHER = [(4, "B", 20.0), (5, "B", 20.0), (8, "B", 20.0), (9, "B", 20.0)]
REVISED = [(4, "B", 20.0), (5, "B", 25.0), (8, "B", 25.0), (9, "B", 25.0)]


def test_a_signal_sees_of_each_date_what_was_known_at_its_end(
    bench: Bench, project: str, paths: dict[str, Path]
) -> None:
    world(bench, project, paths)

    assert rows_of(bench, project, "yield") == FIRST + OTHER
    assert rows_of(bench, project, "alone") == [
        (3, "A", 10.0),
        (4, "A", 10.0),
        (8, "A", 11.0),
        (4, "B", 20.0),
        (8, "B", 20.0),
    ]


def test_a_late_revision_changes_what_comes_after_it_as_if_all_were_computed_anew(
    bench: Bench, project: str, paths: dict[str, Path]
) -> None:
    world(bench, project, paths)

    write_quarters(paths["quarters"], QUARTERS + LATE)
    bench.run("quarters")
    bench.drain()

    assert rows_of(bench, project, "yield") == FIRST + REVISED
    incremental = {name: rows_of(bench, project, name) for name in ("yield", "alone")}
    runs = reports.runs(bench.services.database, f"{project}/yield")["runs"]
    assert runs[0]["metrics"]["inputs_changed_from"] == "2023-09-30"
    for name, rows in incremental.items():
        bench.run(name, mode=Mode.FULL)
        assert rows_of(bench, project, name) == rows


def test_runs_over_revised_data_repeat_bit_for_bit(
    bench: Bench, project: str, paths: dict[str, Path]
) -> None:
    world(bench, project, paths)
    runs = [
        run["id"]
        for name in ("yield", "alone")
        for run in reports.runs(bench.services.database, f"{project}/{name}")["runs"]
    ]
    write_quarters(paths["quarters"], QUARTERS + LATE)
    bench.run("quarters")
    bench.drain()

    for run_id in runs:
        comparison = rerun(bench.services, UUID(run_id), uuid4())
        assert comparison.identical, comparison.differences
