"""Formulas over fields, as text: read, checked, and run on polars.

What belongs here: the grammar (``syntax``), the operators and their formulas (``operators``), and
the program that a formula becomes (``program``). What must not: where the fields come from, which
is the business of the definitions that use it. No text ever reaches ``eval`` or ``exec``.
"""

from libs.plugins.expressions.operators import OPERATORS, Operator
from libs.plugins.expressions.program import Program, compile_expression, lookback
from libs.plugins.expressions.syntax import read_expression

__all__ = [
    "OPERATORS",
    "Operator",
    "Program",
    "compile_expression",
    "lookback",
    "read_expression",
]
