"""The grammar of expressions: it turns text into a tree, or lists every error with its position.

Python's parser reads the text; only known node types are accepted and translated to the node
classes below. Nothing is ever evaluated.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import add, mul, sub
from typing import Any, NamedTuple, TypeVar

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.definitions.content import KEYS, KNOWLEDGE
from prefect_instances.libs.definitions.op import COMPUTED, Argument, Axis, Function, Op, OpMacro
from prefect_instances.libs.definitions.registry import Registry

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
    """A field, by its name in the expression."""

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
    """A condition used as a number: 1 if it holds, 0 if it does not."""

    condition: Node


@dataclass(frozen=True, slots=True)
class Call:
    """An op applied to nodes and then to constants, in the order of its arguments."""

    op: Op
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
_FOLDED: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
}
"""Operators for constants in a macro: ``2 * d`` is a valid window, too."""
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


class ParsedExpression(NamedTuple):
    """The result of parsing: the tree, or ``None`` and every problem; and the called functions."""

    tree: Node | None
    problems: list[Problem]
    calls: tuple[type[Function], ...]


def read_expression(text: str, registry: Registry) -> ParsedExpression:
    """Return the tree of ``text`` without problems, or ``None`` and all its problems.

    Macros are expanded. The messages begin with the position: ``line 1, column 5: ...``, both from
    1. ``registry`` holds the functions that can be called. Raises ``DefinitionUnavailable`` if it
    prefers a version that is not installed.
    """
    if len(text) > MAX_LENGTH:
        message = f"has {len(text)} characters, at most {MAX_LENGTH} are allowed"
        return ParsedExpression(None, [Problem("", message)], ())
    reader = _Reader(text, _Scope(registry))
    tree = reader.read()
    return ParsedExpression(tree, reader.problems, tuple(reader.scope.calls))


def list_macro_problems(macro: type[OpMacro], registry: Registry) -> list[Problem]:
    """Return the problems of a macro's expression: syntax, calls, cycles, unused arguments.

    Raises ``DefinitionUnavailable`` as ``read_expression``.
    """
    trial: dict[str, Node | float] = {}
    for name, kind in macro.arguments.items():
        node: Node = Name(name)
        if kind is Argument.CONDITION:
            node = Comparison(">", node, Number(0.0))
        trial[name] = node if kind in COMPUTED else _TRIAL_CONSTANT
    reader = _Reader(macro.expression, _Scope(registry, trial, (macro.name,)))
    tree = reader.read()
    if tree is None:
        return [problem.under("expression") for problem in reader.problems]
    return [
        Problem(f"arguments.{name}", "is not used by the expression")
        for name in macro.arguments
        if name not in reader.scope.used
    ]


def list_names(node: Node) -> tuple[str, ...]:
    """Return the names in an expression, each once, in order of appearance."""
    found: dict[str, None] = {}
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Name):
            found[current.name] = None
        pending.extend(reversed(list_parts(current)))
    return tuple(found)


def list_parts(node: Node) -> tuple[Node, ...]:
    """Return the direct children of a node."""
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


def count_nodes(node: Node) -> int:
    """Return the number of nodes in a tree, counting a part as often as it occurs."""
    return 1 + sum(count_nodes(part) for part in list_parts(node))


_TRIAL_CONSTANT = 20
"""The value of a macro's constants while the macro itself is checked."""


@dataclass
class _Scope:
    """The meaning of names in a text, and the state shared by the readers of nested macros.

    ``arguments`` are those of the macro being read, ``None`` outside of any: then names are fields.
    ``within`` are the macros being expanded. ``parts`` counts nodes.
    """

    registry: Registry
    arguments: Mapping[str, Node | float] | None = None
    within: tuple[str, ...] = ()
    calls: dict[type[Function], None] = field(default_factory=dict)
    parts: list[int] = field(default_factory=lambda: [0])
    used: set[str] = field(default_factory=set)

    def inside(self, macro: OpMacro, arguments: Mapping[str, Node | float]) -> _Scope:
        """Return the scope of the macro's own expression."""
        within = (*self.within, macro.name)
        return _Scope(self.registry, arguments, within, self.calls, self.parts)


class _Refused(Exception):
    """A part is invalid: position and reason; without a reason it is already recorded."""

    def __init__(self, offset: int = 0, reason: str = "") -> None:
        self.offset, self.reason = offset, reason
        super().__init__(reason)


