"""What the accessors let a reader see, and above all what they do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.accessor import Accessor, Query
from prefect_instances.libs.plugins.latest import LatestAccessor
from prefect_instances.libs.plugins.point_in_time import PointInTimeAccessor
from prefect_instances.libs.plugins.simple import SimpleAccessor
from prefect_instances.libs.plugins.snapshot import SnapshotAccessor

START = date(2024, 1, 1)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)

ALL = pytest.mark.parametrize(
    "accessor",
    [SimpleAccessor(), PointInTimeAccessor(), LatestAccessor(), SnapshotAccessor({"at": 1})],
    ids=lambda accessor: accessor.name,
)


def hours(count: int) -> datetime:
    return FIRST + timedelta(hours=count)


Row = tuple[int, str, int, float]

histories = st.dictionaries(
    st.tuples(st.integers(0, 3), st.sampled_from("AB"), st.integers(0, 6)),
    st.integers(0, 9).map(float),
    max_size=20,
)
"""What was known of a (day, symbol) from an hour on."""


def table(history: dict[tuple[int, str, int], float]) -> pl.DataFrame:
    rows = [
        (START + timedelta(days=day), symbol, hours(hour), value)
        for (day, symbol, hour), value in history.items()
    ]
    schema: dict[str, Any] = {
        "date": pl.Date,
        "symbol": pl.String,
        "knowledge_time": pl.Datetime("us", "UTC"),
        "x": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


queries = st.builds(
    Query,
    as_of=st.none() | st.integers(0, 3).map(lambda d: START + timedelta(days=d)),
    start=st.none() | st.integers(0, 3).map(lambda d: START + timedelta(days=d)),
    end=st.none() | st.integers(0, 3).map(lambda d: START + timedelta(days=d)),
    symbols=st.none() | st.sampled_from([("A",), ("B",), ("A", "B"), (), ("C",)]),
    columns=st.none() | st.just(("x",)),
    knowledge_time=st.none()
    | st.tuples(st.integers(-1, 7), st.sampled_from([UTC, timezone(timedelta(hours=9))])).map(
        lambda hour: hours(hour[0]).astimezone(hour[1])
    ),
)


@given(history=histories, query=queries)
@example(history={(0, "A", 3): 1.0}, query=Query(knowledge_time=hours(3)))
def test_nothing_is_seen_that_was_not_known_and_the_newest_of_what_was(
    history: dict[tuple[int, str, int], float], query: Query
) -> None:
    seen = PointInTimeAccessor().read(table(history).lazy(), query).collect()
    expected: dict[tuple[date, str], tuple[datetime, float]] = {}
    for (day, symbol, hour), value in sorted(history.items()):
        moment, when = hours(hour), START + timedelta(days=day)
        wanted = (
            (query.knowledge_time is None or moment <= query.knowledge_time)
            and (query.symbols is None or symbol in query.symbols)
            and (query.start is None or query.start <= when)
            and all(last is None or when <= last for last in (query.end, query.as_of))
        )
        if wanted:
            expected[when, symbol] = (moment, value)
    got = {
        (row["date"], row["symbol"]): (row["knowledge_time"], row["x"]) for row in seen.to_dicts()
    }
    assert got == expected
    assert seen.height == len(expected)


def test_without_knowledge_times_there_is_no_point_in_time() -> None:
    with pytest.raises(DataRejected):
        PointInTimeAccessor().read(table({}).drop("knowledge_time").lazy(), Query())


@pytest.mark.parametrize("accessor", [SimpleAccessor(), SnapshotAccessor({"at": 1})])
def test_an_accessor_refuses_what_it_cannot_know(accessor: Accessor) -> None:
    with pytest.raises(DataRejected, match="point_in_time"):
        accessor.read(table({}).lazy(), Query(knowledge_time=FIRST))


@given(history=histories, query=queries)
def test_no_accessor_shows_a_row_that_was_known_later_than_asked_for(
    history: dict[tuple[int, str, int], float], query: Query
) -> None:
    asked = query.knowledge_time
    assume(asked is not None)
    assert asked is not None
    known = {key: value for key, value in history.items() if hours(key[2]) <= asked}
    for accessor in (PointInTimeAccessor(), LatestAccessor()):
        seen = accessor.read(table(history).lazy(), query).collect()
        at_the_time = accessor.read(table(known).lazy(), replace(query, knowledge_time=None))
        assert_frame_equal(seen, at_the_time.collect(), check_row_order=False)
        assert seen.filter(pl.col("knowledge_time") > asked).is_empty()


@given(history=histories, query=queries)
def test_the_latest_row_of_each_symbol_is_all_that_is_seen(
    history: dict[tuple[int, str, int], float], query: Query
) -> None:
    seen = LatestAccessor().read(table(history).lazy(), query).collect()
    all_known = PointInTimeAccessor().read(table(history).lazy(), query).collect()
    newest = all_known.filter(pl.col("date") == pl.col("date").max().over("symbol"))
    assert_frame_equal(seen, newest, check_row_order=False)


def test_latest_without_knowledge_times_is_by_date_and_refuses_to_be_asked() -> None:
    frame = table({(0, "A", 0): 1.0, (2, "A", 0): 3.0, (1, "B", 0): 2.0}).drop("knowledge_time")
    assert LatestAccessor().read(frame.lazy(), Query()).collect()["x"].to_list() == [3.0, 2.0]
    with pytest.raises(DataRejected):
        LatestAccessor().read(frame.lazy(), Query(knowledge_time=FIRST))


def test_a_snapshot_is_of_its_version_and_of_no_other() -> None:
    assert SimpleAccessor().generation(7) == 7
    assert SnapshotAccessor({"at": 3}).generation(7) == 3
    assert SnapshotAccessor({"at": 3}).generation(3) == 3
    with pytest.raises(DataRejected, match="no version 3 yet"):
        SnapshotAccessor({"at": 3}).generation(2)


def test_the_simple_accessor_passes_everything_through() -> None:
    frame = table({(0, "A", 0): 1.0, (0, "A", 1): 2.0})
    assert_frame_equal(SimpleAccessor().read(frame.lazy(), Query()).collect(), frame)


@ALL
def test_the_earlier_of_as_of_and_end_holds(accessor: Accessor) -> None:
    frame = table({(day, "A", 0): 1.0 for day in range(4)})
    query = Query(as_of=START + timedelta(days=1), start=START, end=START + timedelta(days=3))
    seen = accessor.read(frame.lazy(), query).collect()
    assert seen["date"].max() == START + timedelta(days=1)
    assert seen.height == (1 if isinstance(accessor, LatestAccessor) else 2)


@ALL
def test_key_columns_come_along_in_front(accessor: Accessor) -> None:
    frame = table({(0, "A", 0): 1.0}).with_columns(y=1, z=2)
    seen = accessor.read(frame.lazy(), Query(columns=("z", "symbol", "x"))).collect()
    assert seen.columns == ["date", "symbol", "knowledge_time", "z", "x"]


@ALL
def test_a_column_that_is_not_there_is_told_with_the_nearest(accessor: Accessor) -> None:
    frame = table({}).rename({"x": "close"})
    with pytest.raises(DataRejected) as caught:
        accessor.read(frame.lazy(), Query(columns=("clos",)))
    assert caught.value.report["column"] == "clos"
    assert "did you mean 'close'?" in str(caught.value)


def test_the_latest_known_by_a_time_in_another_zone() -> None:
    frame = table({(0, "A", 0): 1.0, (0, "A", 6): 2.0})
    asked = hours(3).astimezone(timezone(timedelta(hours=-5)))
    found = LatestAccessor().read(frame.lazy(), Query(knowledge_time=asked)).collect()
    assert found["x"].to_list() == [1.0]
