"""Replacing an expression's constants by arguments, to turn it into a macro."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.definitions.op import Argument, Function
from prefect_instances.libs.definitions.registry import Registry


@dataclass(frozen=True, slots=True)
class NamedConstants:
    """An expression with names in place of constants, and the kind of argument of each name."""

    expression: str
    arguments: Mapping[str, Argument]


def name_constants(
    text: str, parameters: Mapping[str, float], registry: Registry
) -> NamedConstants:
    """Return ``text`` with each constant in ``parameters`` replaced by its name.

    Every occurrence of the number is replaced; a number that is used as a window becomes a window
    argument. ``text`` must be a valid expression. Raises ``InvalidSpec`` with every parameter whose
    name is invalid or occurs in the expression, or whose constant has another name already or does
    not occur; paths begin with ``parameters``.
    """
    if not parameters:
        return NamedConstants(text, {})
    tree = ast.parse(" ".join(text.split()), mode="eval")
    fields = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    naming = _Naming({value: name for name, value in parameters.items()}, _windows(tree, registry))
    named = naming.visit(tree)
    if problems := list(_problems(parameters, fields, naming)):
        raise InvalidSpec(problems)
    kinds = {
        name: Argument.WINDOW if name in naming.windows else Argument.NUMBER for name in parameters
    }
    return NamedConstants(ast.unparse(named), kinds)


@dataclass
class _Naming(ast.NodeTransformer):
    """Replaces constants by names; collects constants ``found`` and the names of ``windows``."""

    names: Mapping[float, str]
    constants_of_windows: frozenset[ast.AST]
    found: set[float] = field(default_factory=set)
    windows: set[str] = field(default_factory=set)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return node
        name = self.names.get(value)
        if name is None:
            return node
        self.found.add(value)
        if node in self.constants_of_windows:
            self.windows.add(name)
        return ast.copy_location(ast.Name(name, ast.Load()), node)


def _windows(tree: ast.AST, registry: Registry) -> frozenset[ast.AST]:
    """Return the constants that are passed as windows."""
    found: set[ast.AST] = set()
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            continue
        function = registry.function(call.func.id)
        if isinstance(function, Function):
            for kind, given in zip(function.arguments.values(), call.args, strict=False):
                if kind is Argument.WINDOW:
                    found.update(ast.walk(given))
    return frozenset(found)


def _problems(
    parameters: Mapping[str, float], fields: set[str], naming: _Naming
) -> Iterable[Problem]:
    taken: dict[float, str] = {}
    for name, value in parameters.items():
        path = f"parameters.{name}"
        if not name.isidentifier() or keyword.iskeyword(name):
            yield Problem(path, f"{name!r} is not a valid name for an argument")
        elif name in fields:
            yield Problem(path, f"{name!r} is already a field or an operator of the expression")
        if value in taken:
            yield Problem(path, f"{value:g} already has the name {taken[value]!r}")
        elif value not in naming.found:
            yield Problem(path, f"the expression has no constant {value:g}")
        taken.setdefault(value, name)
