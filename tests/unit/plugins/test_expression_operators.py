"""Every operator against its formula in numpy, on frames with missing values and missing days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.definitions.expressions.program import compile_expression
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.definitions.op import Axis, Op

Array = np.ndarray[Any, Any]
Window = Callable[..., float]

START = date(2024, 1, 1)
OPS = {op.name: op for op in load_installed().list() if issubclass(op, Op)}


@st.composite
def panels(draw: st.DrawFn) -> pl.DataFrame:
    """(date x symbol) long with x and y: hundredths, ties, nulls, NaN, and absent rows."""
    number = st.integers(-1000, 1000).map(lambda n: n / 100)
    cell = st.one_of(number, st.sampled_from([0.0, 1.0, 1.0, None, float("nan")]))
    days = draw(st.integers(1, 12))
    rows = []
    for symbol in draw(st.sampled_from([["A"], ["A", "B"], ["A", "B", "C"]])):
        for day in range(days):
            if draw(st.integers(0, 9)):
                rows.append((START + timedelta(days=day), symbol, draw(cell), draw(cell)))
    order = draw(st.permutations(range(len(rows))))
    schema = {"date": pl.Date, "symbol": pl.String, "x": pl.Float64, "y": pl.Float64}
    return pl.DataFrame([rows[i] for i in order], schema=schema, orient="row")


def table(frame: pl.DataFrame) -> pd.DataFrame:
    """The same rows by symbol and date, missing ones NaN."""
    ordered = frame.sort("symbol", "date").to_dicts()
    columns = {name: [row[name] for row in ordered] for name in frame.columns}
    typed = pd.DataFrame(columns)
    return typed.astype({"x": float, "y": float})


def per_symbol(frame: pl.DataFrame, d: int, window: Window, *fields: str) -> Array:
    """``window`` of each symbol's last ``d`` rows, NaN where one of them is missing."""
    rows = table(frame)
    result = np.full(len(rows), np.nan)
    for _, group in rows.groupby("symbol"):
        series = [group[field].to_numpy() for field in fields]
        for end in range(d, len(group) + 1):
            parts = [values[end - d : end] for values in series]
            if not any(np.isnan(part).any() for part in parts):
                result[group.index[end - 1]] = window(*parts)
    return result


def per_date(frame: pl.DataFrame, section: Callable[[Array], Array]) -> Array:
    """``section`` of the present values of each date."""
    rows = table(frame)
    result = np.full(len(rows), np.nan)
    for _, group in rows.groupby("date"):
        present = group["x"].dropna()
        if len(present):
            result[present.index] = section(present.to_numpy())
    return result


def computed(frame: pl.DataFrame, expression: str) -> Array:
    """What the program gives, in the row order of ``table``, NaN where it gives no row."""
    values = compile_expression(expression, load_installed()).run(frame.lazy()).collect()
    ordered = frame.sort("symbol", "date").select("date", "symbol")
    joined = ordered.join(values, on=["date", "symbol"], how="left", maintain_order="left")
    return joined.get_column("value").fill_null(float("nan")).to_numpy()


def quiet(window: Window) -> Window:
    """Division by zero in the reference means missing, and is no warning."""

    def run(*parts: Array) -> float:
        with np.errstate(all="ignore"):
            value = float(window(*parts))
        return value if np.isfinite(value) else np.nan

    return run


def zscore_last(w: Array) -> float:
    return (w[-1] - w.mean()) / w.std(ddof=1) if w.max() > w.min() else np.nan


def correlation(a: Array, b: Array) -> float:
    if a.max() == a.min() or b.max() == b.min():
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def slope(w: Array) -> float:
    return float(np.polyfit(np.arange(len(w)), w, 1)[0])


def rank_last(w: Array) -> float:
    return float(((w < w[-1]).sum() + ((w == w[-1]).sum() + 1) / 2) / len(w))


WINDOWED: dict[str, tuple[Window, Sequence[str]]] = {
    "SUM": (np.sum, "x"),
    "MEAN": (np.mean, "x"),
    "STD": (lambda w: w.std(ddof=1), "x"),
    "MIN": (np.min, "x"),
    "MAX": (np.max, "x"),
    "MED": (np.median, "x"),
    "COV": (lambda a, b: np.cov(a, b)[0, 1], "xy"),
    "CORR": (correlation, "xy"),
    "WMA": (lambda w: np.average(w, weights=np.arange(1, len(w) + 1)), "x"),
    "SLOPE": (slope, "x"),
    "TS_ZSCORE": (zscore_last, "x"),
    "TS_RANK": (rank_last, "x"),
}


@pytest.mark.parametrize("name", WINDOWED)
@given(frame=panels(), d=st.integers(1, 5))
def test_a_window_gives_what_its_formula_says(name: str, frame: pl.DataFrame, d: int) -> None:
    d = max(d, OPS[name].least)
    window, fields = WINDOWED[name]
    expected = per_symbol(frame, d, quiet(window), *fields)
    given_fields = ", ".join(fields)
    got = computed(frame, f"{name}({given_fields}, {d})")
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)


@given(frame=panels(), d=st.integers(1, 5))
def test_ref_and_delta_look_at_the_symbols_own_earlier_row(frame: pl.DataFrame, d: int) -> None:
    earlier = table(frame).groupby("symbol")["x"].shift(d).to_numpy()
    now = table(frame)["x"].to_numpy()
    np.testing.assert_allclose(computed(frame, f"REF(x, {d})"), earlier)
    np.testing.assert_allclose(computed(frame, f"DELTA(x, {d})"), now - earlier)


