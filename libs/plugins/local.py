"""Executor ``local``: everything in the process of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from prefect_instances.libs.definitions.executor import Executor, Part, Value


class LocalExecutor(Executor):
    """Computes in the process of the run; rows stay whole."""

    name = "local"
    version = "1.0.0"
    in_process: ClassVar[bool] = True

    def map(
        self, function: Callable[[Any, Part], Value], parts: Sequence[Part], shared: Any = None
    ) -> list[Value]:
        """See ``Executor.map``; one part after the other."""
        return [function(shared, part) for part in parts]
