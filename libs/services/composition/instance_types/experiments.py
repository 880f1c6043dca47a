"""Experiments: an expression over upstreams, checked as the pipeline ``expression`` does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.op import Function
from prefect_instances.libs.definitions.pipeline import Pipeline
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.catalog import definition_id, version_id
from prefect_instances.libs.services.composition.instance_types.executor_problems import (
    list_executor_problems,
)
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    EXECUTOR,
    Composition,
    TypeDescription,
)
from prefect_instances.libs.services.composition.instance_types.sweep_problems import (
    locate_problems,
)
from prefect_instances.libs.specs import ExperimentSpec


def find_function(registry: Registry, spec: ExperimentSpec) -> type[Function] | None:
    """Return the op or macro that an experiment evaluates; None if it has a bare expression.

    Raises InvalidSpec if there is no such definition or version.
    """
    if not spec.definition:
        return None
    functions = [each for each in registry.list() if issubclass(each, Function)]
    found = [each for each in functions if spec.definition in _names(each)]
    if not found:
        hint = suggest_closest(spec.definition, (each.name for each in functions))
        text = f"there is no op or macro {spec.definition!r}{hint}"
        raise InvalidSpec([Problem("definition", text)])
    if not spec.version:
        newest = registry.get(found[0].kind, found[0].name)
        assert issubclass(newest, Function)
        return newest
    for each in found:
        if spec.version in (each.version, str(version_id(each))):
            return each
    text = f"{spec.version} is no version of {found[0].name!r}"
    raise InvalidSpec([Problem("version", f"{text}: {', '.join(e.version for e in found)}")])


def _names(function: type[Function]) -> tuple[str, str]:
    return function.name, str(definition_id(function.kind, function.name))


def convert_to_expression(registry: Registry, spec: ExperimentSpec) -> ExperimentSpec:
    """Return the experiment that evaluates the same as a bare expression; raise InvalidSpec.

    Of a sweep that is the base point, which the output is computed at.
    """
    spec = spec.at_point(spec.base_point())
    function = find_function(registry, spec)
    if function is None:
        return spec
    return spec.model_copy(
        update={
            "expression": function.write_call(spec.config),
            "ops": {**spec.ops, function.name: function.version},
            "definition": "",
            "version": "",
            "config": {},
        }
    )


def build_expression_pipeline(registry: Registry, spec: ExperimentSpec) -> Pipeline:
    """Build the pipeline that evaluates the expression; raise InvalidSpec for wrong inputs.

    ``registry`` prefers the versions that are pinned for the experiment.
    """
    spec = convert_to_expression(registry, spec)
    definition = registry.get(DefinitionKind.PIPELINE, "expression")
    config = {"expression": spec.expression, "inputs": spec.inputs, "ops": spec.ops}
    pipeline = definition(config, registry)
    assert isinstance(pipeline, Pipeline)
    return pipeline


def _check(composition: Composition) -> Iterable[Problem]:
    spec = composition.spec
    assert isinstance(spec, ExperimentSpec)
    points, base = spec.sweep.list_points(), spec.base_point()
    found = [list(_problems(composition, spec.at_point(point))) for point in points]
    yield from locate_problems(spec.sweep, found)
    if base not in points:
        yield from _problems(composition, spec.at_point(base))
    try:
        pipeline = build_expression_pipeline(composition.registry, spec)
    except InvalidSpec:
        return  # told above
    yield from list_executor_problems(composition, pipeline)


def _problems(composition: Composition, spec: ExperimentSpec) -> Iterable[Problem]:
    """Yield the problems of an experiment without a sweep."""
    try:
        problems = build_expression_pipeline(composition.registry, spec).check(composition.shapes)
    except InvalidSpec as error:
        problems = list(error.problems)
    for problem in problems:
        path = problem.path
        if not spec.definition:
            path = path.removeprefix("config.")
        elif path.startswith("config.expression"):
            path = "config"
        elif path.startswith(("config.inputs", "config.ops")):
            path = path.removeprefix("config.")
        yield Problem(path, problem.message)


def _subject(composition: Composition) -> type[Definition] | None:
    assert isinstance(composition.spec, ExperimentSpec)
    return find_function(composition.registry, composition.spec)


def _calls(composition: Composition) -> Iterable[type[Definition]]:
    spec = composition.spec
    assert isinstance(spec, ExperimentSpec)
    found: dict[type[Definition], None] = {}
    for point in [spec.base_point(), *spec.sweep.list_points()]:
        pipeline = build_expression_pipeline(composition.registry, spec.at_point(point))
        found |= dict.fromkeys([type(pipeline), *pipeline.calls()])
    return list(found)


def _columns(composition: Composition) -> dict[str, Any]:
    spec = composition.spec
    assert isinstance(spec, ExperimentSpec)
    if spec.definition:
        return {"config_json": dict(spec.config)}
    keys = {"expression", "inputs", "ops", "date_range", "universe", "price_column", "horizons"}
    keys |= {"calendar"}
    if spec.sweep.list_points():
        keys |= {"sweep"}
    return {"config_json": spec.model_dump(mode="json", include=keys)}


EXPERIMENT = TypeDescription(
    InstanceType.EXPERIMENT,
    {"executor": EXECUTOR},
    check=_check,
    columns=_columns,
    calls=_calls,
    subject=_subject,
)
