"""The one definition of a usable price: a finite number above zero.

Missing, NaN, infinite, zero and negative prices are unusable and all mean that there is no price.
Expressions, features, optimizers and backtests all use this module. A missing number is null in a
frame and NaN in an array. Values that are not prices (a signal, a volume, a return) may be zero or
negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRICE_FIELDS = frozenset(
    {"open", "high", "low", "close", "adj_close", "adjusted_close", "price", "vwap"}
)
"""Names of columns that hold prices, in lower case; any other column is a price where a
configuration names it as one."""


def is_price_field(name: str) -> bool:
    """Return True if a column of this name holds prices; case and blanks do not matter."""
    return name.strip().lower().replace(" ", "_") in PRICE_FIELDS


def price_fields(names: Sequence[str]) -> list[str]:
    """Return the column names that hold prices, in their order."""
    return [name for name in names if is_price_field(name)]


def usable(prices: Floats) -> NDArray[np.bool_]:
    """Return for each price whether it is usable; the result has the shape of ``prices``."""
    return np.asarray(np.isfinite(prices) & (prices > 0.0))


def usable_prices(prices: Floats) -> Floats:
    """Return a copy of the prices with NaN for each unusable one."""
    return np.where(usable(prices), prices, np.nan)


def is_usable(price: pl.Expr) -> pl.Expr:
    """Build an expression that is true for usable prices and false, never null, for others.

    ``price`` is a numeric column.
    """
    return (price.is_finite() & (price > 0)).fill_null(value=False)


def usable_price(price: pl.Expr) -> pl.Expr:
    """Build an expression for the prices, null for each unusable one."""
    return pl.when(is_usable(price)).then(price)


def count_unusable(
    frame: pl.LazyFrame, columns: Sequence[str]
) -> tuple[int, dict[str, dict[str, int]]]:
    """Return the number of rows, and for each numeric column its unusable values by kind.

    The kinds are ``missing`` (null or NaN), ``infinite``, ``zero`` and ``negative``; those that do
    not occur are left out. Each unusable value is of one kind.
    """
    counts = [
        expression.sum().alias(f"{at} {kind}")
        for at, name in enumerate(columns)
        for kind, expression in _kinds(pl.col(name).cast(pl.Float64)).items()
    ]
    found = frame.select(pl.len(), *counts).collect().row(0, named=True)
    rows = found.pop("len")
    by_column: dict[str, dict[str, int]] = {name: {} for name in columns}
    for key, count in found.items():
        at, kind = key.split(" ")
        if count:
            by_column[columns[int(at)]][kind] = count
    return rows, by_column


def _kinds(price: pl.Expr) -> dict[str, pl.Expr]:
    finite = price.is_finite()
    return {
        "missing": price.is_null() | price.is_nan(),
        "infinite": price.is_infinite(),
        "zero": finite & (price == 0),
        "negative": finite & (price < 0),
    }
