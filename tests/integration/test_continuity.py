"""Versions of a source beside the one before, through a whole refresh."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
import sqlalchemy as sa

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.plugins import sql
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.runs.publishing import Finished
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench

HEAD = "date,symbol,close\n"
ROWS = [
    f"{date(2024, 1, 1) + timedelta(days=day)},{symbol},{day + 1}.5\n"
    for day in range(20)
    for symbol in "AB"
]


def write(path: Path, *rows: str) -> None:
    path.write_text(HEAD + "".join(rows))
    os.utime(path, (1_600_000_000 + len(rows), 1_600_000_000 + len(rows)))


def dataset(project: str, definition: str, **config: Any) -> dict[str, Any]:
    return {
        "name": "prices",
        "type": "DatasetInstance",
        "project": project,
        "pipeline": {"definition": definition, "config": config},
    }


def output(bench: Bench) -> pl.DataFrame:
    document = reports.show(bench.services.database, bench.services.now(), "prices")
    return read_version(bench.services, UUID(document["output"]["version"])).collect()


def test_half_of_a_file_replaces_nothing_unless_it_is_accepted(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    path = tmp_path / "prices.csv"
    write(path, *ROWS)
    bench.provision(dataset(project, "file", path=str(path)))
    bench.drain()

    write(path, *ROWS[:20])
    for mode in Mode:
        with pytest.raises(DataRejected, match=r"10 of 20 dates \(2024-01-11, .*accept_loss"):
            bench.run("prices", mode=mode)
    assert output(bench).height == 40
    shown = reports.show(bench.services.database, bench.services.now(), "prices")
    assert shown["status"] == "ERROR"

    assert isinstance(bench.run("prices", accept_loss=True), Finished)
    assert output(bench).height == 20
    write(path, *ROWS[:22], *(row.replace(".5", "") for row in ROWS[22:24]))
    assert isinstance(bench.run("prices"), Finished)
    write(path, *(row.replace(".5", "") for row in ROWS[:24]))  # whole numbers only
    assert isinstance(bench.run("prices"), Finished)
    assert output(bench).schema["close"] == pl.Float64

    write(path, *(row.replace(".5", "x") for row in ROWS[:24]))
    with pytest.raises(DataRejected, match="'close' was Float64 and is String"):
        bench.run("prices")


def test_whole_numbers_of_a_query_become_fractions(
    bench: Bench, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/q.db", poolclass=sa.NullPool)
    monkeypatch.setattr(sql, "engine_of", lambda _: engine)

    def insert(*rows: str) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS q (d DATE, s TEXT, v NUMERIC)")
            connection.exec_driver_sql("DELETE FROM q WHERE d >= '2024-01-03'")
            for row in rows:
                connection.exec_driver_sql(f"INSERT INTO q VALUES {row}")

    insert("('2024-01-02', 'A', 10)", "('2024-01-03', 'A', 10)")
    query = "SELECT d AS date, s AS symbol, v AS close FROM q WHERE d >= :since"
    bench.provision(dataset(project, "sql", block="b", query=query))
    bench.drain()
    insert("('2024-01-03', 'A', 10.5)", "('2024-01-04', 'A', 10.75)")
    bench.run("prices")

    assert output(bench)["close"].to_list() == [10.0, 10.5, 10.75]
