"""A macro: an expression with parameters, under a name."""

from prefect_instances import Argument, OpMacro


class Sharpe(OpMacro):
    """SHARPE(x, d=60) = mean over spread of the last d daily returns of x"""

    name, version = "SHARPE", "1.0.0"
    arguments = {"x": Argument.SERIES, "d": Argument.WINDOW}
    defaults = (60,)
    expression = "MEAN(DELTA(x, 1) / REF(x, 1), d) / STD(DELTA(x, 1) / REF(x, 1), d)"
