"""The operators of expressions, each with its formula; names are matched whatever their case.

``x_t`` is the value in a symbol's row ``t``; a window of ``d`` is the symbol's last ``d`` rows up
to and including ``t`` (its own rows: a day on which a symbol has no row does not count). A window
that is not full, or that holds a missing value, gives a missing value. Cross-sections take the
rows of one date and ignore missing values. What is not finite is missing.

Every operator looks back only, and the value in a row depends on no later row, not even in its
last bit: sums are centred on the symbol's first value rather than on its mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from inspect import getdoc

import polars as pl

from libs.definitions.base import closest

NEGLIGIBLE = 1e-12
"""The weight below which a value of the past no longer counts for ``EMA``'s lookback."""


class Axis(StrEnum):
    """Which rows a value is computed from."""

    ROW = "row"
    SYMBOL = "symbol"
    DATE = "date"


class Argument(StrEnum):
    """What an operator takes in a place."""

    SERIES = "series"
    CONDITION = "condition"
    WINDOW = "window"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: ``build`` takes polars expressions and then constants, in order.

    ``defaults`` are those of the last arguments that may be left out, ``least`` the smallest
    window, ``reach`` how many earlier rows a window needs.
    """

    name: str
    axis: Axis
    arguments: tuple[Argument, ...]
    build: Callable[..., pl.Expr]
    defaults: tuple[float, ...] = ()
    least: int = 1
    reach: Callable[[int], int] = lambda d: d - 1

    @property
    def formula(self) -> str:
        """How the value is defined."""
        return getdoc(self.build) or ""

    @property
    def usage(self) -> str:
        """Such as ``MEAN(series, window)``."""
        return f"{self.name}({', '.join(self.arguments)})"


def _operators() -> Iterator[Operator]:
    row, symbol, by_date = Axis.ROW, Axis.SYMBOL, Axis.DATE
    series, condition = Argument.SERIES, Argument.CONDITION
    one, two = (series, Argument.WINDOW), (series, series, Argument.WINDOW)
    yield Operator("ABS", row, (series,), _abs)
    yield Operator("SIGN", row, (series,), _sign)
    yield Operator("LOG", row, (series,), _log)
    yield Operator("IF", row, (condition, series, series), _if)
    yield Operator("REF", symbol, one, _ref, reach=lambda d: d)
    yield Operator("DELTA", symbol, one, _delta, reach=lambda d: d)
    yield Operator("SUM", symbol, one, _sum)
    yield Operator("MEAN", symbol, one, _mean)
    yield Operator("STD", symbol, one, _std, least=2)
    yield Operator("MIN", symbol, one, _min)
    yield Operator("MAX", symbol, one, _max)
    yield Operator("MED", symbol, one, _med)
    yield Operator("COV", symbol, two, _cov, least=2)
    yield Operator("CORR", symbol, two, _corr, least=2)
    yield Operator("EMA", symbol, one, _ema, reach=_ema_reach)
    yield Operator("WMA", symbol, one, _wma)
    yield Operator("SLOPE", symbol, one, _slope, least=2)
    yield Operator("TS_ZSCORE", symbol, one, _ts_zscore, least=2)
    yield Operator("TS_RANK", symbol, one, _ts_rank)
    yield Operator("ZSCORE", by_date, (series,), _zscore)
    yield Operator("RANK", by_date, (series,), _rank)
    yield Operator("SCALE", by_date, (series, Argument.NUMBER), _scale, defaults=(1.0,))
    yield Operator("DEMEAN", by_date, (series,), _demean)


def _abs(x: pl.Expr) -> pl.Expr:
    """ABS(x) = |x_t|"""
    return x.abs()


def _sign(x: pl.Expr) -> pl.Expr:
    """SIGN(x) = 1, 0 or -1, as x_t is above, at or below 0"""
    return x.sign()


def _log(x: pl.Expr) -> pl.Expr:
    """LOG(x) = ln(x_t); missing unless x_t > 0"""
    return x.log()


def _if(condition: pl.Expr, x: pl.Expr, y: pl.Expr) -> pl.Expr:
    """IF(c, x, y) = x_t where c holds, y_t where it does not; missing where c is missing"""
    return pl.when(condition).then(x).when(~condition).then(y)


def _ref(x: pl.Expr, d: int) -> pl.Expr:
    """REF(x, d) = x_{t-d}"""
    return x.shift(d)


def _delta(x: pl.Expr, d: int) -> pl.Expr:
    """DELTA(x, d) = x_t - x_{t-d}"""
    return x - x.shift(d)


def _sum(x: pl.Expr, d: int) -> pl.Expr:
    """SUM(x, d) = x_{t-d+1} + ... + x_t"""
    return x.rolling_sum(d, min_samples=d)


def _mean(x: pl.Expr, d: int) -> pl.Expr:
    """MEAN(x, d) = SUM(x, d) / d"""
    return x.rolling_mean(d, min_samples=d)


def _std(x: pl.Expr, d: int) -> pl.Expr:
    """STD(x, d) = sqrt(sum of (x_i - MEAN(x, d))**2 over the window / (d - 1)); d >= 2"""
    deviation = x.rolling_std(d, min_samples=d, ddof=1)
    varies = _varies(x, d)
    return pl.when(varies).then(deviation).when(~varies).then(0.0)


def _min(x: pl.Expr, d: int) -> pl.Expr:
    """MIN(x, d) = the smallest value of the window"""
    return x.rolling_min(d, min_samples=d)


def _max(x: pl.Expr, d: int) -> pl.Expr:
    """MAX(x, d) = the largest value of the window"""
    return x.rolling_max(d, min_samples=d)


def _med(x: pl.Expr, d: int) -> pl.Expr:
    """MED(x, d) = the median of the window; of an even number the mean of the middle two"""
    return x.rolling_median(d, min_samples=d)


def _cov(x: pl.Expr, y: pl.Expr, d: int) -> pl.Expr:
    """COV(x, y, d) = sum of (x_i - mean x)(y_i - mean y) over the window / (d - 1); d >= 2"""
    a, b = _pair(x, y)
    product = (a * b).rolling_mean(d, min_samples=d)
    means = a.rolling_mean(d, min_samples=d) * b.rolling_mean(d, min_samples=d)
    return (product - means) * (d / (d - 1))


def _corr(x: pl.Expr, y: pl.Expr, d: int) -> pl.Expr:
    """CORR(x, y, d) = COV(x, y, d) / (STD(x, d) STD(y, d)); missing where one is constant"""
    a, b = _pair(x, y)
    spread = a.rolling_std(d, min_samples=d) * b.rolling_std(d, min_samples=d)
    return pl.when(_varies(a, d) & _varies(b, d)).then((_cov(x, y, d) / spread).clip(-1, 1))


def _ema(x: pl.Expr, d: int) -> pl.Expr:
    """EMA(x, d) = a x_t + (1 - a) EMA_{t-1}, a = 2 / (d + 1), from the first value on

    Missing where x_t is, which the recursion skips, and for the first d - 1 values.
    """
    average = x.ewm_mean(span=d, adjust=False, min_samples=d, ignore_nulls=True)
    return pl.when(x.is_not_null()).then(average)


def _ema_reach(d: int) -> int:
    if d == 1:
        return 0
    return max(d - 1, math.ceil(math.log(NEGLIGIBLE) / math.log(1 - 2 / (d + 1))))


def _wma(x: pl.Expr, d: int) -> pl.Expr:
    """WMA(x, d) = (1 x_{t-d+1} + 2 x_{t-d+2} + ... + d x_t) / (1 + 2 + ... + d)"""
    first = _first(x)
    return _ramp_sum(x - first, d) / (d * (d + 1) / 2) + first


def _slope(x: pl.Expr, d: int) -> pl.Expr:
    """SLOPE(x, d) = the least squares slope of the window's values over 1, 2, ..., d; d >= 2"""
    a = x - _first(x)
    covariation = _ramp_sum(a, d) - (d + 1) / 2 * a.rolling_sum(d, min_samples=d)
    slope = covariation / (d * (d * d - 1) / 12)
    varies = _varies(x, d)
    return pl.when(varies).then(slope).when(~varies).then(0.0)


