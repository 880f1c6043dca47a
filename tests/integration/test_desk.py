"""Reading outputs: from Python and with ``instances data``, over a home without a server."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

import prefect_instances
from prefect_instances.cli.app import main
from prefect_instances.libs.core.errors import DataRejected, InvalidSpec, NotFound
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
    with pytest.raises(NotFound, match=r"7 of .*/prices: the newest are 2, 1"):
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
