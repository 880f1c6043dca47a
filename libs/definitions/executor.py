"""Executors: where the parts of a divisible computation run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from prefect_instances.libs.definitions.base import Definition, DefinitionKind

Part = TypeVar("Part")
Value = TypeVar("Value")


class Executor(Definition):
    """Base of the definitions that run the parts of a divisible computation.

    It decides where the parts run and never what they give: the output of an instance has the same
    content hash with every executor.
    """

    kind: ClassVar[DefinitionKind] = DefinitionKind.EXECUTOR

    in_process: ClassVar[bool] = False
    """Whether everything runs in the process of the run, so that every pipeline can use it."""

    @property
    def pieces(self) -> int:
        """Return into how many parts to divide rows; 1 means that they stay whole."""
        return 1

    def check(self) -> None:
        """Raise ``Unavailable``, with the reason in one line, if parts cannot run now."""

    @abstractmethod
    def map(
        self, function: Callable[[Any, Part], Value], parts: Sequence[Part], shared: Any = None
    ) -> list[Value]:
        """Return ``function(shared, part)`` for each part, in the order of the parts.

        ``function`` is a function of an installed module; it, ``shared``, the parts and the values
        can be pickled. A part may run more than once, so it changes nothing outside. An error of a
        part is raised as it is. Raises ``Unavailable`` if the parts cannot run.
        """