def _ts_zscore(x: pl.Expr, d: int) -> pl.Expr:
    """TS_ZSCORE(x, d) = (x_t - MEAN(x, d)) / STD(x, d); missing where the window is constant"""
    centred = x - x.rolling_mean(d, min_samples=d)
    return pl.when(_varies(x, d)).then(centred / x.rolling_std(d, min_samples=d))


def _ts_rank(x: pl.Expr, d: int) -> pl.Expr:
    """TS_RANK(x, d) = rank of x_t in its window / d, ties by their average; in (0, 1]"""
    return x.rolling_rank(d, min_samples=d, method="average") / d


def _zscore(x: pl.Expr) -> pl.Expr:
    """ZSCORE(x) = (x - mean) / standard deviation (n - 1) of the date; missing if all are equal"""
    return pl.when(x.max() > x.min()).then((x - x.mean()) / x.std(ddof=1))


def _rank(x: pl.Expr) -> pl.Expr:
    """RANK(x) = rank among the n values of the date / n, ties by their average; in (0, 1]"""
    return x.rank("average") / x.count()


def _scale(x: pl.Expr, a: float) -> pl.Expr:
    """SCALE(x, a=1) = a x / sum of |x| of the date; missing where that sum is 0"""
    return x * a / x.abs().sum()


def _demean(x: pl.Expr) -> pl.Expr:
    """DEMEAN(x) = x - mean of the date"""
    return x - x.mean()


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


OPERATORS: Mapping[str, Operator] = {operator.name: operator for operator in _operators()}

ALIASES: Mapping[str, str] = {
    "TS_SUM": "SUM",
    "TS_MEAN": "MEAN",
    "TS_STD": "STD",
    "TS_STDDEV": "STD",
    "STDDEV": "STD",
    "TS_MIN": "MIN",
    "TS_MAX": "MAX",
    "TS_MEDIAN": "MED",
    "TS_MED": "MED",
    "TS_CORR": "CORR",
    "CORRELATION": "CORR",
    "TS_COV": "COV",
    "COVARIANCE": "COV",
    "TS_REF": "REF",
    "TS_DELAY": "REF",
    "DELAY": "REF",
    "TS_DELTA": "DELTA",
    "TS_EMA": "EMA",
    "TS_WMA": "WMA",
    "TS_DECAY_LINEAR": "WMA",
    "DECAY_LINEAR": "WMA",
    "TS_SLOPE": "SLOPE",
}
"""The names of the 101 formulaic alphas (Kakushadze 2016) and their ``ts_`` forms."""


def find_operator(name: str, operators: Mapping[str, Operator] = OPERATORS) -> Operator | str:
    """The operator of that name or alias, or a text that says that there is none."""
    upper = name.upper()
    found = operators.get(ALIASES.get(upper, upper))
    if found is not None:
        return found
    return f"there is no operator {name!r}{closest(upper, [*operators, *ALIASES])}"
