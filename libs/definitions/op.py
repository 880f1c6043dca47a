"""Ops and macros: the functions that an expression calls by name."""

from __future__ import annotations

import inspect
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.definitions.base import Definition, DefinitionKind

if TYPE_CHECKING:
    import polars as pl

NAME = re.compile(r"[A-Z][A-Z0-9_]*")


class Axis(StrEnum):
    """The rows that a value is computed from: one row, a symbol's rows, or a date's rows."""

    ROW = "row"
    SYMBOL = "symbol"
    DATE = "date"


class Argument(StrEnum):
    """The kinds of argument that a function of an expression takes."""

    SERIES = "series"
    CONDITION = "condition"
    WINDOW = "window"
    NUMBER = "number"


COMPUTED = frozenset({Argument.SERIES, Argument.CONDITION})
"""Arguments that vary from row to row; all others are constants and come after them."""


class Function(Definition):
    """Base of the functions of expressions; derive from ``Op`` or ``OpMacro``.

    Its parameters are its ``arguments``, in their order, so it has no ``Config`` of its own.
    Expressions match ``name`` and ``aliases`` case-insensitively.
    """

    arguments: ClassVar[Mapping[str, Argument]] = {}
    """Kinds of argument by name: series and conditions first, then windows and numbers."""
    defaults: ClassVar[tuple[float, ...]] = ()
    """Default values of the last constants; a constant with a default is optional."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other names; the ``name`` of another function takes precedence over an alias."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def completed(cls, given: Sequence[Any]) -> list[Any]:
        """Return ``given`` in the order of ``arguments``, with defaults for omitted constants.

        Raises ``TypeError`` if the number of arguments is wrong.
        """
        missing = len(cls.arguments) - len(given)
        if not 0 <= missing <= len(cls.defaults):
            raise TypeError(f"{cls.usage()} does not take {len(given)} arguments")
        values = [*given, *cls.defaults[len(cls.defaults) - missing :]]
        return [
            int(value) if kind is Argument.WINDOW else value
            for kind, value in zip(cls.arguments.values(), values, strict=True)
        ]

    @classmethod
    def write_call(cls, config: Mapping[str, Any]) -> str:
        """Write the call of the function with the arguments in ``config``, by name.

        A series or condition is a text, by default the name of the argument; a constant is a
        number. Raises ``InvalidSpec`` with every problem, each below ``config``.
        """
        problems = [
            Problem(f"config.{name}", f"is no argument of {cls.usage()}")
            for name in config.keys() - cls.arguments.keys()
        ]
        first = len(cls.arguments) - len(cls.defaults)
        defaults = dict(zip([*cls.arguments][first:], cls.defaults, strict=True))
        written = []
        for name, kind in cls.arguments.items():
            computed = kind in COMPUTED
            value = config.get(name, name if computed else defaults.get(name))
            if computed and isinstance(value, str):
                written.append(value if value.isidentifier() else f"({value})")
            elif not computed and isinstance(value, int | float) and not isinstance(value, bool):
                written.append(f"{value!r}")
            else:
                text = "must be a text: a field or an expression" if computed else "needs a number"
                problems.append(Problem(f"config.{name}", f"{text}, in {cls.usage()}"))
        if problems:
            raise InvalidSpec(problems)
        return f"{cls.name}({', '.join(written)})"

    @classmethod
    def usage(cls) -> str:
        """Return the signature, such as ``MEAN(x: series, d: window)``."""
        required = len(cls.arguments) - len(cls.defaults)
        defaults = ["" for _ in range(required)] + [f" = {value:g}" for value in cls.defaults]
        parts = [
            f"{name}: {kind}{default}"
            for (name, kind), default in zip(cls.arguments.items(), defaults, strict=True)
        ]
        return f"{cls.name}({', '.join(parts)})"

    @classmethod
    def formula(cls) -> str:
        """Return the formula: the docstring of the class."""
        return inspect.getdoc(cls) or ""

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Extend the base description with the signature and the aliases."""
        return {**super().describe(), "usage": cls.usage(), "aliases": [*cls.aliases]}

    @classmethod
    def declaration_problems(cls) -> list[Problem]:
        """Extend the base check: names and arguments must be valid in an expression."""
        problems = super().declaration_problems()
        names = [("name", getattr(cls, "name", "A")), *(("aliases", also) for also in cls.aliases)]
        for path, name in names:
            if not NAME.fullmatch(name):
                problems.append(Problem(path, f"{name!r} is not upper case letters, digits and _"))
        kinds = [*cls.arguments.values()]
        if not kinds or kinds[0] not in COMPUTED:
            problems.append(Problem("arguments", "the first one must be a series or a condition"))
        if sorted(kinds, key=lambda kind: kind not in COMPUTED) != kinds:
            problems.append(Problem("arguments", "series and conditions come before constants"))
        if len(cls.defaults) > sum(kind not in COMPUTED for kind in kinds):
            problems.append(Problem("defaults", "only constants can be left out"))
        if cls.Config.model_fields:
            problems.append(
                Problem("Config", "must not be declared: a function has arguments instead")
            )
        return problems


