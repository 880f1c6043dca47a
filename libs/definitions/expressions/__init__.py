"""Formulas over fields, as text: read, checked, and run on polars.

What belongs here: the grammar (``syntax``) and the program that a formula becomes (``program``).
What must not: the functions that a formula calls, which are definitions like any other (the
built-in ones are in ``libs.plugins.ops``), and where the fields come from, which is the business
of the definitions that use it. No text ever reaches ``eval`` or ``exec``.
"""

from libs.definitions.expressions.program import Program, compile_expression, lookback
from libs.definitions.expressions.syntax import macro_problems, read_expression

__all__ = [
    "Program",
    "compile_expression",
    "lookback",
    "macro_problems",
    "read_expression",
]
