"""Windows keep their digits: what left the window leaves no trace, and noise is no correlation."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.expressions.program import compile_expression
from prefect_instances.libs.definitions.installed import load_installed

Array = np.ndarray[Any, Any]

D = 7
RAMP = np.arange(1.0, D + 1)


def values_of(expression: str, x: Array, y: Array) -> Array:
    """The expression's value in each row of one symbol, NaN where missing."""
    days = [date(2024, 1, 1) + timedelta(days=at) for at in range(len(x))]
    frame = pl.DataFrame({"date": days, "symbol": ["A"] * len(x), "x": x, "y": y})
    found = compile_expression(expression, load_installed()).run(frame.lazy()).collect()
    joined = frame.select("date").join(found, on="date", how="left", maintain_order="left")
    return joined["value"].fill_null(np.nan).to_numpy()


FORMULAS = {
    f"COV(x, y, {D})": lambda a, b: np.cov(a, b)[0, 1],
    f"CORR(x, y, {D})": lambda a, b: np.corrcoef(a, b)[0, 1],
    f"WMA(x, {D})": lambda a, _: np.average(a, weights=RAMP),
    f"SLOPE(x, {D})": lambda a, _: ((RAMP - RAMP.mean()) * (a - a.mean())).sum() / 28,
}


@pytest.mark.parametrize("expression", FORMULAS)
@given(
    seed=st.integers(0, 2**32),
    at=st.integers(0, 20),
    scale=st.sampled_from([1e6, 1e12, 1e15]),
)
def test_what_has_left_the_window_leaves_no_trace(
    expression: str, seed: int, at: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 60))
    x[at] *= scale
    y[at] *= scale
    found = values_of(expression, x, y)

    for end in [*range(D, at + 1), *range(at + D + 1, 61)]:
        expected = FORMULAS[expression](x[end - D : end], y[end - D : end])
        assert found[end - 1] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("level", "spread"),
    [(0.0, 0.0), (0.1, 0.0), (1.0, 2e-16), (-3e5, 1e-10), (0.0, 1e-160), (0.0, 5e-324)],
)
def test_the_correlation_of_a_vanishing_spread_is_missing(level: float, spread: float) -> None:
    rng = np.random.default_rng(3)
    sign = rng.choice([-1.0, 1.0], 40)
    found = values_of(f"CORR(x, y, {D})", level + spread * sign, rng.normal(size=40))

    assert np.isnan(found).all()


def test_a_correlation_of_few_digits_is_still_one() -> None:
    rng = np.random.default_rng(4)
    x, y = 1.0 + 1e-12 * rng.normal(size=40), rng.normal(size=40)
    found = values_of(f"CORR(x, y, {D})", x, y)

    for end in range(D, 41):
        a, b = x[end - D : end] - x[end - D], y[end - D : end]
        assert found[end - 1] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


def test_a_constant_has_no_correlation_and_no_slope() -> None:
    x = np.full(20, 0.1)

    assert np.isnan(values_of(f"CORR(x, y, {D})", x, np.arange(20.0))).all()
    assert values_of(f"SLOPE(x, {D})", x, x)[D - 1 :].tolist() == [0.0] * (21 - D)
    assert values_of(f"WMA(x, {D})", x, x)[D - 1 :].tolist() == [0.1] * (21 - D)


@pytest.mark.parametrize("expression", FORMULAS)
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=80),
    is_mixed=st.booleans(),
)
def test_all_symbols_at_once_give_what_each_gives_alone(
    expression: str, seed: int, lengths: list[int], is_mixed: bool
) -> None:
    rng = np.random.default_rng(seed)
    symbols = np.repeat([f"S{at:02}" for at in range(len(lengths))], lengths)
    x, y = np.where(
        rng.random((2, len(symbols))) < 0.02, np.nan, rng.normal(size=(2, len(symbols)))
    )
    frame = pl.DataFrame({"symbol": symbols, "x": x, "y": y, "row": range(len(symbols))})
    day = frame.select(pl.int_range(pl.len()).over("symbol")).to_series()
    frame = frame.sort(day, maintain_order=True) if is_mixed else frame
    called, names = expression.split("(")[0], ["x", "y"] if "y" in expression else ["x"]
    op: Any = load_installed().get(DefinitionKind.OP, called)()

    value = op(*(pl.col(name) for name in names), D)
    found = frame.select("row", value=value).sort("row")["value"]
    alone = op.build(*(pl.col(name) for name in names), D)
    each = [part.select(value=alone) for part in frame.sort("row").partition_by("symbol")]
    assert found.equals(pl.concat(each)["value"])
