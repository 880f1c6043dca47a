"""A new version beside the one before: types that widen, and losses that are refused."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prefect_instances.libs.definitions.content import find_later_rows, merge
from prefect_instances.libs.definitions.continuity import find_losses
from prefect_instances.libs.definitions.pipeline import Extract
from prefect_instances.libs.definitions.widening import is_wider, widen

DAYS = [date(2024, 1, 1) + timedelta(days=at) for at in range(100)]


def version(days: int = 100, symbols: str = "AB", first: int = 0) -> pl.DataFrame:
    keys = [(day, symbol) for day in DAYS[first:days] for symbol in symbols]
    columns = {"date": [key[0] for key in keys], "symbol": [key[1] for key in keys]}
    return pl.DataFrame({**columns, "close": [float(at) for at in range(len(keys))], "n": 1})


BEFORE = version()


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (version(days=98), "2 of 100 dates (2024-04-08, 2024-04-09)"),
        (version(first=2), "2 of 100 dates (2024-01-01, 2024-01-02)"),
        (version(symbols="A"), "1 of 2 symbols (B)"),
        (BEFORE.drop("symbol"), "column symbol"),
        (
            BEFORE.cast({"date": pl.Datetime}),
            "column 'date' was Date and is Datetime(time_unit='us', time_zone=None)",
        ),
        (BEFORE.filter(pl.int_range(pl.len()) % 10 != 0), "20 of 200 rows, such as 2024-01-01 A"),
        (BEFORE.drop("close"), "column close"),
        (BEFORE.cast({"close": pl.String}), "column 'close' was Float64 and is String"),
        (BEFORE.cast({"close": pl.Int64}), "column 'close' was Float64 and is Int64"),
        (
            BEFORE.with_columns(close=pl.lit(None, pl.Float64)),
            "200 of 200 values of 'close'",
        ),
    ],
)
def test_a_version_that_loses_too_much_is_refused(after: pl.DataFrame, message: str) -> None:
    assert message in find_losses(BEFORE, after, 0.01)


@pytest.mark.parametrize(
    "after",
    [
        BEFORE,
        version(first=1),  # 1 %
        version(symbols="ABC"),
        BEFORE.with_columns(extra=1.0),
        BEFORE.cast({"n": pl.Float64}),
    ],
    ids=["the same", "one date", "more symbols", "more columns", "a wider type"],
)
def test_a_version_within_the_tolerance_is_none_of_that(after: pl.DataFrame) -> None:
    assert find_losses(BEFORE, after, 0.01) == []


def test_equal_values_take_the_stored_type() -> None:
    stored = {"close": pl.Float64(), "note": pl.String(), "n": pl.Int64(), "big": pl.Float64()}
    new = pl.DataFrame(
        {"close": [1, 2], "note": [None, None], "n": [0.5, 1.0], "big": [2**53 + 1, 0]}
    )
    assert widen(new, stored).dtypes == [pl.Float64, pl.String, pl.Float64, pl.Int64]


def test_whole_numbers_become_floats_when_a_fraction_comes() -> None:
    """A query that asks for the new rows only, over prices that were whole numbers so far."""
    stored = pl.DataFrame({"date": DAYS[:2], "symbol": ["A", "A"], "close": [10, 10]})
    new = pl.DataFrame({"date": DAYS[1:3], "symbol": ["A", "A"], "close": [10.5, 10.75]})
    step = Extract(new, complete=False)

    assert find_later_rows(stored.lazy(), step, DAYS[1], DAYS[1]) is None
    assert merge(stored, step, DAYS[1])["close"].to_list() == [10.0, 10.5, 10.75]
    back = Extract(new.with_columns(close=pl.lit(11, pl.Int64)), complete=False)
    whole = merge(stored.cast({"close": pl.Float64}), back, DAYS[1])
    assert whole["close"].to_list() == [10.0, 11.0, 11.0]
    assert whole.schema["close"] == pl.Float64


@given(st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=5))
def test_widening_changes_no_value(values: list[int]) -> None:
    frame = pl.DataFrame({"n": values})
    wide = widen(frame, {"n": pl.Float64()})
    assert [int(value) for value in wide["n"]] == values
    assert_frame_equal(widen(wide, {"n": pl.Float64()}), wide)


def test_a_wider_integer_holds_a_narrower_one_and_not_the_reverse() -> None:
    assert is_wider(pl.Int64(), pl.Int32())
    assert is_wider(pl.Int32(), pl.Int32())
    assert not is_wider(pl.Int32(), pl.Int64())
