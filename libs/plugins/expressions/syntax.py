"""The grammar of expressions: text to a tree of known nodes, or every fault with its position.

Python's parser reads the text; only the node types below are let through, and what they become
are nodes of our own. Nothing is ever evaluated.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from libs.core.errors import Problem
from libs.definitions.content import KEYS, KNOWLEDGE
from libs.plugins.expressions.operators import (
    OPERATORS,
    Argument,
    Axis,
    Operator,
    find_operator,
)

_T = TypeVar("_T")

MAX_LENGTH = 4_000
MAX_DEPTH = 100
MAX_NODES = 200
MAX_WINDOW = 10_000


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Name:
    """A field by the name that the expression gives it."""

    name: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left sign right`` with ``+ - * / **``."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left sign right`` with ``< <= > >= == !=``; a condition."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """Conditions joined by ``and`` or ``or``, or one under ``not``; a condition."""

    sign: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AsNumber:
    """A condition where a number is needed: 1 where it holds, 0 where it does not."""

    condition: Node


@dataclass(frozen=True, slots=True)
class Call:
    """An operator applied to nodes and then to constants, in the order of its arguments."""

    operator: Operator
    nodes: tuple[Node, ...]
    constants: tuple[float, ...]


Node = Number | Name | Arithmetic | Comparison | Logic | AsNumber | Call

_ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}
_COMPARISON: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_REFUSED: Mapping[type[ast.AST], str] = {
    ast.Attribute: "attributes are not allowed",
    ast.Subscript: "subscripts are not allowed: the value d rows ago is REF(x, d)",
    ast.Lambda: "functions are not allowed",
    ast.ListComp: "comprehensions are not allowed",
    ast.SetComp: "comprehensions are not allowed",
    ast.DictComp: "comprehensions are not allowed",
    ast.GeneratorExp: "comprehensions are not allowed",
    ast.JoinedStr: "texts are not allowed",
    ast.IfExp: "write IF(condition, x, y)",
    ast.NamedExpr: "assignments are not allowed",
    ast.BitAnd: "write 'and' instead of '&'",
    ast.BitOr: "write 'or' instead of '|'",
    ast.BitXor: "write '**' for a power",
    ast.Invert: "write 'not' instead of '~'",
}


def read_expression(
    text: str, operators: Mapping[str, Operator] = OPERATORS
) -> tuple[Node | None, list[Problem]]:
    """The tree of ``text`` and no problem, or ``None`` and all its problems.

    The messages begin with the position: ``line 1, column 5: ...``, both from 1.
    """
    if len(text) > MAX_LENGTH:
        message = f"has {len(text)} characters, at most {MAX_LENGTH} are allowed"
        return None, [Problem("", message)]
    reader = _Reader(text, operators)
    return reader.read(), reader.problems


def names_of(node: Node) -> tuple[str, ...]:
    """The names in an expression, each once, in order of appearance."""
    found: dict[str, None] = {}
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Name):
            found[current.name] = None
        pending.extend(reversed(parts_of(current)))
    return tuple(found)


def parts_of(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    match node:
        case Arithmetic() | Comparison():
            return (node.left, node.right)
        case Logic():
            return node.parts
        case AsNumber():
            return (node.condition,)
        case Call():
            return node.nodes
    return ()


class _Refused(Exception):
    """A part cannot be read: where in the text and why; without a reason it is noted already."""

    def __init__(self, offset: int = 0, reason: str = "") -> None:
        self.offset, self.reason = offset, reason
        super().__init__(reason)


class _Reader:
    """One reading: gathers problems, so that a person sees all of them at once."""

    def __init__(self, text: str, operators: Mapping[str, Operator]) -> None:
        # One line, so that a line break in the middle is a blank and offsets stay what they are.
        flat = "".join(" " if c.isspace() else c for c in text)
        self._indent = len(flat) - len(flat.lstrip())
        self._text, self._flat = text, flat.strip()
        self._operators = operators
        self._nodes = 0
        self.problems: list[Problem] = []
        self._readers: dict[type[ast.expr], Callable[[Any, int], Node]] = {
            ast.Constant: self._read_constant,
            ast.Name: self._read_name,
            ast.UnaryOp: self._read_unary,
            ast.BinOp: self._read_binary,
            ast.BoolOp: self._read_logic,
            ast.Compare: self._read_comparison,
            ast.Call: self._read_call,
        }

    def read(self) -> Node | None:
        """The tree; ``None`` if there are ``problems``."""
        try:
            return self._gather([self._read_text])[0]
        except _Refused:
            return None

    def _read_text(self) -> Node:
        tree = self._number(self._parse(), 0)
        if not names_of(tree):
            raise _Refused(0, "it names no field")
        return tree

    def _parse(self) -> ast.expr:
        if not self._flat:
            raise _Refused(0, "the expression is empty")
        comment = self._flat.find("#")
        if comment >= 0:
            raise _Refused(comment, "comments are not allowed")
        try:
            with warnings.catch_warnings():
                # Such as that of "1if": what is wrong with the text is ours to say.
                warnings.simplefilter("ignore", SyntaxWarning)
                return ast.parse(self._flat, mode="eval").body
        except SyntaxError as error:
            raise _Refused(max((error.offset or 1) - 1, 0), error.msg) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise _Refused(0, "it cannot be read: nested too deeply, or no text") from error

    def _gather(self, readings: Iterable[Callable[[], _T]]) -> list[_T]:
        """All results; if any reading is refused, note every problem, then refuse the whole."""
        results: list[_T] = []
        refused = False
        for reading in readings:
            try:
                results.append(reading())
            except _Refused as error:
                refused = True
                if error.reason:
                    self._note(error)
        if refused:
            raise _Refused
        return results

    def _note(self, refused: _Refused) -> None:
        before = self._text[: self._indent + refused.offset]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        self.problems.append(Problem("", f"line {line}, column {column}: {refused.reason}"))

    def _refused(self, node: ast.expr, reason: str) -> _Refused:
        # The parser counts bytes of UTF-8.
        return _Refused(len(self._flat.encode()[: node.col_offset].decode()), reason)

    def _number(self, node: ast.expr, depth: int) -> Node:
        read = self._read(node, depth)
        return AsNumber(read) if isinstance(read, Comparison | Logic) else read

    def _condition(self, node: ast.expr, depth: int) -> Node:
        read = self._read(node, depth)
        if not isinstance(read, Comparison | Logic):
            raise self._refused(node, "a condition is needed here, such as x > 0")
        return read

    def _read(self, node: ast.expr, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            # Noted once: every further part is refused too.
            reason = f"it has more than {MAX_NODES} parts" if self._nodes == MAX_NODES + 1 else ""
            raise self._refused(node, reason)
        if depth > MAX_DEPTH:
            raise self._refused(node, f"it is nested deeper than {MAX_DEPTH}")
        reader = self._readers.get(type(node))
        if reader is None:
            known = _REFUSED.get(type(node), "this is no part of an expression")
            raise self._refused(node, known)
        return reader(node, depth + 1)

    def _read_constant(self, node: ast.Constant, _: int) -> Node:
        value = node.value
        if isinstance(value, str | bytes):
            raise self._refused(node, "texts are not allowed")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refused(node, f"{value!r} is not a number")
        number = _as_float(value)
        if not math.isfinite(number):
            raise self._refused(node, "the number is too large")
        return Number(number)

    def _read_name(self, node: ast.Name, _: int) -> Node:
        if node.id in (*KEYS, KNOWLEDGE):
            raise self._refused(node, f"{node.id!r} is a key, not a field")
        return Name(node.id)

    def _read_unary(self, node: ast.UnaryOp, depth: int) -> Node:
        if isinstance(node.op, ast.Not):
            return Logic("not", (self._condition(node.operand, depth),))
        if isinstance(node.op, ast.Invert):
            raise self._refused(node, _REFUSED[ast.Invert])
        operand = self._number(node.operand, depth)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(operand, Number):
            return Number(-operand.value)
        return Arithmetic("*", Number(-1.0), operand)

    def _read_binary(self, node: ast.BinOp, depth: int) -> Node:
        left, right = self._sides([node.left, node.right], depth)
        sign = _ARITHMETIC.get(type(node.op))
        if sign is None:
            known = f"the arithmetic signs are {' '.join(_ARITHMETIC.values())}"
            raise self._refused(node, _REFUSED.get(type(node.op), known))
        return Arithmetic(sign, left, right)

    def _read_logic(self, node: ast.BoolOp, depth: int) -> Node:
        parts = self._gather(partial(self._condition, value, depth) for value in node.values)
        return Logic("and" if isinstance(node.op, ast.And) else "or", tuple(parts))

    def _read_comparison(self, node: ast.Compare, depth: int) -> Node:
        sides = self._sides([node.left, *node.comparators], depth)
        signs = [_COMPARISON.get(type(op), "") for op in node.ops]
        if not all(signs):
            raise self._refused(node, f"the comparisons are {' '.join(_COMPARISON.values())}")
        links = [Comparison(*link) for link in zip(signs, sides, sides[1:], strict=False)]
        return links[0] if len(links) == 1 else Logic("and", tuple(links))

    def _sides(self, nodes: Iterable[ast.expr], depth: int) -> list[Node]:
        return self._gather(partial(self._number, node, depth) for node in nodes)

    def _read_call(self, node: ast.Call, depth: int) -> Node:
        try:
            operator = self._operator(node)
        except _Refused as error:
            # What is wrong with its arguments is said at once, too.
            self._note(error)
            self._sides([given for given in node.args if not isinstance(given, ast.Starred)], depth)
            raise _Refused from error
        given = self._gather(
            partial(self._argument, operator, argument, part, depth)
            for argument, part in zip(operator.arguments, node.args, strict=False)
        )
        left_out = len(operator.arguments) - len(given)
        defaults = operator.defaults[len(operator.defaults) - left_out :]
        constants = [part for part in given if isinstance(part, int | float)]
        nodes = tuple(part for part in given if not isinstance(part, int | float))
        return Call(operator, nodes, (*constants, *defaults))

    def _operator(self, node: ast.Call) -> Operator:
        """The operator that is called, if there is one and it takes that many arguments."""
        if not isinstance(node.func, ast.Name):
            raise self._refused(node, "only operators can be called")
        operator = find_operator(node.func.id, self._operators)
        if isinstance(operator, str):
            raise self._refused(node, operator)
        if node.keywords or any(isinstance(given, ast.Starred) for given in node.args):
            raise self._refused(node, f"arguments go by their place: {operator.usage}")
        most = len(operator.arguments)
        least = most - len(operator.defaults)
        if not least <= len(node.args) <= most:
            needs = f"{least}" if least == most else f"{least} to {most}"
            count = f"takes {needs} arguments, not {len(node.args)}"
            raise self._refused(node, f"{operator.usage} {count}")
        return operator

    def _argument(
        self, operator: Operator, argument: Argument, node: ast.expr, depth: int
    ) -> Node | float:
        match argument:
            case Argument.CONDITION:
                return self._condition(node, depth)
            case Argument.WINDOW:
                return self._window(operator, node)
            case Argument.NUMBER:
                return self._constant(operator, node)
        series = self._number(node, depth)
        if operator.axis is not Axis.ROW and not names_of(series):
            raise self._refused(node, f"{operator.name} needs a series here, not a constant")
        return series

    def _window(self, operator: Operator, node: ast.expr) -> int:
        value = _constant_of(node)
        window = f"the window of {operator.name}"
        if value is None:
            raise self._refused(node, f"{window} must be a constant")
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._refused(node, f"{window} must be a whole number")
        if value < 0:
            raise self._refused(node, f"{window} would look into the future")
        if not operator.least <= value <= MAX_WINDOW:
            raise self._refused(node, f"{window} must be from {operator.least} to {MAX_WINDOW}")
        return value

    def _constant(self, operator: Operator, node: ast.expr) -> float:
        value = _constant_of(node)
        if value is None or isinstance(value, bool) or not math.isfinite(_as_float(value)):
            raise self._refused(node, f"{operator.usage} needs a constant number here")
        return _as_float(value)


def _constant_of(node: ast.expr) -> int | float | None:
    """The number that a constant, with or without a sign, stands for."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant_of(node.operand)
        return -value if value is not None and isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    return None


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
