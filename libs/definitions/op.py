"""Ops and macros: what an expression calls by name."""

from __future__ import annotations

import inspect
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.definitions.base import Definition, DefinitionKind

if TYPE_CHECKING:
    import polars as pl

NAME = re.compile(r"[A-Z][A-Z0-9_]*")


class Axis(StrEnum):
    """Which rows a value is computed from."""

    ROW = "row"
    SYMBOL = "symbol"
    DATE = "date"


class Argument(StrEnum):
    """What a function of an expression takes in a place."""

    SERIES = "series"
    CONDITION = "condition"
    WINDOW = "window"
    NUMBER = "number"


COMPUTED = frozenset({Argument.SERIES, Argument.CONDITION})
"""Arguments that vary from row to row; the others are constants, and come after these."""


class Function(Definition):
    """Base of what expressions call; derive from ``Op`` or ``OpMacro``.

    Its parameters are its ``arguments``, in their order, so that it has no ``Config`` of its own.
    Expressions match ``name`` and ``aliases`` whatever their case.
    """

    arguments: ClassVar[Mapping[str, Argument]] = {}
    """What it takes, by name: series and conditions first, then windows and numbers."""
    defaults: ClassVar[tuple[float, ...]] = ()
    """The values of the last constants, where these may be left out."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other names; one that is also the name of a function means that function."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def completed(cls, given: Sequence[Any]) -> list[Any]:
        """``given`` in the order of ``arguments``, with defaults for what was left out.

        Raises ``TypeError`` where the number of arguments is wrong.
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
    def usage(cls) -> str:
        """Such as ``MEAN(x: series, d: window)``."""
        required = len(cls.arguments) - len(cls.defaults)
        defaults = ["" for _ in range(required)] + [f" = {value:g}" for value in cls.defaults]
        parts = [
            f"{name}: {kind}{default}"
            for (name, kind), default in zip(cls.arguments.items(), defaults, strict=True)
        ]
        return f"{cls.name}({', '.join(parts)})"

    @classmethod
    def formula(cls) -> str:
        """How the value is defined: the text of the class."""
        return inspect.getdoc(cls) or ""

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """As the base, with how it is called."""
        return {**super().describe(), "usage": cls.usage(), "aliases": [*cls.aliases]}

    @classmethod
    def declaration_problems(cls) -> list[Problem]:
        """As the base; names and arguments must be such as an expression can hold."""
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
            problems.append(Problem("Config", "a function has arguments instead"))
        return problems


class Op(Function):
    """Base of the functions that are written in polars.

    It must look back only: no value may depend on a row of a later date, nor on the rows' order.
    """

    kind: ClassVar[DefinitionKind] = DefinitionKind.OP
    axis: ClassVar[Axis]
    """Which rows ``build`` sees at a time: each by itself, those of a symbol in order of date, or
    those of a date."""
    least: ClassVar[int] = 1
    """The smallest window that it can work with."""

    @abstractmethod
    def build(self, *given: Any, **_: Any) -> pl.Expr:
        """The value, from polars expressions and then constants, in the order of ``arguments``.

        Windows are ``int``, numbers ``float``. Missing values are null; what is not finite becomes
        null afterwards. The rows that are seen are those of ``axis``: ``over`` is not to be used.
        """

    def lookback(self, *constants: Any, **_: Any) -> int:
        """How many of a symbol's earlier rows a value depends on, given the constants."""
        windows = [
            int(value)
            for kind, value in zip(self._constants(), constants, strict=True)
            if kind is Argument.WINDOW
        ]
        return max((window - 1 for window in windows), default=0)

    def __call__(self, *given: pl.Expr | float) -> pl.Expr:
        """The value as a polars expression over rows in order of date.

        ``given`` are expressions and then constants; those with a default may be left out. Raises
        ``TypeError`` where the number of arguments is wrong.
        """
        value = self.build(*self.completed(given))
        return value if self.axis is Axis.ROW else value.over(self.axis.value)

    @classmethod
    def _constants(cls) -> list[Argument]:
        return [kind for kind in cls.arguments.values() if kind not in COMPUTED]

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """As the base, with the rows that it sees."""
        return {**super().describe(), "axis": cls.axis.value}

    @classmethod
    def declaration_problems(cls) -> list[Problem]:
        """As the base; ``axis`` has no default."""
        problems = super().declaration_problems()
        if not isinstance(getattr(cls, "axis", None), Axis):
            problems.append(Problem("axis", f"must be one of {', '.join(Axis)}"))
        return problems


class OpMacro(Function):
    """Base of the functions that are themselves expressions, of ops and of other macros.

    The only names in ``expression`` are its ``arguments``.
    """

    kind: ClassVar[DefinitionKind] = DefinitionKind.OP_MACRO
    expression: ClassVar[str]

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """As the base, with the expression."""
        return {**super().describe(), "expression": cls.expression}

    @classmethod
    def declaration_problems(cls) -> list[Problem]:
        """As the base; what is wrong in the expression is found once all ops are known."""
        problems = super().declaration_problems()
        if not getattr(cls, "expression", "").strip():
            problems.append(Problem("expression", "is not declared"))
        return problems
