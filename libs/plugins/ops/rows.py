"""Ops on one row at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import polars as pl

from prefect_instances.libs.definitions.op import Argument, Axis, Op


class Abs(Op):
    """ABS(x) = |x_t|"""

    name, version, axis = "ABS", "1.0.0", Axis.ROW
    arguments: ClassVar[Mapping[str, Argument]] = {"x": Argument.SERIES}

    def build(self, x: pl.Expr) -> pl.Expr:
        return x.abs()


class Sign(Op):
    """SIGN(x) = 1, 0 or -1, as x_t is above, at or below 0"""

    name, version, axis = "SIGN", "1.0.0", Axis.ROW
    arguments: ClassVar[Mapping[str, Argument]] = {"x": Argument.SERIES}

    def build(self, x: pl.Expr) -> pl.Expr:
        return x.sign()


class Log(Op):
    """LOG(x) = ln(x_t); missing unless x_t > 0"""

    name, version, axis = "LOG", "1.0.0", Axis.ROW
    arguments: ClassVar[Mapping[str, Argument]] = {"x": Argument.SERIES}

    def build(self, x: pl.Expr) -> pl.Expr:
        return x.log()


class If(Op):
    """IF(c, x, y) = x_t where c holds, y_t where it does not; missing where c is missing"""

    name, version, axis = "IF", "1.0.0", Axis.ROW
    arguments: ClassVar[Mapping[str, Argument]] = {
        "condition": Argument.CONDITION,
        "x": Argument.SERIES,
        "y": Argument.SERIES,
    }

    def build(self, condition: pl.Expr, x: pl.Expr, y: pl.Expr) -> pl.Expr:
        return pl.when(condition).then(x).when(~condition).then(y)
