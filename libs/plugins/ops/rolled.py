"""Numerically stable sums over windows, independent of the values before the window.

A window of ``d`` rows touches at most two blocks of ``d`` rows: it ends within one and begins in
the one before. Its sum is a running sum from the start of the one and a running sum back from the
end of the other (van Herk 1992), so no value is ever subtracted again, and values before the window
leave no rounding error. Values are centred on the first row of the block in which the window ends:
it belongs to the window, so no later row and no row before the window has an effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NOISE = 4 * np.finfo(np.float64).eps
"""Relative difference below which two values differ by rounding only."""

LEAST_SQUARES = 1e-290
"""Smallest sum of squares that has not lost precision to underflow."""


@dataclass(frozen=True)
class Centred:
    """A column in blocks of ``d`` rows, minus the first value of its own or of the next block.

    NaN if missing, and behind the last row.
    """

    own: Floats
    ahead: Floats
    centre: Floats


def centred(values: Floats, d: int) -> Centred:
    """Centre a column (rows, NaN where missing) block by block (blocks x d)."""
    blocks = _blocks(values, d)
    first = blocks[:, :1]
    following = np.vstack([first[1:], np.full((1, 1), np.nan)])
    return Centred(blocks - first, blocks - following, np.repeat(first[:, 0], d)[: len(values)])


def window_sum(own: Floats, ahead: Floats, rows: int) -> Floats:
    """Return the sum of each window that ends in one of the ``rows``, NaN if it is not full.

    ``own`` (blocks x d) holds the terms of rows in the block in which the window ends, ``ahead``
    those of rows in the block before it.
    """
    result = np.cumsum(own, axis=1)
    result[1:, :-1] += _backwards(ahead)[:-1, 1:]
    result[0, :-1] = np.nan
    return result.reshape(-1)[:rows]


def ramp_sum(x: Centred, rows: int) -> Floats:
    """Return the sum of each window's centred values times 1, 2, ..., d."""
    d = x.own.shape[1]
    place = np.arange(d, dtype=np.float64)
    # In the row with place j a value of its own block at m counts m + d - j, one before it m - j.
    whole = window_sum(x.own * (place + 1), x.ahead * place, rows)
    own = np.cumsum(x.own, axis=1) * (d - 1 - place)
    before = np.zeros_like(own)
    before[1:, :-1] = _backwards(x.ahead)[:-1, 1:] * place[:-1]
    return np.asarray(whole + (own - before).reshape(-1)[:rows])


def covariation(x: Centred, y: Centred, rows: int) -> Floats:
    """Return the sum of (x - mean x)(y - mean y) over each window."""
    d = x.own.shape[1]
    products = window_sum(x.own * y.own, x.ahead * y.ahead, rows)
    return np.asarray(products - total(x, rows) * total(y, rows) / d)


def variation(x: Centred, rows: int) -> Floats:
    """Return the sum of (x - mean x)**2 over each window, NaN if values differ by rounding only."""
    d = x.own.shape[1]
    squares = covariation(x, x, rows)
    noise = np.maximum(d * (NOISE * x.centre) ** 2, LEAST_SQUARES)
    return np.where(squares > noise, squares, np.nan)


def total(x: Centred, rows: int) -> Floats:
    """Return the sum of each window's centred values."""
    return window_sum(x.own, x.ahead, rows)


def of_columns(kernel: Callable[..., Floats], *columns: pl.Expr) -> pl.Expr:
    """Build the column that a kernel computes from the values of columns, NaN if missing."""

    def run(series: Sequence[pl.Series]) -> pl.Series:
        arrays = [one.cast(pl.Float64).fill_null(np.nan).to_numpy() for one in series]
        with np.errstate(all="ignore"):
            return pl.Series(kernel(*arrays), dtype=pl.Float64)

    return pl.map_batches(columns, run, return_dtype=pl.Float64)


def _backwards(blocks: Floats) -> Floats:
    """Return running sums from the end of each block back."""
    return np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1]


def _blocks(values: Floats, d: int) -> Floats:
    count = max(1, -(-len(values) // d))
    padded = np.full(count * d, np.nan)
    padded[: len(values)] = values
    return padded.reshape(count, d)
