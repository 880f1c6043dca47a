"""Reading outputs: from Python and with ``instances data``, over a home without a server."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from itertools import chain, combinations
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import polars as pl
import pytest

import prefect_instances
from prefect_instances.cli.app import main
from prefect_instances.libs.core.errors import (
    DataRejected,
    InvalidSpec,
    NotFound,
    PermanentError,
)
from prefect_instances.libs.services.rendering.diagrams import COLOURS
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.services.views.outputs import list_versions
from tests.integration.bench import NEXT_DAY, Bench, derived, prices


@pytest.fixture
def desk(bench: Bench, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Prices in two versions and a signal on them, as the environment names them to a reader."""
    settings = bench.services.settings
    monkeypatch.setenv("INSTANCES_HOME", str(settings.home))
    monkeypatch.setenv("INSTANCES_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("PREFECT_API_URL", bench.services.prefect.api_url)
    bench.provision(prices(project))
    bench.drain()
    bench.provision(derived(project, "twice", "close * 2", "prices"))
    bench.run("prices", as_of=NEXT_DAY)
    return project


def test_the_current_output_is_read_and_limited(desk: str) -> None:
    whole = prefect_instances.read(f"{desk}/prices").collect()
    assert whole.columns[:2] == ["date", "symbol"]
    assert whole["date"].max() == NEXT_DAY
    assert set(whole["symbol"]) == {"AAPL", "MSFT", "JPM"}

    few = prefect_instances.read(
        "prices", columns=["close"], symbols=["AAPL"], start="2020-06-01", end=date(2020, 6, 30)
    ).collect()
    assert few.columns == ["date", "symbol", "close"]
    assert few.equals(
        whole.filter(
            pl.col("date").is_between(date(2020, 6, 1), date(2020, 6, 30)),
            pl.col("symbol") == "AAPL",
        ).select("date", "symbol", "close")
    )


def test_an_earlier_version_stays_readable(desk: str, bench: Bench) -> None:
    newest, first = prefect_instances.versions(f"{desk}/prices")
    assert (newest.generation, first.generation) == (2, 1)
    assert newest.last == NEXT_DAY
    assert newest.published_at.tzinfo is not None
    assert list_versions(bench.services, f"{desk}/prices") == [newest, first]

    for version in (1, "1", first.id):
        rows = prefect_instances.read("prices", version=version).collect()
        assert (rows.height, rows["date"].max()) == (first.rows, date(2020, 12, 30))


def test_bad_words_get_one_clear_line(desk: str) -> None:
    with pytest.raises(NotFound, match=f"did you mean {desk}/prices?"):
        prefect_instances.read("pricse")
    with pytest.raises(NotFound, match=r"'7' of .*/prices, which has 2, 1"):
        prefect_instances.read("prices", version=7)
    with pytest.raises(NotFound, match="nothing is published yet"):
        prefect_instances.read("twice")
    with pytest.raises(DataRejected, match="did you mean 'close'"):
        prefect_instances.read("prices", columns=["closse"])
    with pytest.raises(InvalidSpec) as caught:
        prefect_instances.read("prices", start="02-01-24", known_at="2024-01-01T10:00")
    assert [problem.path for problem in caught.value.problems] == ["known_at", "start"]
    with pytest.raises(InvalidSpec):
        prefect_instances.read("prices", known_at="yesterday")
    known = datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(DataRejected, match="point"):
        prefect_instances.read("prices", known_at=known).collect()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    found = capsys.readouterr()
    return int(ended.value.code or 0), found.out, found.err


def test_the_command_shows_queries_and_writes(
    desk: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = run(capsys, "data", "prices", "--symbols", "AAPL", "--head", "3", "--json")
    document = json.loads(out)
    assert (code, len(document["rows"])) == (0, 3)
    assert {row["symbol"] for row in document["rows"]} == {"AAPL"}

    query = "select symbol, count(*) as n from data group by symbol order by symbol"
    code, out, _ = run(capsys, "data", "prices", "--sql", query, "--json")
    assert [row["symbol"] for row in json.loads(out)["rows"]] == ["AAPL", "JPM", "MSFT"]

    path = tmp_path / "out.parquet"
    code, out, _ = run(capsys, "data", "prices", "--version", "1", "--out", str(path))
    assert code == 0
    assert pl.read_parquet(path)["date"].max() == date(2020, 12, 30)

    code, _, err = run(capsys, "data", "prices", "--sql", "drop table data; select 1")
    assert (code, len(err.splitlines())) == (1, 1)
    code, _, err = run(capsys, "data", "prices", "--sql", "select nothing from data")
    assert (code, len(err.splitlines())) == (1, 1)
    code, _, err = run(capsys, "data", "prices", "--out", "rows.xlsx")
    assert code == 2


def test_two_versions_are_compared_by_row(desk: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = prefect_instances.compare("prices", 1, 2)
    assert (found.before.generation, found.after.generation) == (1, 2)
    assert found.added.select("date", "symbol").rows() == [
        (NEXT_DAY, symbol) for symbol in ("AAPL", "JPM", "MSFT")
    ]
    assert (found.removed.height, found.changed.height) == (0, 0)
    assert found.by_date.rows() == [(NEXT_DAY, 3, 0, 0)]
    assert "3 rows added, 0 removed, 0 changed" in repr(found)
    assert "<table" in found._repr_html_()
    assert "identical" in repr(prefect_instances.compare("prices", 2, found.after.id))
    with pytest.raises(NotFound, match="which has 2, 1"):
        prefect_instances.compare("prices", 1, 3)

    code, out, _ = run(capsys, "compare", "prices", "2", "1", "--json")
    document = json.loads(out)
    assert (code, document["rows_removed"], document["rows_added"]) == (0, 3, 0)
    code, out, _ = run(capsys, "compare", "prices", "1", "2")
    assert (
        out.splitlines()[0] == f"{desk}/prices: version 1 to 2: 3 rows added, 0 removed, 0 changed"
    )
    assert out.splitlines()[3].split() == [str(NEXT_DAY), "3", "0", "0"]


def test_statuses_runs_and_lineage_are_frames_with_pictures(desk: str) -> None:
    table = prefect_instances.status()
    assert dict(table.frame.select("instance", "status").rows()) == {
        f"{desk}/prices": "READY",
        f"{desk}/twice": "NOT_INITIALIZED",
    }
    assert table.title == "1 of 2 flows are READY"
    assert COLOURS["READY"].split(",")[0] in table._repr_html_()
    assert [row["flow"] for row in prefect_instances.status("twice")] == ["refresh"]

    runs = prefect_instances.runs("prices")
    assert runs.frame["status"].to_list() == ["completed", "completed"]
    assert runs.frame["seconds"].null_count() == 0
    assert "completed" in repr(runs)

    graph = prefect_instances.lineage("twice")
    assert graph.edges.select("upstream", "downstream").rows() == [
        (f"{desk}/prices.refresh", f"{desk}/twice.refresh")
    ]
    assert repr(graph) == f"{desk}/prices.refresh -> {desk}/twice.refresh"
    picture = ElementTree.fromstring(graph._repr_html_())
    assert len(picture.findall("{*}g")) == 2
    with pytest.raises(NotFound, match="did you mean"):
        prefect_instances.lineage("twise")


def test_a_report_shows_the_pages_of_a_run(desk: str, bench: Bench, tmp_path: Path) -> None:
    newest = next(iter(prefect_instances.runs("prices")))
    flow_run = UUID(reports.run_info(bench.services.database, newest["id"])["prefect_flow_run_id"])
    picture = "data:image/png;base64,iVBORw0KGgo="
    page = f"## Sheet\n\n| a | b |\n|---|---|\n| 1 | <i>2</i> |\n\n![plot]({picture})"
    rows = [{"symbol": "AAPL", "shares": 1.5}]
    bench.services.prefect.create_artifact("sheet", "markdown", page, "Sheet", flow_run)
    bench.services.prefect.create_artifact("trades", "table", rows, "Trades", flow_run)

    found = prefect_instances.report("prices")

    assert (found.flow, str(found.run_id)) == ("refresh", newest["id"])
    assert list(found.pages) == ["Sheet", "Trades"]
    shown = found.save(tmp_path / "report.html").read_text()
    assert picture in shown
    assert "&lt;i&gt;2&lt;/i&gt;" in shown
    assert "1.5</td>" in shown
    assert prefect_instances.report("prices", run=str(flow_run)).run_id == found.run_id
    with pytest.raises(NotFound, match="no refresh run has succeeded yet"):
        prefect_instances.report("twice")
    with pytest.raises(InvalidSpec, match="choose one of refresh"):
        prefect_instances.report("prices", "training")
    with pytest.raises(PermanentError, match="is a DatasetInstance, not a ModelInstance"):
        prefect_instances.model("prices")


def test_all_mistakes_in_the_arguments_are_told_at_once(desk: str) -> None:
    one = prefect_instances.read("prices", columns="close", symbols="AAPL").collect()
    assert (one.columns, set(one["symbol"])) == (["date", "symbol", "close"], {"AAPL"})
    with pytest.raises(InvalidSpec) as caught:
        prefect_instances.read("prices", start="2020-02-01", end="2020-01-01", known_at="noon")
    assert [problem.path for problem in caught.value.problems] == ["known_at", "start"]
    with pytest.raises(
        DataRejected, match=r"'closse', did you mean 'close'\?; there is no column 'xyz' \(there"
    ):
        prefect_instances.read("prices", columns=["closse", "close", "xyz"])
    with pytest.raises(InvalidSpec) as caught:
        prefect_instances.read("prices", symbols=["APPL", "JPM", "NONE"])
    assert [str(problem) for problem in caught.value.problems] == [
        "symbols[0]: there is no 'APPL', did you mean 'AAPL'?",
        "symbols[2]: there is no 'NONE'",
    ]


def test_a_plot_is_a_page_that_loads_nothing(
    desk: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figure = prefect_instances.plot("prices", start="2020-06-01")
    assert [line.name for line in figure.data] == ["AAPL", "JPM", "MSFT"]
    assert figure.data[0].x[0] == date(2020, 6, 1)
    with pytest.raises(DataRejected, match="no rows to plot"):
        prefect_instances.plot("prices", start="2030-01-01")

    page = tmp_path / "pages" / "prices.html"
    code, out, _ = run(capsys, "plot", "prices", "--symbols", "JPM", "--out", str(page))
    assert (code, out.strip()) == (0, str(page))
    text = page.read_text()
    assert "<script src=" not in text
    assert "Plotly.newPlot" in text
    code, _, _ = run(capsys, "plot", "prices", "--out", "page.png")
    assert code == 2


@pytest.mark.parametrize("store", ["delta", "parquet"])
def test_every_limit_is_pushed_down_and_means_the_same_in_each_store(
    bench: Bench, desk: str, tmp_path: Path, store: str
) -> None:
    day, later = date(2024, 1, 2), date(2024, 1, 3)
    rows = [
        (at, symbol, close, 10.0 * close, datetime(2024, 1, at.day, 22 + late, tzinfo=UTC))
        for at in (day, later)
        for symbol, close, late in (("A", 1.0, 0), ("A", 1.5, 1), ("B", 2.0, 0))
    ]
    names = ["date", "symbol", "close", "volume", "knowledge_time"]
    whole = pl.DataFrame(rows, schema=names, orient="row")
    whole.write_parquet(tmp_path / "in.parquet")
    bench.provision(
        {
            "name": "known",
            "project": desk,
            "type": "DatasetInstance",
            "pipeline": {"definition": "file", "config": {"path": str(tmp_path / "in.parquet")}},
            "store": {"definition": store},
            "accessor": {"definition": "point_in_time"},
        }
    )
    bench.drain()
    limits: dict[str, Any] = {
        "version": 1,
        "as_of": "2024-01-02",
        "known_at": "2024-01-02T22:30+00:00",
        "columns": ["close"],
        "symbols": ["A"],
        "start": day,
        "end": "2024-01-02",
    }
    early, newest = whole["knowledge_time"] <= whole["knowledge_time"][0], whole["close"] != 1.0
    for chosen in chain.from_iterable(combinations(limits, count) for count in range(8)):
        expected = whole.filter(early if "known_at" in chosen else newest)
        if {"as_of", "end"} & {*chosen}:
            expected = expected.filter(pl.col("date") == day)
        if "symbols" in chosen:
            expected = expected.filter(pl.col("symbol") == "A")
        if "columns" in chosen:
            expected = expected.drop("volume")
        frame = prefect_instances.read("known", **{name: limits[name] for name in chosen})
        found = frame.collect().select(expected.columns).sort("date", "symbol")
        assert found.equals(expected.sort("date", "symbol").cast(found.schema)), chosen

    plan = prefect_instances.read("known", columns=["close"], symbols=["A"], start=day).explain()
    assert "PROJECT 4/5 COLUMNS" in plan
    assert "SELECTION: " in plan
