"""Ops on a symbol's last rows; a window that is not full gives a missing value.

Sums are centred on the symbol's first value rather than on its mean: so the value in a row depends
on no later row, not even in its last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import polars as pl

from prefect_instances.libs.definitions.op import Argument, Axis, Op

ONE: Mapping[str, Argument] = {"x": Argument.SERIES, "d": Argument.WINDOW}
TWO: Mapping[str, Argument] = {"x": Argument.SERIES, "y": Argument.SERIES, "d": Argument.WINDOW}

NEGLIGIBLE = 1e-12
"""The weight below which a value of the past no longer counts for ``EMA``'s lookback."""


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


class Cov(Op):
    """COV(x, y, d) = sum of (x_i - mean x)(y_i - mean y) over the window / (d - 1); d >= 2"""

    name, version, axis = "COV", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = TWO
    aliases: ClassVar[tuple[str, ...]] = ("TS_COV", "COVARIANCE")
    least = 2

    def build(self, x: pl.Expr, y: pl.Expr, d: int) -> pl.Expr:
        a, b = _pair(x, y)
        product = (a * b).rolling_mean(d, min_samples=d)
        means = a.rolling_mean(d, min_samples=d) * b.rolling_mean(d, min_samples=d)
        return (product - means) * (d / (d - 1))


class Corr(Op):
    """CORR(x, y, d) = COV(x, y, d) / (STD(x, d) STD(y, d)); missing where one is constant"""

    name, version, axis = "CORR", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = TWO
    aliases: ClassVar[tuple[str, ...]] = ("TS_CORR", "CORRELATION")
    least = 2

    def build(self, x: pl.Expr, y: pl.Expr, d: int) -> pl.Expr:
        a, b = _pair(x, y)
        spread = a.rolling_std(d, min_samples=d) * b.rolling_std(d, min_samples=d)
        return pl.when(_varies(a, d) & _varies(b, d)).then(
            (Cov().build(x, y, d) / spread).clip(-1, 1)
        )


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


class Wma(Op):
    """WMA(x, d) = (1 x_{t-d+1} + 2 x_{t-d+2} + ... + d x_t) / (1 + 2 + ... + d)"""

    name, version, axis = "WMA", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_WMA", "TS_DECAY_LINEAR", "DECAY_LINEAR")

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        first = _first(x)
        return _ramp_sum(x - first, d) / (d * (d + 1) / 2) + first


class Slope(Op):
    """SLOPE(x, d) = the least squares slope of the window's values over 1, 2, ..., d; d >= 2"""

    name, version, axis = "SLOPE", "1.0.0", Axis.SYMBOL
    arguments: ClassVar[Mapping[str, Argument]] = ONE
    aliases: ClassVar[tuple[str, ...]] = ("TS_SLOPE",)
    least = 2

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        a = x - _first(x)
        covariation = _ramp_sum(a, d) - (d + 1) / 2 * a.rolling_sum(d, min_samples=d)
        slope = covariation / (d * (d * d - 1) / 12)
        varies = _varies(x, d)
        return pl.when(varies).then(slope).when(~varies).then(0.0)


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


def _first(x: pl.Expr) -> pl.Expr:
    return x.drop_nulls().first()


def _varies(x: pl.Expr, d: int) -> pl.Expr:
    """Whether the window holds two different values: exact, where a rolled variance is not."""
    return x.rolling_max(d, min_samples=d) > x.rolling_min(d, min_samples=d)


def _pair(x: pl.Expr, y: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Both series where neither is missing, each less its first value."""
    a, b = pl.when(y.is_not_null()).then(x), pl.when(x.is_not_null()).then(y)
    return a - _first(a), b - _first(b)


def _ramp_sum(x: pl.Expr, d: int) -> pl.Expr:
    """Sum of the window's values times 1, 2, ..., d, by two rolling sums."""
    row = pl.int_range(pl.len()).cast(pl.Float64)
    weighted = (x * row).rolling_sum(d, min_samples=d)
    return weighted - (row - d) * x.rolling_sum(d, min_samples=d)
