"""Ask the executor of an instance whether it can be used, before anything is written."""

from __future__ import annotations

from prefect_instances.libs.core.errors import (
    DefinitionUnavailable,
    InvalidSpec,
    NotFound,
    Problem,
    Unavailable,
)
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.executor import Executor
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.specs import InstanceSpec


def check_executor(registry: Registry, spec: InstanceSpec) -> None:
    """Ask the executor of ``spec`` whether parts can run there; shared ones are not asked.

    Raises InvalidSpec, with one line, if it is not installed, not reachable or does not fit.
    """
    written = spec.components().get("executor")
    if written is None or written.instance:
        return
    try:
        definition = registry.get(DefinitionKind.EXECUTOR, written.definition, written.version)
        executor = definition(written.config, registry)
    except (InvalidSpec, DefinitionUnavailable, NotFound):
        return  # The checks of the whole configuration report it, beside other problems.
    assert isinstance(executor, Executor)
    try:
        executor.check()
    except Unavailable as error:
        raise InvalidSpec([Problem("executor", str(error))]) from error
