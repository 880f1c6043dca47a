"""Expressions: formulas over fields, parsed from text, checked, and run on polars.

What belongs here: the grammar (``syntax``), the program that a formula is compiled to
(``program``), and turning constants into the arguments of a macro (``parameters``). What must not:
the functions that a formula calls, which are ordinary definitions (the built-in ones are in
``libs.plugins.ops``), and the source of the fields, which is up to the definitions that use it. No
text ever reaches ``eval`` or ``exec``.
"""

from prefect_instances.libs.definitions.expressions.parameters import NamedConstants, name_constants
from prefect_instances.libs.definitions.expressions.program import (
    Program,
    compile_expression,
    lookback,
    run_program,
    split_by_symbol,
)
from prefect_instances.libs.definitions.expressions.syntax import (
    list_macro_problems,
    read_expression,
)

__all__ = [
    "NamedConstants",
    "Program",
    "compile_expression",
    "list_macro_problems",
    "lookback",
    "name_constants",
    "read_expression",
    "run_program",
    "split_by_symbol",
]