@given(frame=panels(), d=st.integers(1, 5))
def test_ema_is_the_recursion_over_the_values_that_are_there(frame: pl.DataFrame, d: int) -> None:
    rows = table(frame)
    expected = np.full(len(rows), np.nan)
    weight = 2 / (d + 1)
    for _, group in rows.groupby("symbol"):
        present = group["x"].dropna()
        average = np.nan
        for count, index in enumerate(present.index.to_list(), start=1):
            value = float(present[index])
            average = value if count == 1 else weight * value + (1 - weight) * average
            expected[index] = average if count >= d else np.nan
    np.testing.assert_allclose(computed(frame, f"EMA(x, {d})"), expected, rtol=1e-9, atol=1e-12)


SECTIONS: dict[str, Callable[[Array], Array]] = {
    "RANK(x)": lambda v: pd.Series(v).rank(pct=True).to_numpy(),
    "DEMEAN(x)": lambda v: v - v.mean(),
    "SCALE(x)": lambda v: v / np.abs(v).sum() if np.abs(v).sum() else v * np.nan,
    "SCALE(x, 2.5)": lambda v: 2.5 * v / np.abs(v).sum() if np.abs(v).sum() else v * np.nan,
    "ZSCORE(x)": lambda v: (
        (v - v.mean()) / v.std(ddof=1) if v.max() > v.min() else np.full(len(v), np.nan)
    ),
}


@pytest.mark.parametrize("expression", SECTIONS)
@given(frame=panels())
def test_a_cross_section_gives_what_its_formula_says(expression: str, frame: pl.DataFrame) -> None:
    expected = per_date(frame, SECTIONS[expression])
    np.testing.assert_allclose(computed(frame, expression), expected, rtol=1e-9, atol=1e-12)


def present(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


ROWWISE: dict[str, Callable[[Array, Array], Array]] = {
    "ABS(x)": lambda x, y: np.abs(x),
    "SIGN(x)": lambda x, y: np.sign(x),
    "LOG(x)": lambda x, y: np.log(x),
    "x + y * 2 - 1": lambda x, y: x + y * 2 - 1,
    "x / y": lambda x, y: x / y,
    "1 / (1 / x)": lambda x, y: np.where(x == 0, np.nan, x),
    "IF(1 / x > 0.5, 1, 0)": lambda x, y: np.where(np.isnan(x) | (x == 0), np.nan, 1 / x > 0.5),
    "-x ** 2": lambda x, y: -(x**2),
    "x ** y": lambda x, y: np.where(np.isnan(x + y), np.nan, np.power(x, y)),
    "(x > y) + 0": lambda x, y: np.where(np.isnan(x + y), np.nan, x > y),
    "0 < x <= y": lambda x, y: np.where(np.isnan(x + y) & ~(x <= 0), np.nan, (x > 0) & (x <= y)),
    "IF(x > 0, y, -y)": lambda x, y: np.where(np.isnan(x), np.nan, np.where(x > 0, y, -y)),
    "IF(not x == 1, 1, 0)": lambda x, y: np.where(np.isnan(x), np.nan, x != 1),
    "IF(x > 0 or x < -1, 1, 0)": lambda x, y: np.where(np.isnan(x), np.nan, (x > 0) | (x < -1)),
}


@pytest.mark.parametrize("expression", ROWWISE)
@given(frame=panels())
def test_a_row_wise_expression_gives_what_it_says(expression: str, frame: pl.DataFrame) -> None:
    rows = table(frame)
    with np.errstate(all="ignore"):
        expected = present(ROWWISE[expression](rows["x"].to_numpy(), rows["y"].to_numpy()))
    np.testing.assert_allclose(computed(frame, expression), expected, rtol=1e-12)


def test_every_operator_states_its_formula_and_is_tested_here() -> None:
    tested = {*WINDOWED, "REF", "DELTA", "EMA", "ABS", "SIGN", "LOG", "IF"}
    tested |= {expression.split("(")[0] for expression in SECTIONS}
    assert set(OPS) == tested
    for name, operator in OPS.items():
        assert operator.formula().startswith(f"{name}("), name


def test_every_alias_means_one_operator() -> None:
    aliases = [alias for op in OPS.values() for alias in op.aliases]
    assert len(aliases) == len(set(aliases)) > 20
    assert not set(aliases) & set(OPS)


def test_the_axis_of_an_operator_is_a_key_column() -> None:
    assert {operator.axis for operator in OPS.values()} == set(Axis)
    assert {Axis.SYMBOL.value, Axis.DATE.value} == {"symbol", "date"}


def test_a_window_at_a_constant_level_has_no_spread_at_all() -> None:
    # A variance rolled over 0.1 ends a little above 0, and dividing by that is noise.
    values = [5.3, *[0.1] * 30]
    days = [START + timedelta(days=i) for i in range(len(values))]
    frame = pl.DataFrame({"date": days, "symbol": "A", "x": values})
    last = {
        name: compile_expression(f"{name}(x, 10)", load_installed())
        .run(frame.lazy())
        .collect()
        .filter(pl.col("date") == days[-1])
        for name in ("STD", "SLOPE", "TS_ZSCORE")
    }
    assert last["STD"].get_column("value").to_list() == [0.0]
    assert last["SLOPE"].get_column("value").to_list() == [0.0]
    assert last["TS_ZSCORE"].is_empty()
