"""The packaged market data: what it holds, and how a next day arrives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

import prefect_instances.libs.plugins.market_data as market_data
from prefect_instances.libs.core.errors import DataRejected, DefinitionUnavailable, InvalidSpec
from prefect_instances.libs.definitions.base import UpstreamShape
from prefect_instances.libs.definitions.content import check_frame
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext
from prefect_instances.libs.plugins.market_data import MarketDataPipeline


def extract(
    config: Mapping[str, object], as_of: date | None = None, since: date | None = None
) -> Extract:
    context = ExtractContext("prices", datetime(2024, 1, 1, tzinfo=UTC), as_of)
    return MarketDataPipeline(config).extract(context, [], since)


@pytest.mark.parametrize(
    ("source", "symbols", "first", "rows"),
    [
        ("us_stocks", 20, date(1990, 1, 2), 8313 * 20),
        ("sp500", 1, date(1990, 1, 2), 8313),
        ("factors", 5, date(2014, 1, 2), None),
    ],
)
def test_a_source_is_a_valid_dataset(
    source: str, symbols: int, first: date, rows: int | None
) -> None:
    got = extract({"source": source})
    assert got.complete
    check_frame(got.frame)
    assert got.frame.columns == ["date", "symbol", "close"]
    assert got.frame.get_column("symbol").n_unique() == symbols
    assert got.frame.get_column("date").min() == first
    assert got.frame.get_column("date").max() == date(2022, 12, 28)
    assert got.frame.get_column("close").min() > 0  # type: ignore[operator]  # numbers
    assert rows in (None, got.frame.height)


def test_symbols_and_dates_limit_it() -> None:
    config = {"symbols": ["MSFT", "AAPL"], "start_date": "2020-01-01", "end_date": "2020-01-03"}
    frame = extract(config).frame.sort("date", "symbol")
    assert frame.select("date", "symbol").rows() == [
        (date(2020, 1, day), symbol) for day in (2, 3) for symbol in ("AAPL", "MSFT")
    ]


def test_a_known_price_is_right() -> None:
    row = extract({"source": "sp500"}).frame.filter(pl.col("date") == date(2022, 12, 28))
    assert row.get_column("close").to_list() == [3783.22]


def test_an_as_of_limits_what_is_known_so_that_a_next_day_can_arrive() -> None:
    config: dict[str, object] = {"source": "sp500"}
    today = extract(config, as_of=date(2020, 1, 3))
    assert today.frame.get_column("date").max() == date(2020, 1, 3)
    next_ = extract(config, as_of=date(2020, 1, 6), since=date(2020, 1, 3))
    assert not next_.complete
    assert next_.frame.get_column("date").to_list() == [date(2020, 1, 3), date(2020, 1, 6)]


def test_an_as_of_on_a_weekend_delivers_friday() -> None:
    frame = extract({"source": "sp500"}, as_of=date(2020, 1, 5)).frame
    assert frame.get_column("date").max() == date(2020, 1, 3)


def test_an_as_of_reaches_past_the_end_date() -> None:
    config: dict[str, object] = {"source": "sp500", "end_date": "2019-06-28"}
    assert extract(config).frame.get_column("date").max() == date(2019, 6, 28)
    later = extract(config, as_of=date(2019, 7, 1), since=date(2019, 6, 28))
    assert later.frame.get_column("date").to_list() == [date(2019, 6, 28), date(2019, 7, 1)]


def test_what_was_brought_past_the_end_date_stays() -> None:
    again = extract({"source": "sp500", "end_date": "2019-06-28"}, since=date(2019, 7, 1))
    assert again.frame.is_empty()
    assert not again.complete


def test_going_back_in_time_delivers_everything_up_to_then() -> None:
    back = extract({"source": "sp500"}, as_of=date(2010, 1, 8), since=date(2020, 1, 3))
    assert back.complete
    assert back.frame.get_column("date").min() == date(1990, 1, 2)


def test_nothing_new_since_is_no_error_but_nothing_at_all_is() -> None:
    assert extract({"source": "sp500"}, since=date(2023, 1, 5)).frame.is_empty()
    with pytest.raises(DataRejected):
        extract({"source": "sp500"}, as_of=date(1980, 1, 1))


def test_unknown_symbols_are_told_with_the_known_ones() -> None:
    pipeline = MarketDataPipeline({"symbols": ["AAPL", "MSFTT", "AAPL"]})
    problems = pipeline.check([])
    assert [problem.path for problem in problems] == ["config.symbols[1]", "config.symbols[2]"]
    assert "did you mean 'MSFT'?" in problems[0].message
    assert "XOM" in problems[0].message
    with pytest.raises(InvalidSpec):
        extract({"symbols": ["MSFTT"]})


def test_it_takes_no_upstreams() -> None:
    upstream = UpstreamShape("prices", "input", "DatasetInstance")
    assert [p.path for p in MarketDataPipeline().check([upstream])] == ["upstream_refs"]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"source": "nasdaq"}, "config.source"),
        ({"start_date": "soon"}, "config.start_date"),
        ({"start_date": "2020-01-02", "end_date": "2020-01-01"}, "config"),
        ({"symbol": "AAPL"}, "config.symbol"),
    ],
)
def test_wrong_parameters_are_refused(config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        MarketDataPipeline(config)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_without_the_package_the_definition_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_data, "find_spec", lambda _: None)
    with pytest.raises(DefinitionUnavailable):
        MarketDataPipeline().check([])


def test_it_declares_no_frequency_of_its_data() -> None:
    assert MarketDataPipeline().data_frequency is None


def test_reading_it_imports_no_heavy_library() -> None:
    code = (
        "import sys; from datetime import UTC, datetime;"
        "from prefect_instances.libs.plugins.market_data import MarketDataPipeline as P;"
        "from prefect_instances.libs.definitions import ExtractContext as C;"
        "P().extract(C('x', datetime.now(UTC)), [], None);"
        "print(sorted({'skfolio', 'sklearn', 'pandas', 'deltalake'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert result.stdout.strip() == "[]"


REPLAY = {"source": "sp500", "replay": {"since": "2026-11-24", "shows": "2020-03-16"}}


def replayed(now: str, since: date | None = None) -> pl.DataFrame:
    context = ExtractContext("prices", datetime.fromisoformat(now).astimezone(UTC))
    return MarketDataPipeline(REPLAY).extract(context, [], since).frame


def test_a_replay_gives_each_session_the_prices_of_a_day_of_the_past() -> None:
    frame = replayed("2026-11-27 13:00-05:00")
    packaged = extract({"source": "sp500"}).frame.sort("date")
    past = packaged.filter(pl.col("date") <= date(2020, 3, 18))
    assert frame.sort("date")["close"].to_list() == past["close"].to_list()
    assert frame["date"].max() == date(2026, 11, 27)
    assert date(2026, 11, 26) not in frame["date"].to_list()
    assert frame["date"].is_unique().all()


def test_a_replayed_session_has_prices_once_it_has_closed() -> None:
    assert replayed("2026-11-27 12:59-05:00")["date"].max() == date(2026, 11, 25)
    assert replayed("2026-11-27 13:00-05:00")["date"].max() == date(2026, 11, 27)
    assert replayed("2026-11-27 13:00-05:00", date(2026, 11, 25)).height == 2


def test_only_a_replay_can_be_late() -> None:
    assert MarketDataPipeline(REPLAY).data_frequency == "daily"
    assert MarketDataPipeline({"source": "sp500"}).data_frequency is None
