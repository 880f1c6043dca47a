"""What a whole expression becomes: stages, look-back, and never a look ahead."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.definitions.expressions.program import compile_expression, lookback
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.definitions.op import Argument, Op

START = date(2020, 1, 1)


def panel(days: int, symbols: str = "ABCD", seed: int = 7) -> pl.DataFrame:
    """A random walk ``x`` and noise ``y``, with a hole now and then."""
    rng = np.random.default_rng(seed)
    rows = []
    for symbol in symbols:
        walk = 100 + rng.normal(size=days).cumsum()
        for day in range(days):
            if rng.random() < 0.03:
                continue
            x = None if rng.random() < 0.03 else float(walk[day])
            rows.append((START + timedelta(days=day), symbol, x, float(rng.normal())))
    schema = {"date": pl.Date, "symbol": pl.String, "x": pl.Float64, "y": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


OPS = {op.name: op for op in load_installed().list() if issubclass(op, Op)}


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    """A legal expression over x and y."""
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(["x", "y"]))
    part = expressions(depth=depth - 1)
    if draw(st.booleans()):
        sign = draw(st.sampled_from(["+", "-", "*", "/"]))
        return f"({draw(part)} {sign} {draw(part)})"
    operator = OPS[draw(st.sampled_from(sorted(OPS)))]
    arguments = []
    for argument in operator.arguments.values():
        match argument:
            case Argument.SERIES:
                arguments.append(draw(part))
            case Argument.CONDITION:
                arguments.append(f"{draw(part)} > 0")
            case Argument.WINDOW:
                arguments.append(str(draw(st.integers(operator.least, 8))))
            case Argument.NUMBER:
                arguments.append("2.5")
    return f"{operator.name}({', '.join(arguments)})"


@given(text=expressions(), cut=st.integers(1, 39))
def test_what_comes_later_changes_no_earlier_value(text: str, cut: int) -> None:
    whole = panel(40)
    last = START + timedelta(days=cut)
    program = compile_expression(text, load_installed())
    early = program.run(whole.filter(pl.col("date") <= last).lazy()).collect()
    late = program.run(whole.lazy()).collect().filter(pl.col("date") <= last)
    # Exactly equal: what is stored must not change in its last bit when a day arrives.
    assert_frame_equal(early, late, check_row_order=False, check_exact=True)


@pytest.mark.parametrize(
    "text",
    [
        "MEAN(REF(x, 3), 5)",
        "STD(DELTA(x, 2), 4)",
        "SLOPE(WMA(x, 3), 4)",
        "TS_ZSCORE(MED(x, 3), 5)",
        "COV(x, REF(y, 2), 4) + MAX(x, 2)",
        "TS_RANK(x, 6) * CORR(x, y, 5)",
        "ZSCORE(SUM(x, 3))",
        "RANK(MIN(x, 4))",
    ],
)
def test_the_lookback_is_just_as_many_rows_as_a_value_needs(text: str) -> None:
    frame = whole_days(40)
    days = frame.get_column("date").unique().sort()
    full, enough, few = (
        on_the_last_day(text, frame, days[-rows])
        for rows in (
            len(days),
            lookback(text, load_installed()) + 1,
            lookback(text, load_installed()),
        )
    )
    assert_frame_equal(full, enough, check_row_order=False, rel_tol=1e-6)
    assert few.is_empty()


def test_the_lookback_of_ema_leaves_out_only_what_does_not_count() -> None:
    frame = whole_days(300)
    days = frame.get_column("date").unique().sort()
    full = on_the_last_day("EMA(x, 10)", frame, days[0])
    enough = on_the_last_day(
        "EMA(x, 10)", frame, days[-(lookback("EMA(x, 10)", load_installed()) + 1)]
    )
    assert_frame_equal(full, enough, check_row_order=False, rel_tol=1e-9)


def whole_days(days: int) -> pl.DataFrame:
    """A panel without any hole."""
    return panel(days).drop_nulls().filter(pl.len().over("date") == 4)


def on_the_last_day(text: str, frame: pl.DataFrame, first: date) -> pl.DataFrame:
    """The values of the frame's last day, computed from the rows since ``first`` only."""
    rows = frame.filter(pl.col("date") >= first).lazy()
    values = compile_expression(text, load_installed()).run(rows).collect()
    return values.filter(pl.col("date") == frame.get_column("date").max())


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x", 0),
        ("x + y", 0),
        ("REF(x, 5)", 5),
        ("MEAN(x, 5)", 4),
        ("ZSCORE(DELTA(x, 252))", 252),
        ("MEAN(REF(x, 3), 5) + REF(x, 2)", 7),
        ("EMA(x, 1)", 0),
        ("RANK(x) / SCALE(y)", 0),
    ],
)
def test_the_lookback_adds_up(text: str, rows: int) -> None:
    assert lookback(text, load_installed()) == rows


