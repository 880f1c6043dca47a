"""Experiments: an expression over upstreams, checked as the pipeline ``expression`` does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.pipeline import Pipeline
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Composition,
    Kit,
)
from prefect_instances.libs.specs import ExperimentSpec


def expression_pipeline(registry: Registry, spec: ExperimentSpec) -> Pipeline:
    """Build the pipeline that evaluates the expression; raise InvalidSpec for wrong inputs.

    ``registry`` prefers the versions that are pinned for the experiment.
    """
    definition = registry.get(DefinitionKind.PIPELINE, "expression")
    config = {"expression": spec.expression, "inputs": spec.inputs, "ops": spec.ops}
    pipeline = definition(config, registry)
    assert isinstance(pipeline, Pipeline)
    return pipeline


def _check(composition: Composition) -> Iterable[Problem]:
    spec = composition.spec
    assert isinstance(spec, ExperimentSpec)
    try:
        problems = expression_pipeline(composition.registry, spec).check(composition.shapes)
    except InvalidSpec as error:
        problems = list(error.problems)
    for problem in problems:
        yield Problem(problem.path.removeprefix("config."), problem.message)


def _calls(composition: Composition) -> Iterable[type[Definition]]:
    assert isinstance(composition.spec, ExperimentSpec)
    pipeline = expression_pipeline(composition.registry, composition.spec)
    return [type(pipeline), *pipeline.calls()]


def _columns(composition: Composition) -> dict[str, Any]:
    spec = composition.spec
    assert isinstance(spec, ExperimentSpec)
    keys = {"expression", "inputs", "ops", "date_range", "universe", "price_column", "horizons"}
    return {"config_json": spec.model_dump(mode="json", include=keys)}


EXPERIMENT = Kit(InstanceType.EXPERIMENT, check=_check, columns=_columns, calls=_calls)
