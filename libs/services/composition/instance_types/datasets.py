"""Datasets and signals: a pipeline, a store and an accessor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.pipeline import Pipeline
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.definitions.schemas import misfits
from prefect_instances.libs.services.composition.instance_types.executor_problems import (
    list_executor_problems,
)
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    EXECUTOR,
    Component,
    Composition,
    Role,
    TypeDescription,
)
from prefect_instances.libs.specs import SignalSpec

ROLES = {
    "pipeline": Role(DefinitionKind.PIPELINE, "PipelineInstance"),
    "store": Role(DefinitionKind.STORE, "StoreInstance"),
    "accessor": Role(DefinitionKind.ACCESSOR, "AccessorInstance"),
    "executor": EXECUTOR,
}


def _check(composition: Composition) -> Iterable[Problem]:
    """Yield the problems that the pipeline finds in its upstreams."""
    component = composition.components.get("pipeline")
    if component is None:
        return
    pipeline = component.configured(composition.registry)
    assert isinstance(pipeline, Pipeline)
    for problem in pipeline.check(composition.shapes):
        yield problem.under("pipeline") if problem.path.startswith("config") else problem
    yield from list_executor_problems(composition, pipeline)


def _fits(components: Mapping[str, Component], registry: Registry) -> Iterable[Problem]:
    """Yield what store and accessor need but the configured pipeline does not deliver."""
    if "pipeline" not in components:
        return
    pipeline = components["pipeline"].configured(registry)
    assert isinstance(pipeline, Pipeline)
    delivered = pipeline.delivers()
    if delivered is None:
        return
    there = f"pipeline {pipeline.name!r} delivers {', '.join(delivered)}"
    for role, component in components.items():
        where = "instance" if component.shared else "definition"
        needed = component.definition.input_schema or {}
        for misfit in misfits(needed, delivered) if role != "pipeline" else ():
            text = f"{component.definition.name!r} {misfit}; {there}"
            yield Problem(f"{role}.{where}", text)


def _signal_columns(composition: Composition) -> dict[str, Any]:
    assert isinstance(composition.spec, SignalSpec)
    return {"signal_json": composition.spec.signal.document()}


DATASET = TypeDescription(InstanceType.DATASET, ROLES, "pipeline", _check, fits=_fits)
SIGNAL = TypeDescription(
    InstanceType.SIGNAL, ROLES, "pipeline", _check, _signal_columns, fits=_fits
)
