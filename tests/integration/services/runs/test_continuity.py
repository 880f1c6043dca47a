"""Versions of a source beside the one before, through a whole refresh."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import polars as pl
import pytest
import sqlalchemy as sa

from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.plugins import sql
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.runs.guardrails import GuardrailBlocked
from prefect_instances.libs.services.runs.publishing import Finished
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench, derived

HEAD = "date,symbol,close\n"
ROWS = [
    f"{date(2024, 1, 1) + timedelta(days=day)},{symbol},{day + 1}.5\n"
    for day in range(20)
    for symbol in "AB"
]


class Feed(Pipeline):
    """A source that delivers only what is asked for, and never heard of a tolerance."""

    name = "feed"
    version = "1.0.0"
    rows: ClassVar[pl.DataFrame] = pl.read_csv(
        (HEAD + "".join(ROWS)).encode(), try_parse_dates=True
    )

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        return Extract(self.rows.filter(pl.col("date") >= (since or date.min)), complete=False)


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
        with pytest.raises(GuardrailBlocked, match=r"10 of 20 dates \(2024-01-11, .*accept_loss"):
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
    with pytest.raises(GuardrailBlocked, match="'close' was Float64 and is String"):
        bench.run("prices")


def test_whole_numbers_of_a_query_become_fractions(
    bench: Bench, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/q.db", poolclass=sa.NullPool)
    monkeypatch.setattr(sql, "open_engine", lambda _: engine)

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


def test_any_source_keeps_what_it_had_and_its_types(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = bench.services.registry.extended([Feed])
    bench = Bench(replace(bench.services, registry=registry))
    bench.provision(dataset(project, "feed"))
    declared = [{"kind": "dataset.continuity", "config": {"max_loss": 0.6}}]
    doubled = derived(project, "doubled", "close * 2", "prices")
    bench.provision({**doubled, "guardrail_contracts": declared})
    bench.provision(derived(project, "halved", "close / 2", "prices"))
    bench.drain()

    monkeypatch.setattr(Feed, "rows", Feed.rows.filter(pl.col("symbol") == "A"))
    with pytest.raises(GuardrailBlocked, match=r"1 of 2 symbols \(B\)"):
        bench.run("prices", mode=Mode.FULL)
    monkeypatch.setattr(Feed, "rows", Feed.rows.cast({"close": pl.String}))
    with pytest.raises(GuardrailBlocked, match="'close' was Float64 and is String"):
        bench.run("prices", mode=Mode.FULL)
    assert output(bench).height == 40

    zero = (
        Feed.rows.cast({"close": pl.Float32})
        .head(7)
        .with_columns(
            close=pl.when(pl.int_range(7) > 4).then(pl.col("close") * 0).otherwise("close")
        )
    )
    monkeypatch.setattr(Feed, "rows", zero)
    assert bench.run("prices", accept_loss=True).metrics["unusable_prices"] == 2
    assert output(bench).height == 7
    assert output(bench).schema["close"] == pl.Float64
    with pytest.raises(GuardrailBlocked, match="35 of 40 values of 'value'; 15 of 20 dates"):
        bench.drain(only="doubled")
    assert bench.drain(only="halved") == ["halved"]  # it follows what was accepted
