"""Laws of what runs read of revised data: no date depends on what became known after it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.pipeline import ExtractContext, Input
from prefect_instances.libs.plugins.expression import ExpressionPipeline
from prefect_instances.libs.plugins.point_in_time import PointInTimeAccessor

START = date(2024, 1, 1)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 6

History = dict[tuple[int, str, int], float]

histories = st.dictionaries(
    st.tuples(st.integers(0, DAYS - 1), st.sampled_from("AB"), st.integers(-10, 24 * DAYS)),
    st.integers(1, 99).map(float),
    min_size=1,
    max_size=25,
)
"""The value of a (day, symbol) from an hour on; some are known before their day."""

accessors = st.builds(
    lambda zone, age: PointInTimeAccessor({"timezone": zone, "max_age_days": age}),
    st.sampled_from(["UTC", "America/New_York", "Asia/Tokyo"]),
    st.none() | st.integers(0, 4),
)
days = st.integers(0, DAYS + 1).map(lambda count: START + timedelta(days=count))
grids = st.lists(days, min_size=1, unique=True)


def table(history: History) -> pl.LazyFrame:
    rows = [
        (START + timedelta(days=day), symbol, value, FIRST + timedelta(hours=hour))
        for (day, symbol, hour), value in history.items()
    ]
    schema: dict[str, Any] = {
        "date": pl.Date,
        "symbol": pl.String,
        "x": pl.Float64,
        "knowledge_time": pl.Datetime("us", "UTC"),
    }
    return pl.LazyFrame(rows, schema=schema, orient="row")


def end_of(day: date, accessor: PointInTimeAccessor) -> datetime:
    zone = ZoneInfo(accessor.config.timezone)
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)


def known_by(day: date, accessor: PointInTimeAccessor, history: History) -> History:
    last = end_of(day, accessor)
    return {key: v for key, v in history.items() if FIRST + timedelta(hours=key[2]) < last}


def upto(frame: pl.LazyFrame, day: date) -> pl.DataFrame:
    return frame.filter(pl.col("date") <= day).sort("date", "symbol").collect()


@given(history=histories, accessor=accessors, grid=grids)
def test_each_date_has_the_newest_row_that_was_known_at_its_end(
    history: History, accessor: PointInTimeAccessor, grid: list[date]
) -> None:
    seen = accessor.as_known(table(history), pl.Series(grid)).collect()

    expected = {}
    for day in grid:
        for symbol in "AB":
            rows = [
                (START + timedelta(days=at), hour, value)
                for (at, of, hour), value in known_by(day, accessor, history).items()
                if of == symbol and START + timedelta(days=at) <= day
            ]
            if rows and not is_old(max(rows), day, accessor):
                expected[day, symbol] = max(rows)[2]
    assert {(row["date"], row["symbol"]): row["x"] for row in seen.to_dicts()} == expected
    assert seen.height == len(expected)


def is_old(row: tuple[date, int, float], day: date, accessor: PointInTimeAccessor) -> bool:
    age = accessor.config.max_age_days
    known = FIRST + timedelta(hours=row[1])
    since = max(row[0], known.astimezone(ZoneInfo(accessor.config.timezone)).date())
    return age is not None and (day - since).days > age


@given(history=histories, accessor=accessors, day=days, grid=st.none() | grids)
def test_what_is_known_after_a_date_changes_nothing_up_to_it(
    history: History, accessor: PointInTimeAccessor, day: date, grid: list[date] | None
) -> None:
    dates = None if grid is None else pl.Series(grid)
    after = accessor.as_known(table(history), dates)
    at_the_time = accessor.as_known(table(known_by(day, accessor, history)), dates)

    assert_frame_equal(upto(after, day), upto(at_the_time, day))


@given(history=histories, accessor=accessors)
def test_without_dates_each_change_has_its_own(
    history: History, accessor: PointInTimeAccessor
) -> None:
    own = accessor.as_known(table(history)).collect()
    asked = pl.Series([START + timedelta(days=count) for count in range(-1, DAYS + 2)])
    daily = accessor.as_known(table(history), asked).sort("symbol", "date").collect()

    changed = daily.filter(
        pl.struct("x", "knowledge_time") != pl.struct("x", "knowledge_time").shift().over("symbol")
    )
    assert set(changed["date"]) <= set(own["date"])
    assert_frame_equal(
        own.sort("symbol", "date"), daily.filter(pl.col("date").is_in(own["date"].implode()))
    )


EXPRESSIONS = st.sampled_from(
    ["x", "MEAN(x, 3)", "RANK(x)", "x - REF(x, 1)", "x / y", "ZSCORE(x) + y", "y * MEAN(x, 2)"]
)


@settings(deadline=None)
@given(history=histories, other=histories, day=days, expression=EXPRESSIONS)
def test_no_value_of_an_expression_depends_on_what_was_known_later(
    history: History, other: History, day: date, expression: str
) -> None:
    accessor = PointInTimeAccessor()

    def values(one: History, two: History) -> pl.DataFrame:
        inputs = [given(accessor, one, "x"), given(accessor, two, "y")]
        pipeline = ExpressionPipeline(
            {
                "expression": expression,
                "inputs": {"y": {"resource": "y", "column": "x"}} if "y" in expression else {},
            }
        )
        context = ExtractContext("signal", FIRST + timedelta(days=30))
        try:
            frame = pipeline.extract(context, inputs, None).frame
        except DataRejected:
            # No row has a value.
            return pl.DataFrame(schema={"date": pl.Date, "symbol": pl.String, "value": pl.Float64})
        return upto(frame.lazy(), day)

    def given(accessor: PointInTimeAccessor, history: History, name: str) -> Input:
        frame = table(history)
        return Input(
            name, "input", accessor.as_known(frame), lambda dates: accessor.as_known(frame, dates)
        )

    at_the_time = (known_by(day, accessor, history), known_by(day, accessor, other))
    assert_frame_equal(values(history, other), values(*at_the_time))
