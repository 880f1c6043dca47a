"""Check whether the executor of an instance can run its pipeline."""

from __future__ import annotations

from collections.abc import Iterable

from prefect_instances.libs.core.errors import DefinitionUnavailable, InvalidSpec, Problem
from prefect_instances.libs.definitions.executor import Executor
from prefect_instances.libs.definitions.pipeline import Pipeline
from prefect_instances.libs.services.composition.instance_types.instance_type import Composition


def list_executor_problems(composition: Composition, pipeline: Pipeline) -> Iterable[Problem]:
    """Yield why the executor cannot run the pipeline; a faulty pipeline is reported elsewhere."""
    component = composition.components.get("executor")
    if component is None:
        return
    executor = component.configured(composition.registry)
    assert isinstance(executor, Executor)
    try:
        found = pipeline.check_executor(executor)
    except (InvalidSpec, DefinitionUnavailable):
        return
    for problem in found:
        yield Problem("executor.instance", problem.message) if component.shared else problem
