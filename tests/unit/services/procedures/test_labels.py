"""Labels end where they end: no row to learn from knows what the validation is about."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_instances.libs.services.procedures.features import (
    LABEL_END,
    TARGET,
    build_labels,
    split_purged,
)
from tests.promised import PROMISED

MONDAY = date(2024, 1, 1)


def prices(days: dict[str, list[int]]) -> pl.DataFrame:
    """A price of 100 plus the number of the day, on the numbered days of each symbol."""
    rows = [
        (MONDAY + timedelta(days=day), symbol, 100.0 + day)
        for symbol, numbers in days.items()
        for day in numbers
    ]
    return pl.DataFrame(rows, schema=["date", "symbol", "close"], orient="row")


def labelled(days: dict[str, list[int]], horizon: int) -> pl.DataFrame:
    return build_labels(prices(days).lazy(), "close", horizon).collect().sort("date", "symbol")


def test_a_label_ends_with_the_symbols_own_row() -> None:
    rows = labelled({"DAILY": list(range(10)), "WEEKLY": [0, 7, 14]}, 2)

    ends = {(s, (d - MONDAY).days): (e - MONDAY).days for d, s, _, e in rows.iter_rows()}
    assert ends[("DAILY", 0)] == 2
    assert ends[("WEEKLY", 0)] == 14
    assert rows.filter(symbol="WEEKLY")[TARGET].to_list() == [114 / 100 - 1]


def test_a_seldom_quoted_symbol_teaches_nothing_of_the_validation() -> None:
    rows = labelled({"DAILY": list(range(100)), "WEEKLY": list(range(0, 140, 7))}, 5)
    parts = split_purged(rows, 0.25, 5)

    first = parts.predict_from
    before = rows.filter(pl.col("date") < first - timedelta(days=5), symbol="WEEKLY")
    kept = parts.training.filter(symbol="WEEKLY")
    assert before.filter(pl.col(LABEL_END) >= first).height == 4
    assert kept.height == before.height - 4
    assert parts.training.select((pl.col(LABEL_END) < first).all()).item()


def test_of_one_calendar_the_last_horizon_of_sessions_is_left_out() -> None:
    rows = labelled({"A": list(range(50)), "B": list(range(50))}, 5)
    learned = split_purged(rows, 0.2, 0).training["date"].max()

    # 45 labelled sessions, the last 9 to judge by; those of the 5 before end within them.
    assert learned == MONDAY + timedelta(days=45 - 9 - 5 - 1)


@settings(max_examples=PROMISED)
@given(
    st.dictionaries(
        st.sampled_from("ABCD"),
        st.sets(st.integers(0, 60), min_size=1, max_size=60).map(sorted),
        min_size=1,
    ),
    st.integers(1, 6),
    st.floats(0.05, 0.9),
    st.integers(0, 5),
)
def test_no_label_reaches_into_the_validation(
    days: dict[str, list[int]], horizon: int, validation: float, embargo: int
) -> None:
    rows = labelled(days, horizon)
    parts = split_purged(rows, validation, embargo)

    if parts.validation.height:
        reaching = pl.col(LABEL_END) >= parts.predict_from
        assert parts.training.filter(reaching).is_empty()
        assert parts.training.filter(pl.col("date") >= parts.predict_from).is_empty()


def test_the_embargo_leaves_out_the_dates_before_the_validation() -> None:
    rows = labelled({"A": list(range(50)), "B": list(range(50))}, 5)
    learned = split_purged(rows, 0.2, 20).training["date"].max()
    assert learned == MONDAY + timedelta(days=45 - 9 - 20 - 1)
