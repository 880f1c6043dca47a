"""Ops on a symbol's last rows; a window that is not full gives a missing value.

A value depends only on the rows of its window, down to its last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import polars as pl

from prefect_instances.libs.definitions.op import Argument, Axis, Op
from prefect_instances.libs.plugins.ops.rolled import (
    Centred,
    Floats,
    RolledOp,
    compute_covariation,
    compute_variation,
    sum_centred,
    sum_ramps,
)

ONE: Mapping[str, Argument] = {"x": Argument.SERIES, "d": Argument.WINDOW}
TWO: Mapping[str, Argument] = {"x": Argument.SERIES, "y": Argument.SERIES, "d": Argument.WINDOW}

NEGLIGIBLE = 1e-12
"""Smallest weight of a past value that counts for ``EMA``'s lookback."""


class Ref(Op):
    """REF(x, d) = x_{t-d}"""

    name, version, axis = "REF", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_REF", "TS_DELAY", "DELAY")

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x.shift(d)

    def lookback(self, d: int) -> int:
        return d


class Delta(Op):
    """DELTA(x, d) = x_t - x_{t-d}"""

    name, version, axis = "DELTA", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_DELTA",)

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x - x.shift(d)

    def lookback(self, d: int) -> int:
        return d


class Sum(Op):
    """SUM(x, d) = x_{t-d+1} + ... + x_t"""

    name, version, axis = "SUM", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_SUM",)

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x.rolling_sum(d, min_samples=d)


class Mean(Op):
    """MEAN(x, d) = SUM(x, d) / d"""

    name, version, axis = "MEAN", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_MEAN",)

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x.rolling_mean(d, min_samples=d)


class Std(Op):
    """STD(x, d) = sqrt(sum of (x_i - MEAN(x, d))**2 over the window / (d - 1)); d >= 2"""

    name, version, axis = "STD", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_STD", "TS_STDDEV", "STDDEV")
    least = 2

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        deviation = x.rolling_std(d, min_samples=d, ddof=1)
        varies = _varies(x, d)
        return pl.when(varies).then(deviation).when(~varies).then(0.0)


class Min(Op):
    """MIN(x, d) = the smallest value of the window"""

    name, version, axis = "MIN", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_MIN",)

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x.rolling_min(d, min_samples=d)


class Max(Op):
    """MAX(x, d) = the largest value of the window"""

    name, version, axis = "MAX", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_MAX",)

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x.rolling_max(d, min_samples=d)


class Med(Op):
    """MED(x, d) = the median of the window; of an even number the mean of the middle two"""

    name, version, axis = "MED", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_MEDIAN", "TS_MED")

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x.rolling_median(d, min_samples=d)


class Cov(RolledOp):
    """COV(x, y, d) = sum of (x_i - mean x)(y_i - mean y) over the window / (d - 1); d >= 2"""

    name, version = "COV", "1.0.0"
    arguments: ClassVar[Mapping[str, Argument]] = TWO
    aliases: ClassVar[tuple[str, ...]] = ("TS_COV", "COVARIANCE")
    least = 2

    def compute(self, d: int, *columns: Centred) -> Floats:
        return compute_covariation(*columns) / (d - 1)


class Corr(RolledOp):
    """CORR(x, y, d) = COV(x, y, d) / (STD(x, d) STD(y, d)); missing where one is constant

    Constant is also what varies by rounding only: by less than 4 units in the last place.
    """

    name, version = "CORR", "1.0.0"
    arguments: ClassVar[Mapping[str, Argument]] = TWO
    aliases: ClassVar[tuple[str, ...]] = ("TS_CORR", "CORRELATION")
    least = 2

    def compute(self, d: int, *columns: Centred) -> Floats:
        del d
        one, other = (np.sqrt(compute_variation(column)) for column in columns)
        return np.asarray(np.clip(compute_covariation(*columns) / (one * other), -1.0, 1.0))


class Ema(Op):
    """EMA(x, d) = a x_t + (1 - a) EMA_{t-1}, a = 2 / (d + 1), from the first value on

    Missing where x_t is, which the recursion skips, and for the first d - 1 values.
    """

    name, version, axis = "EMA", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_EMA",)

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        average = x.ewm_mean(span=d, adjust=False, min_samples=d, ignore_nulls=True)
        return pl.when(x.is_not_null()).then(average)

    def lookback(self, d: int) -> int:
        if d == 1:
            return 0
        return max(d - 1, math.ceil(math.log(NEGLIGIBLE) / math.log(1 - 2 / (d + 1))))


class Wma(RolledOp):
    """WMA(x, d) = (1 x_{t-d+1} + 2 x_{t-d+2} + ... + d x_t) / (1 + 2 + ... + d)"""

    name, version = "WMA", "1.0.0"
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_WMA", "TS_DECAY_LINEAR", "DECAY_LINEAR")

    def compute(self, d: int, *columns: Centred) -> Floats:
        (one,) = columns
        return sum_ramps(one) / (d * (d + 1) / 2) + one.centre


class Slope(RolledOp):
    """SLOPE(x, d) = the least squares slope of the window's values over 1, 2, ..., d; d >= 2"""

    name, version = "SLOPE", "1.0.0"
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_SLOPE",)
    least = 2

    def compute(self, d: int, *columns: Centred) -> Floats:
        (one,) = columns
        return (sum_ramps(one) - (d + 1) / 2 * sum_centred(one)) / (d * (d * d - 1) / 12)


class TsZscore(Op):
    """TS_ZSCORE(x, d) = (x_t - MEAN(x, d)) / STD(x, d); missing where the window is constant"""

    name, version, axis = "TS_ZSCORE", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    least = 2

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        centred = x - x.rolling_mean(d, min_samples=d)
        return pl.when(_varies(x, d)).then(centred / x.rolling_std(d, min_samples=d))


class TsRank(Op):
    """TS_RANK(x, d) = rank of x_t in its window / d, ties by their average; in (0, 1]"""

    name, version, axis = "TS_RANK", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        return x.rolling_rank(d, min_samples=d, method="average") / d


def _varies(x: pl.Expr, d: int) -> pl.Expr:
    """Return True if the window holds two different values: exact, unlike a rolled variance."""
    return x.rolling_max(d, min_samples=d) > x.rolling_min(d, min_samples=d)