def test_nested_windows_are_computed_stage_by_stage() -> None:
    program = compile_expression("RANK(MEAN(RANK(x) + RANK(y), 5)) + MEAN(x, 3)", load_installed())
    windows = [[str(e).count(".over(") > 0 for e in stage] for stage in program.stages]
    assert [sum(stage) for stage in windows if any(stage)] == [3, 1, 1]


def test_equal_windows_are_computed_once() -> None:
    program = compile_expression("MEAN(x, 5) + mean(x, 5) * ts_mean(x, 5)", load_installed())
    assert [len(stage) for stage in program.stages] == [1]


def test_names_come_in_order_of_appearance() -> None:
    assert compile_expression("b + IF(a > b, c, a)", load_installed()).names == ("b", "a", "c")


def test_nested_windows_equal_the_same_done_by_hand() -> None:
    frame = panel(60).drop_nulls()
    got = (
        compile_expression("ZSCORE(DELTA(x, 5))", load_installed()).run(frame.lazy(), "z").collect()
    )
    by_hand = (
        frame.sort("symbol", "date")
        .with_columns(d=pl.col("x") - pl.col("x").shift(5).over("symbol"))
        .drop_nulls("d")
        .with_columns(
            z=(pl.col("d") - pl.col("d").mean().over("date")) / pl.col("d").std().over("date")
        )
        .select("date", "symbol", "z")
        .filter(pl.col("z").is_finite())
    )
    assert_frame_equal(got, by_hand, check_row_order=False)


def test_infinite_values_are_missing_and_do_not_spoil_later_windows() -> None:
    days = [START + timedelta(days=i) for i in range(6)]
    frame = pl.DataFrame({"date": days, "symbol": "A", "x": [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]})
    got = compile_expression("SUM(1 / x, 2)", load_installed()).run(frame.lazy()).collect()
    assert got.get_column("date").to_list() == days[3:]
    assert got.get_column("value").to_list() == [2.0, 2.0, 2.0]


def test_a_value_too_large_is_missing_and_does_not_spoil_later_windows() -> None:
    days = [START + timedelta(days=i) for i in range(5)]
    frame = pl.DataFrame({"date": days, "symbol": "A", "x": [1.0, 1e200, 1.0, 1.0, 1.0]})
    got = compile_expression("EMA(x * x, 2)", load_installed()).run(frame.lazy()).collect()
    assert got.get_column("date").to_list() == days[2:]
    assert got.get_column("value").to_list() == [1.0, 1.0, 1.0]


def test_integers_and_booleans_are_taken_for_numbers() -> None:
    frame = pl.DataFrame({"date": [START], "symbol": ["A"], "n": [3], "flag": [True]})
    got = compile_expression("n / 2 + flag", load_installed()).run(frame.lazy()).collect()
    assert got.get_column("value").to_list() == [2.5]


@pytest.mark.parametrize(
    "text",
    [
        " + ".join(["x"] * 90),
        " / ".join(["x"] * 90),
        " ** ".join(["x"] * 90),
        "ABS(" * 90 + "x" + ")" * 90,
        "MEAN(" * 90 + "x" + ", 1)" * 90,
        "ZSCORE(" * 90 + "x" + ")" * 90,
        "IF(" * 38 + "x" + " > 0, x, y)" * 38,
        "CORR(x, " * 60 + "y" + ", 2)" * 60,
        "1 / (1 + " * 40 + "x" + ")" * 40,
    ],
)
def test_the_work_grows_with_the_length_of_the_expression_only(text: str) -> None:
    # Not timed: an expression that doubles with every level would never come to an end.
    got = compile_expression(text, load_installed()).run(panel(30).lazy()).collect()
    assert got.columns == ["date", "symbol", "value"]


def test_an_unreadable_expression_is_refused_with_all_its_problems() -> None:
    with pytest.raises(InvalidSpec) as caught:
        compile_expression("MEEN(x, 5) + REF(x, -1)", load_installed())
    assert len(caught.value.problems) == 2