class _Reader:
    """Reads one text and collects all its problems, so that they can be reported together."""

    def __init__(self, text: str, scope: _Scope) -> None:
        # One line: a line break in the middle becomes a blank, and offsets do not change.
        flat = "".join(" " if c.isspace() else c for c in text)
        self._indent = len(flat) - len(flat.lstrip())
        self._text, self._flat = text, flat.strip()
        self.scope = scope
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

    def read(self, depth: int = 0) -> Node | None:
        """Return the tree, as a part at ``depth``; ``None`` if there are ``problems``."""
        try:
            return self._gather([partial(self._read_text, depth)])[0]
        except _Refused:
            return None

    def _read_text(self, depth: int) -> Node:
        tree = self._read(self._parse(), depth)
        if self.scope.arguments is None and isinstance(tree, Comparison | Logic):
            tree = AsNumber(tree)
        if not list_names(tree):
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
                # Python's warnings, such as for "1if", are ignored: our own messages report errors.
                warnings.simplefilter("ignore", SyntaxWarning)
                return ast.parse(self._flat, mode="eval").body
        except SyntaxError as error:
            raise _Refused(max((error.offset or 1) - 1, 0), error.msg) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise _Refused(0, "it cannot be read: nested too deeply, or no text") from error

    def _gather(self, readings: Iterable[Callable[[], _T]]) -> list[_T]:
        """Return all results; if any reading fails, record every problem, then raise _Refused."""
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
        # The parser's offsets count bytes of UTF-8.
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
        self._count(node, 1)
        if depth > MAX_DEPTH:
            raise self._refused(node, f"it is nested deeper than {MAX_DEPTH}")
        reader = self._readers.get(type(node))
        if reader is None:
            known = _REFUSED.get(type(node), "this is not allowed in an expression")
            raise self._refused(node, known)
        return reader(node, depth + 1)

    def _count(self, node: ast.expr, more: int) -> None:
        parts, before = self.scope.parts, self.scope.parts[0]
        parts[0] += more
        if parts[0] > MAX_NODES:
            # Recorded once: every further part is refused too.
            reason = f"it has more than {MAX_NODES} parts" if before <= MAX_NODES else ""
            raise self._refused(node, reason)

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
        if self.scope.arguments is None:
            return Name(node.id)
        meant = self._argument_named(node)
        if isinstance(meant, int | float):
            return Number(meant)
        self._count(node, count_nodes(meant) - 1)
        return meant

    def _argument_named(self, node: ast.Name) -> Node | float:
        arguments = self.scope.arguments or {}
        if node.id not in arguments:
            there = ", ".join(arguments)
            raise self._refused(node, f"{node.id!r} is not an argument of the macro, only {there}")
        self.scope.used.add(node.id)
        return arguments[node.id]

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
            function = self._function(node)
        except _Refused as error:
            # Its arguments are checked as well, to report all problems together.
            self._note(error)
            self._sides([given for given in node.args if not isinstance(given, ast.Starred)], depth)
            raise _Refused from error
        given = self._gather(
            partial(self._argument, function, argument, part, depth)
            for argument, part in zip(function.arguments.values(), node.args, strict=False)
        )
        complete = function.completed(given)
        self.scope.calls[type(function)] = None
        if isinstance(function, OpMacro):
            return self._written_out(function, complete, node, depth)
        assert isinstance(function, Op)
        constants = tuple(part for part in complete if isinstance(part, int | float))
        nodes = tuple(part for part in complete if not isinstance(part, int | float))
        return Call(function, nodes, constants)

    def _function(self, node: ast.Call) -> Function:
        """Return the called function, if it exists and takes that number of arguments."""
        if not isinstance(node.func, ast.Name):
            raise self._refused(node, "only operators can be called")
        function = self.scope.registry.function(node.func.id)
        if isinstance(function, str):
            raise self._refused(node, function)
        if function.name in self.scope.within:
            around = " -> ".join((*self.scope.within, function.name))
            raise self._refused(node, f"a macro cannot call itself: {around}")
        if node.keywords or any(isinstance(given, ast.Starred) for given in node.args):
            raise self._refused(node, f"arguments go by their place: {function.usage()}")
        most = len(function.arguments)
        least = most - len(function.defaults)
        if not least <= len(node.args) <= most:
            needs = f"{least}" if least == most else f"{least} to {most}"
            count = f"takes {needs} arguments, not {len(node.args)}"
            raise self._refused(node, f"{function.usage()} {count}")
        return function

    def _written_out(
        self, macro: OpMacro, given: Iterable[Node | float], node: ast.Call, depth: int
    ) -> Node:
        """Return the macro's expression with its arguments substituted."""
        arguments = dict(zip(macro.arguments, given, strict=True))
        reader = _Reader(macro.expression, self.scope.inside(macro, arguments))
        tree = reader.read(depth)
        if tree is None:
            faults = "; ".join(str(problem) for problem in reader.problems)
            reason = f"in the macro {macro.name} {macro.version}: {faults}" if faults else ""
            raise self._refused(node, reason)
        return tree

    def _argument(
        self, function: Function, argument: Argument, node: ast.expr, depth: int
    ) -> Node | float:
        match argument:
            case Argument.CONDITION:
                return self._condition(node, depth)
            case Argument.WINDOW:
                return self._window(function, node)
            case Argument.NUMBER:
                return self._constant(function, node)
        series = self._number(node, depth)
        by_row = isinstance(function, Op) and function.axis is Axis.ROW
        if not by_row and not list_names(series):
            raise self._refused(node, f"{function.name} needs a series here, not a constant")
        return series

    def _window(self, function: Function, node: ast.expr) -> int:
        value = self._constant_of(node)
        window = f"the window of {function.name}"
        if value is None:
            raise self._refused(node, f"{window} must be a constant")
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._refused(node, f"{window} must be a whole number")
        if value < 0:
            raise self._refused(node, f"{window} would look into the future")
        least = function.least if isinstance(function, Op) else 1
        if not least <= value <= MAX_WINDOW:
            raise self._refused(node, f"{window} must be from {least} to {MAX_WINDOW}")
        return value

    def _constant(self, function: Function, node: ast.expr) -> float:
        value = self._constant_of(node)
        if value is None or isinstance(value, bool) or not math.isfinite(_as_float(value)):
            raise self._refused(node, f"{function.usage()} needs a constant number here")
        return _as_float(value)

    def _constant_of(self, node: ast.expr) -> int | float | None:
        """Return the number of a constant, signed or not, or of a macro's argument."""
        in_macro = self.scope.arguments is not None
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self._constant_of(node.operand)
            return -value if value is not None and isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if in_macro and isinstance(node, ast.Name):
            meant = self._argument_named(node)
            return meant if isinstance(meant, int | float) else None
        if in_macro and isinstance(node, ast.BinOp) and type(node.op) in _FOLDED:
            left, right = self._constant_of(node.left), self._constant_of(node.right)
            return None if left is None or right is None else _FOLDED[type(node.op)](left, right)
        return None


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
