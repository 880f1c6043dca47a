"""Experiments: an expression over upstreams, checked as the pipeline expression checks its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from libs.core.errors import InvalidSpec, Problem
from libs.core.status import InstanceType
from libs.definitions.base import DefinitionKind
from libs.definitions.pipeline import Pipeline
from libs.definitions.registry import Registry
from libs.services.kits.kit import Composition, Kit
from libs.specs import ExperimentSpec


def expression_pipeline(registry: Registry, spec: ExperimentSpec) -> Pipeline:
    """The pipeline that evaluates the expression; raises InvalidSpec for faulty inputs."""
    definition = registry.get(DefinitionKind.PIPELINE, "expression")
    pipeline = definition({"expression": spec.expression, "inputs": spec.inputs})
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


def _columns(composition: Composition) -> dict[str, Any]:
    spec = composition.spec
    assert isinstance(spec, ExperimentSpec)
    keys = {"expression", "inputs", "date_range", "universe", "price_column", "horizons"}
    return {"config_json": spec.model_dump(mode="json", include=keys)}


EXPERIMENT = Kit(InstanceType.EXPERIMENT, check=_check, columns=_columns)