class Op(Function):
    """Base of the functions written in polars.

    A value may depend on no row of a later date, nor on the order of the rows.
    """

    kind: ClassVar[DefinitionKind] = DefinitionKind.OP
    axis: ClassVar[Axis]
    """The rows that ``build`` sees at a time: a single row, the rows of a symbol in order of date,
    or the rows of a date."""
    least: ClassVar[int] = 1
    """The smallest window that it accepts."""

    @abstractmethod
    def build(self, *given: Any, **_: Any) -> pl.Expr:
        """Return the value; ``given`` are expressions, then constants, in ``arguments`` order.

        Windows are ``int``, numbers ``float``. Missing values are null; a value that is not finite
        becomes null afterwards. ``axis`` decides which rows are visible: do not use ``over``.
        """

    def lookback(self, *constants: Any, **_: Any) -> int:
        """Return how many earlier rows of a symbol a value depends on, given the constants."""
        windows = [
            int(value)
            for kind, value in zip(self._constants(), constants, strict=True)
            if kind is Argument.WINDOW
        ]
        return max((window - 1 for window in windows), default=0)

    def __call__(self, *given: pl.Expr | float) -> pl.Expr:
        """Return the value as a polars expression over rows in order of date.

        ``given`` are expressions and then constants; those with a default are optional. Raises
        ``TypeError`` if the number of arguments is wrong.
        """
        value = self.build(*self.completed(given))
        return value if self.axis is Axis.ROW else value.over(self.axis.value)

    @classmethod
    def _constants(cls) -> list[Argument]:
        return [kind for kind in cls.arguments.values() if kind not in COMPUTED]

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Extend the base description with the axis."""
        return {**super().describe(), "axis": cls.axis.value}

    @classmethod
    def declaration_problems(cls) -> list[Problem]:
        """Extend the base check: ``axis`` is mandatory."""
        problems = super().declaration_problems()
        if not isinstance(getattr(cls, "axis", None), Axis):
            problems.append(Problem("axis", f"must be one of {', '.join(Axis)}"))
        return problems


class OpMacro(Function):
    """Base of the functions defined by an expression that calls ops and other macros.

    The only names in ``expression`` are its ``arguments``.
    """

    kind: ClassVar[DefinitionKind] = DefinitionKind.OP_MACRO
    expression: ClassVar[str]

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Extend the base description with the expression."""
        return {**super().describe(), "expression": cls.expression}

    @classmethod
    def declaration_problems(cls) -> list[Problem]:
        """Extend the base check; the expression itself is checked once all ops are known."""
        problems = super().declaration_problems()
        if not getattr(cls, "expression", "").strip():
            problems.append(Problem("expression", "is not declared"))
        return problems
