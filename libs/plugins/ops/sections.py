"""Ops across the symbols of one date; missing values are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import polars as pl

from prefect_instances.libs.definitions.op import Argument, Axis, Op


class Zscore(Op):
    """ZSCORE(x) = (x - mean) / standard deviation (n - 1) of the date; missing if all are equal"""

    name, version, axis = "ZSCORE", "1.0.0", Axis.DATE
    arguments: ClassVar[Mapping[str, Argument]] = {"x": Argument.SERIES}

    def build(self, x: pl.Expr) -> pl.Expr:
        return pl.when(x.max() > x.min()).then((x - x.mean()) / x.std(ddof=1))


class Rank(Op):
    """RANK(x) = rank among the n values of the date / n, ties by their average; in (0, 1]"""

    name, version, axis = "RANK", "1.0.0", Axis.DATE
    arguments: ClassVar[Mapping[str, Argument]] = {"x": Argument.SERIES}

    def build(self, x: pl.Expr) -> pl.Expr:
        return x.rank("average") / x.count()


class Scale(Op):
    """SCALE(x, a=1) = a x / sum of |x| of the date; missing where that sum is 0"""

    name, version, axis = "SCALE", "1.0.0", Axis.DATE
    arguments: ClassVar[Mapping[str, Argument]] = {"x": Argument.SERIES, "a": Argument.NUMBER}
    defaults: ClassVar[tuple[float, ...]] = (1.0,)

    def build(self, x: pl.Expr, a: float) -> pl.Expr:
        return x * a / x.abs().sum()


class Demean(Op):
    """DEMEAN(x) = x - mean of the date"""

    name, version, axis = "DEMEAN", "1.0.0", Axis.DATE
    arguments: ClassVar[Mapping[str, Argument]] = {"x": Argument.SERIES}

    def build(self, x: pl.Expr) -> pl.Expr:
        return x - x.mean()
