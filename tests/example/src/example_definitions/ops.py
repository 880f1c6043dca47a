"""Ops: functions of expressions, written in polars."""

import polars as pl

from prefect_instances import Argument, Axis, Op


class Drawdown(Op):
    """DRAWDOWN(x, d) = x_t / MAX(x, d) - 1"""

    name, version = "DRAWDOWN", "1.0.0"
    axis = Axis.SYMBOL
    arguments = {"x": Argument.SERIES, "d": Argument.WINDOW}

    def build(self, x: pl.Expr, d: int) -> pl.Expr:
        """A window that is not full gives a missing value."""
        return x / x.rolling_max(d, min_samples=d) - 1


class Clip(Op):
    """CLIP(x, low=-3, high=3) = x_t, but at least low and at most high"""

    name, version = "CLIP", "1.0.0"
    axis = Axis.ROW
    arguments = {"x": Argument.SERIES, "low": Argument.NUMBER, "high": Argument.NUMBER}
    defaults = (-3.0, 3.0)

    def build(self, x: pl.Expr, low: float, high: float) -> pl.Expr:
        """Missing where x is."""
        return x.clip(low, high)
