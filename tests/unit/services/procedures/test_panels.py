"""Panels: whose bars count, what a whole decision is, and what was known when."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from prefect_instances.libs.services.procedures.backtesting import list_notes
from prefect_instances.libs.services.procedures.panels import Panel, build_panel, take_bars
from prefect_instances.libs.services.procedures.tear_sheets import judge_panel

NAN = math.nan
START = date(2024, 1, 1)


def days(*numbers: int) -> tuple[date, ...]:
    return tuple(START + timedelta(days=number) for number in numbers)


def test_bars_are_those_of_the_universe() -> None:
    prices = Panel(
        days(0, 1, 2, 3, 4),
        ("A", "B", "COIN"),
        np.array(
            [[1.0, 2.0, 9.0], [NAN, NAN, 9.0], [3.0, 0.0, 9.0], [0.0, math.inf, 9.0], [NAN, 4, 9]]
        ),
    )
    own = prices.priced(["B", "A"])

    assert own.dates == days(0, 2, 4)
    assert own.values == pytest.approx(np.array([[2, 1], [NAN, 3], [4, NAN]]), nan_ok=True)


def test_bars_are_the_sessions_of_a_declared_calendar() -> None:
    """New York from Friday 12 to Wednesday 17 January 2024; Monday is Martin Luther King day."""
    row = np.array([[1.0], [2.0], [3.0], [NAN], [NAN], [6.0]])
    prices = Panel(days(11, 12, 13, 14, 15, 16), ("COIN",), row)

    sessions = take_bars(prices, ["COIN"], "XNYS")

    assert sessions.dates == days(11, 15, 16)
    assert sessions.values[:, 0] == pytest.approx([1.0, NAN, 6.0], nan_ok=True)
    assert take_bars(prices, ["COIN"]).dates == days(11, 12, 13, 16)
    assert take_bars(prices, ["OTHER"], "XNYS").dates == ()


def test_horizons_count_the_sessions_of_a_declared_calendar() -> None:
    """Friday to Tuesday is one session; the weekend and the holiday say the opposite."""
    prices = Panel(
        days(11, 12, 13, 14, 15),
        ("A", "B", "C"),
        np.array([[1.0, 1, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 2, 3]]),
    )
    values = Panel(days(11), ("A", "B", "C"), np.array([[1.0, 2.0, 3.0]]))

    assert judge_panel(values, prices, [1]).horizons[0].rank_ic == pytest.approx(-1)
    assert judge_panel(values, prices, [1], calendar="XNYS").horizons[0].rank_ic == pytest.approx(1)


def test_a_decision_is_one_whole_row() -> None:
    weights = Panel(days(0, 7), ("A", "B"), np.array([[0.5, 0.5], [1.0, NAN]]))

    rows = weights.whole_rows(days(0, 3, 7, 9, 60), 40)

    assert rows[:4].tolist() == [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [1.0, 0.0]]
    assert np.isnan(rows[4]).all()


def test_a_date_without_any_weight_is_no_decision() -> None:
    weights = Panel(days(0, 1), ("A",), np.array([[1.0], [NAN]]))

    assert weights.whole_rows(days(1), 40).tolist() == [[1.0]]
    assert np.isnan(weights.limited(["B"]).whole_rows(days(1), 40)).all()


def test_rows_of_other_symbols_change_no_information_coefficient() -> None:
    rng = np.random.default_rng(5)
    every = range(200)
    weekdays = [at for at in every if days(at)[0].weekday() < 5]
    stocks = tuple("ABCDEF")
    closes = np.exp(np.cumsum(rng.normal(0, 0.02, (len(weekdays), 6)), axis=0))
    alone = Panel(days(*weekdays), stocks, closes)
    values = Panel(alone.dates, stocks, rng.normal(size=closes.shape))
    coin = np.exp(np.cumsum(rng.normal(0, 0.05, (200, 1)), axis=0))
    both = Panel(days(*every), (*stocks, "COIN"), np.hstack([alone.on(days(*every)).values, coin]))

    expected = judge_panel(values, alone, [1, 5])
    found = judge_panel(values, both, [1, 5])

    assert found == expected
    assert [one.bars for one in found.horizons] == [len(weekdays) - 1, len(weekdays) - 5]


def test_a_report_tells_what_is_unusual_and_nothing_else() -> None:
    found = {"unusable_prices": 2.0, "partial_bars": 0.0, "orders_waited": 3.0}

    told = list_notes(found)

    assert [text.split()[0] for text in told] == ["2", "3"]


def test_a_missing_row_and_a_null_are_missing_values() -> None:
    long = pl.DataFrame(
        {"date": days(0, 0, 1), "symbol": ["B", "A", "A"], "close": [2.0, None, 3.0]}
    )
    panel = build_panel(long, "close")
    assert (panel.dates, panel.symbols) == (days(0, 1), ("A", "B"))
    assert panel.values == pytest.approx(np.array([[NAN, 2], [3, NAN]]), nan_ok=True)


def test_a_value_counts_until_the_last_day_of_its_age() -> None:
    monday = date(2024, 1, 1)
    panel = Panel((monday,), ("A",), np.array([[5.0]]))

    known = panel.known([monday + timedelta(days=3), monday + timedelta(days=4)], max_age_days=3)

    assert known[0, 0] == 5.0
    assert math.isnan(known[1, 0])
