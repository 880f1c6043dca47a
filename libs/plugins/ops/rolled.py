"""Numerically stable sums over windows, independent of the values before the window.

A window of ``d`` rows touches at most two blocks of ``d`` rows: it ends within one and begins in
the one before. Its sum is a running sum from the start of the one and a running sum back from the
end of the other (van Herk 1992), so no value is ever subtracted again, and values before the window
leave no rounding error. Values are centred on the first row of the block in which the window ends:
it belongs to the window, so no later row and no row before the window has an effect.

All symbols are summed at once. In an array of blocks (d x blocks) the first axis is the place
within a block and the second are the blocks of all symbols, so a step of a running sum is one
addition of long rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefect_instances.libs.definitions.op import Axis, Op

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

NOISE = 4 * np.finfo(np.float64).eps
"""Relative difference below which two values differ by rounding only."""

LEAST_SQUARES = 1e-290
"""Smallest sum of squares that has not lost precision to underflow."""


LONG = 64
"""Length from which on one addition of rows costs less than leaping from row to row."""


@dataclass(frozen=True)
class Centred:
    """A column in blocks (d x blocks), minus the first value of its own or of the next block.

    NaN if missing, and behind the last row of a symbol. ``centre`` is the first value of each
    block; ``first`` is True for the first block of a symbol.
    """

    own: Floats
    ahead: Floats
    centre: Floats
    first: NDArray[np.bool_]


class RolledOp(Op):
    """Base of the ops on sums over windows; the arguments are series, then the window."""

    axis = Axis.SYMBOL

    @abstractmethod
    def compute(self, d: int, *columns: Centred) -> Floats:
        """Return the value of the window that ends in each row (d x blocks), NaN if missing."""

    def build(self, *given: Any, **_: Any) -> pl.Expr:
        """See ``Op.build``."""
        *columns, d = given
        return pl.map_batches(columns, lambda all_: self._run(d, all_, None), pl.Float64)

    def __call__(self, *given: pl.Expr | float) -> pl.Expr:
        """See ``Op.__call__``; one call computes all symbols."""
        *columns, d = self.completed(given)
        series = [pl.col(self.axis.value), *columns]
        return pl.map_batches(series, lambda all_: self._run(d, all_[1:], all_[0]), pl.Float64)

    def _run(self, d: int, columns: Sequence[pl.Series], symbols: pl.Series | None) -> pl.Series:
        rows = columns[0].len()
        layout = _lay_out(rows, symbols, d)
        arrays = (one.cast(pl.Float64).fill_null(np.nan).to_numpy() for one in columns)
        with np.errstate(all="ignore"):
            found = self.compute(d, *(centre(values, layout, d) for values in arrays))
        return pl.Series(found.T.reshape(-1)[layout.place], dtype=pl.Float64)


@dataclass(frozen=True)
class Layout:
    """Places of rows in ``count`` blocks, counted block by block; no block has two symbols."""

    place: Whole
    count: int
    first: NDArray[np.bool_]


def _lay_out(rows: int, symbols: pl.Series | None, d: int) -> Layout:
    """Give each symbol whole blocks, in the order of its rows."""
    order = None if symbols is None else _grouping_order(symbols)
    if symbols is not None and order is not None:
        symbols = symbols.gather(order)
    starts = np.zeros(1, dtype=np.int64) if symbols is None else _starts(symbols)
    lengths = np.diff(np.append(starts, rows))
    blocks = -(-lengths // d)
    before = np.cumsum(blocks) - blocks
    place = np.arange(rows) + np.repeat(before * d - starts, lengths)
    if order is not None:
        place[order] = place.copy()
    first = np.zeros(int(blocks.sum()), dtype=bool)
    first[before[blocks > 0]] = True
    return Layout(place, len(first), first)


def _starts(symbols: pl.Series) -> Whole:
    """Return the first row of each run of equal symbols."""
    changes = symbols.ne_missing(symbols.shift(1)).arg_true().to_numpy().astype(np.int64)
    return changes if len(changes) and changes[0] == 0 else np.append(0, changes)


def _grouping_order(symbols: pl.Series) -> Whole | None:
    """Return the order that brings the rows of each symbol together; None if they are."""
    if not symbols.len() or symbols.gather(_starts(symbols)).is_unique().all():
        return None
    return np.argsort(symbols.rank("dense").to_numpy(), kind="stable")


def centre(values: Floats, layout: Layout, d: int) -> Centred:
    """Arrange a column (rows, NaN where missing) in blocks and centre it block by block."""
    padded = np.full(layout.count * d, np.nan)
    padded[layout.place] = values
    blocks = np.ascontiguousarray(padded.reshape(layout.count, d).T)
    head = blocks[0]
    following = np.append(head[1:], np.nan)
    return Centred(blocks - head, blocks - following, head, layout.first)


def sum_windows(own: Floats, ahead: Floats, first: NDArray[np.bool_]) -> Floats:
    """Return the sum of each window (d x blocks), NaN if it is not full.

    ``own`` holds the terms of rows in the block in which the window ends, ``ahead`` those of rows
    in the block before it.
    """
    result = _running_sum(own)
    result[:-1, 1:] += _sum_back(ahead)[:, :-1]
    result[:-1, first] = np.nan
    return result


def sum_ramps(x: Centred) -> Floats:
    """Return the sum of each window's centred values times 1, 2, ..., d."""
    d = len(x.own)
    place = np.arange(d, dtype=np.float64)[:, None]
    # In the row with place j a value of its own block at m counts m + d - j, one before it m - j.
    whole = sum_windows(x.own * (place + 1), x.ahead * place, x.first)
    rest = _running_sum(x.own) * (d - 1 - place)
    rest[:-1, 1:] -= _sum_back(x.ahead)[:, :-1] * place[:-1]
    return np.asarray(whole + rest)


def compute_covariation(x: Centred, y: Centred) -> Floats:
    """Return the sum of (x - mean x)(y - mean y) over each window."""
    products = sum_windows(x.own * y.own, x.ahead * y.ahead, x.first)
    one = sum_centred(x)
    return np.asarray(products - one * (one if x is y else sum_centred(y)) / len(x.own))


def compute_variation(x: Centred) -> Floats:
    """Return the sum of (x - mean x)**2 over each window, NaN if values differ by rounding only."""
    squares = compute_covariation(x, x)
    noise = np.maximum(len(x.own) * (NOISE * x.centre) ** 2, LEAST_SQUARES)
    return np.where(squares > noise, squares, np.nan)


def sum_centred(x: Centred) -> Floats:
    """Return the sum of each window's centred values."""
    return sum_windows(x.own, x.ahead, x.first)


def _running_sum(blocks: Floats) -> Floats:
    """Return running sums along the first axis; for long rows, row by row is faster than cumsum."""
    if blocks.shape[1] < LONG:
        return np.cumsum(blocks, axis=0)
    result = np.empty_like(blocks)
    result[0] = blocks[0]
    for at in range(1, len(blocks)):
        np.add(result[at - 1], blocks[at], out=result[at])
    return result


def _sum_back(blocks: Floats) -> Floats:
    """Return running sums from the end of each block back, without that of the whole block."""
    return _running_sum(blocks[:0:-1])[::-1] if len(blocks) > 1 else blocks[1:]
