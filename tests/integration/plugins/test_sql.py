"""Pipeline ``sql`` over real databases, and the blocks that hold their credentials."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from prefect_instances.libs.core.errors import DataRejected, InvalidSpec, NotFound, Unavailable
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.definitions.content import check_frame
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext
from prefect_instances.libs.plugins import sql
from prefect_instances.libs.plugins.sql import SqlPipeline
from tests.databases import Postgres

NOW = datetime(2024, 3, 1, tzinfo=UTC)
QUERY = "SELECT day AS date, code AS symbol, px AS close FROM quotes"
ROWS = [("2024-01-02", "A", 1.5), ("2024-01-03", "A", 2), ("2024-01-03", "B", None)]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with a table of quotes, for which every block's name stands."""
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.create()
    else:
        url = f"sqlite:///{tmp_path}/source.db"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE quotes (day DATE, code TEXT, px NUMERIC(9, 2))")
        for day, code, px in ROWS:
            values = f"('{day}', '{code}', {'NULL' if px is None else px})"
            connection.exec_driver_sql(f"INSERT INTO quotes VALUES {values}")
    monkeypatch.setattr(sql, "open_engine", lambda _: engine)
    return url


def extract(query: str, since: date | None = None, as_of: date | None = None) -> Extract:
    context = ExtractContext("quotes", NOW, as_of, Mode.INCREMENTAL)
    return SqlPipeline({"query": query, "block": "quotes"}).extract(context, [], since)


@pytest.mark.usefixtures("url")
def test_the_rows_of_the_query_are_the_dataset() -> None:
    made = extract(QUERY)
    expected = pl.DataFrame(
        {
            "date": [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 3)],
            "symbol": ["A", "A", "B"],
            "close": [1.5, 2.0, None],
        }
    )
    assert made.complete
    assert_frame_equal(made.frame.sort("date", "symbol"), expected)
    check_frame(made.frame)


@pytest.mark.usefixtures("url")
def test_only_a_query_that_asks_for_it_is_incremental() -> None:
    since = date(2024, 1, 3)
    assert extract(QUERY, since).complete
    part = extract(f"{QUERY} WHERE day >= :since AND day <= :as_of", since)
    assert not part.complete
    assert part.frame["symbol"].sort().to_list() == ["A", "B"]
    assert extract(f"{QUERY} WHERE day >= :since").frame.height == 3
    assert extract(f"{QUERY} WHERE day >= :since", date(2025, 1, 1)).frame.height == 0


@pytest.mark.usefixtures("url")
def test_no_row_is_newer_than_asked_for() -> None:
    assert extract(QUERY, as_of=date(2024, 1, 2)).frame.height == 1
    with pytest.raises(DataRejected, match="no rows up to 2023"):
        extract(QUERY, as_of=date(2023, 1, 1))


@pytest.mark.usefixtures("url")
def test_knowledge_times_need_a_zone() -> None:
    known = "'2024-01-04T18:00:00+02:00' AS knowledge_time"
    frame = extract(QUERY.replace(" FROM", f", {known} FROM")).frame
    assert frame["knowledge_time"][0] == datetime(2024, 1, 4, 16, tzinfo=UTC)
    with pytest.raises(DataRejected, match="zone"):
        extract(QUERY.replace(" FROM", ", '2024-01-04' AS knowledge_time FROM"))


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT nothing FROM quotes", "nothing"),
        ("SELECT code AS symbol, px FROM quotes", "no column 'date'"),
        ("SELECT code AS date, code AS symbol, px FROM quotes", "not a date"),
        ("SELECT day AS date, code AS symbol, px, px FROM quotes", "several columns 'px'"),
        ("WITH gone AS (SELECT 1) DELETE FROM quotes", "refuses"),
    ],
)
def test_a_query_that_is_no_dataset_is_rejected_in_one_line(query: str, message: str) -> None:
    with pytest.raises(DataRejected, match=message) as caught:
        extract(query)
    assert "\n" not in str(caught.value)
    assert extract(QUERY).frame.height == 3


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(
    "rest",
    [
        "DELETE FROM quotes",
        "COMMIT; DELETE FROM quotes; COMMIT",
        "ROLLBACK; SET default_transaction_read_only = off; DELETE FROM quotes; COMMIT",
        "PRAGMA query_only = OFF; DELETE FROM quotes",
    ],
)
def test_a_query_that_ends_its_transaction_writes_nothing(rest: str) -> None:
    with pytest.raises((DataRejected, Unavailable)):
        extract(f"{QUERY}; {rest}")

    assert extract(QUERY).frame.height == 3


def test_a_database_that_is_gone_is_no_fault_of_the_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/no/such.db")
    monkeypatch.setattr(sql, "open_engine", lambda _: engine)
    with pytest.raises(Unavailable):
        extract(QUERY)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"query": "DELETE FROM quotes", "block": "b"}, "config.query"),
        ({"query": "SELECT :until", "block": "b"}, "config.query"),
        ({"query": "SELECT 1", "block": ""}, "config.block"),
        ({"query": "SELECT 1", "block": "b", "password": "hidden"}, "config.password"),
        ({"query": "SELECT 1", "block": "b", "data_frequency": "often"}, "config.data_frequency"),
    ],
)
def test_what_cannot_be_right_is_refused_when_it_is_written(
    config: dict[str, str], path: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        SqlPipeline(config)
    assert path in [problem.path for problem in caught.value.problems]
    assert "hidden" not in str(caught.value)


def test_a_block_that_is_not_there_is_a_problem_of_the_composition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(block: str) -> None:
        raise NotFound("block document", block)

    monkeypatch.setattr(sql, "open_engine", missing)
    problems = SqlPipeline({"query": "SELECT 1", "block": "quotes"}).check([])
    assert [problem.path for problem in problems] == ["config.block"]
