"""Compiled expressions: stages of polars expressions, run one after the other.

polars cannot nest windows, and a window over symbols inside one over dates must be finished first:
so each call becomes a column, in a stage after the stages that it reads. So do its arguments and
the values that may be infinite: an expression that uses a part twice, as the test for finite values
does, would otherwise double in size with every level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add, and_, eq, ge, gt, le, lt, mul, ne, or_, sub, truediv

import polars as pl

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.definitions.expressions.syntax import (
    Arithmetic,
    AsNumber,
    Call,
    Comparison,
    Logic,
    Name,
    Node,
    Number,
    list_names,
    list_parts,
    read_expression,
)
from prefect_instances.libs.definitions.op import Axis, Function, Op
from prefect_instances.libs.definitions.registry import Registry

_Binary = Callable[[pl.Expr, pl.Expr], pl.Expr]
_ARITHMETIC: Mapping[str, _Binary] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": truediv,
    "**": lambda base, exponent: base.pow(exponent),
}
_COMPARISON: Mapping[str, _Binary] = {"<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne}


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression: the fields that it reads, its lookback, and its stages.

    ``calls`` are the ops and macros that it uses, including those within macros.
    """

    names: tuple[str, ...]
    lookback: int
    stages: tuple[tuple[pl.Expr, ...], ...]
    result: pl.Expr
    calls: tuple[type[Function], ...] = ()

    @property
    def crossing(self) -> tuple[str, ...]:
        """Return the ops that look across the symbols of a date; without any, rows can be split."""
        ops = [call for call in self.calls if issubclass(call, Op)]
        return tuple(sorted(op.name for op in ops if op.axis is Axis.DATE))

    def run(self, frame: pl.LazyFrame, output: str = "value") -> pl.LazyFrame:
        """Return ``date``, ``symbol`` and ``output`` (Float64) of every row that has a value.

        ``frame`` has ``date``, ``symbol`` and a numeric or Boolean column for each of ``names``,
        rows in any order, and each (date, symbol) once.
        """
        fields = [_finite(pl.col(name).cast(pl.Float64)).alias(name) for name in self.names]
        staged = frame.select("date", "symbol", *fields).sort("symbol", "date")
        for stage in self.stages:
            staged = staged.with_columns(stage)
        value = _finite(self.result.cast(pl.Float64)).alias(output)
        return staged.select("date", "symbol", value).drop_nulls(output)


def run_program(program_and_output: tuple[Program, str], rows: pl.DataFrame) -> pl.DataFrame:
    """Run a program on rows and collect the result; what an executor calls for each part."""
    program, output = program_and_output
    return program.run(rows.lazy(), output).collect()


def split_by_symbol(rows: pl.DataFrame, pieces: int) -> list[pl.DataFrame]:
    """Split rows into at most ``pieces`` frames, each with all rows of its symbols, in order."""
    symbols = rows.get_column("symbol").unique().sort()
    size = max(1, -(-len(symbols) // pieces))
    starts = range(0, len(symbols), size)
    groups = [symbols.slice(start, size) for start in starts]
    return [rows.filter(pl.col("symbol").is_in(group.implode())) for group in groups] or [rows]


def compile_expression(text: str, registry: Registry) -> Program:
    """Compile an expression; raise ``InvalidSpec`` with every problem of the text.

    ``registry`` holds the functions that can be called. Raises ``DefinitionUnavailable`` if a
    version that it prefers is not installed.
    """
    tree, problems, calls = read_expression(text, registry)
    if tree is None:
        raise InvalidSpec(problems)
    compiler = _Compiler()
    result = compiler.expression(tree)
    return Program(list_names(tree), _lookback(tree), compiler.stages(), result, calls)


def lookback(text: str, registry: Registry) -> int:
    """Return how many of a symbol's earlier rows the value in a row depends on.

    For ``EMA``, whose memory is infinite, only rows with a relevant weight count. Raises as
    ``compile_expression``.
    """
    return compile_expression(text, registry).lookback


def _lookback(node: Node) -> int:
    below = max((_lookback(part) for part in list_parts(node)), default=0)
    return below + node.op.lookback(*node.constants) if isinstance(node, Call) else below


class _Compiler:
    """Translates nodes to expressions; equal calls and equal arguments share one column."""

    def __init__(self) -> None:
        self._columns: dict[tuple[Node, bool], tuple[pl.Expr, int]] = {}
        self._stages: list[list[pl.Expr]] = []

    def stages(self) -> tuple[tuple[pl.Expr, ...], ...]:
        return tuple(tuple(stage) for stage in self._stages)

    def expression(self, node: Node) -> pl.Expr:
        return self._build(node)[0]

    def _build(self, node: Node) -> tuple[pl.Expr, int]:
        """Return the expression, and the number of stages that must run before it."""
        match node:
            case Number():
                return pl.lit(node.value), 0
            case Name():
                return pl.col(node.name), 0
            case Call():
                column, ready = self._column(node, self._argument)
                return _finite(column), ready
            case Arithmetic(sign="/" | "**"):
                column, ready = self._column(node, self._build)
                return _finite(column), ready
        built = [self._build(part) for part in list_parts(node)]
        return _combine(node, [part for part, _ in built]), max(stage for _, stage in built)

    def _column(
        self, node: Node, read: Callable[[Node], tuple[pl.Expr, int]]
    ) -> tuple[pl.Expr, int]:
        """Return a column with the node's value, which may be infinite."""
        key = (node, False)
        if key not in self._columns:
            built = [read(part) for part in list_parts(node)]
            value = _combine(node, [part for part, _ in built])
            self._columns[key] = self._add(value, max(stage for _, stage in built))
        return self._columns[key]

    def _argument(self, node: Node) -> tuple[pl.Expr, int]:
        """Return the node's value as a column of finite values, or of truth values."""
        if isinstance(node, Number | Name):
            return self._build(node)
        key = (node, True)
        if key not in self._columns:
            value, stage = self._build(node)
            is_number = not isinstance(node, Comparison | Logic)
            self._columns[key] = self._add(_finite(value) if is_number else value, stage)
        return self._columns[key]

    def _add(self, value: pl.Expr, stage: int) -> tuple[pl.Expr, int]:
        # No name in an expression begins with a blank, so these columns hide no field.
        name = f" {len(self._columns)}"
        while len(self._stages) <= stage:
            self._stages.append([])
        self._stages[stage].append(value.alias(name))
        return pl.col(name), stage + 1


def _combine(node: Node, parts: list[pl.Expr]) -> pl.Expr:
    match node:
        case Arithmetic():
            return _ARITHMETIC[node.sign](*parts)
        case Comparison():
            return _COMPARISON[node.sign](*parts)
        case Logic(sign="not"):
            return ~parts[0]
        case Logic():
            return reduce(and_ if node.sign == "and" else or_, parts)
        case AsNumber():
            return parts[0].cast(pl.Float64)
        case Call():
            return node.op(*parts, *node.constants)
    raise TypeError(f"{type(node).__name__} has no parts")


def _finite(value: pl.Expr) -> pl.Expr:
    """Return ``value`` if it is finite, else missing: an infinity would spoil a whole window."""
    return pl.when(value.is_finite()).then(value)
