"""Models: one definition, its upstreams, and its resources in MLflow and Evidently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.db.repositories.resources import Named
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.services.composition import model_stores
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Composition,
    External,
    Role,
    TypeDescription,
    map_model_handles,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import InstanceSpec, ModelSpec

RESERVED = frozenset({"model", "predictions"})
"""Roles of the edges between a model's own flows."""


def _check(composition: Composition) -> Iterable[Problem]:
    spec, component = composition.spec, composition.components["module"]
    assert isinstance(spec, ModelSpec)
    definition = component.configured(composition.registry)
    yield from definition.compatibility_rules.problems(composition.shapes)
    roles = Counter(shape.role for shape in composition.shapes)
    for at, shape in enumerate(composition.shapes):
        if shape.role in RESERVED:
            yield Problem(
                f"upstream_refs[{at}].role", "is the role of one of the model's own flows"
            )
        if roles[shape.role] > 1:
            yield Problem(f"upstream_refs[{at}].role", "is given to several upstreams of a model")
    wanted = [("target", spec.target.role, spec.target.column)]
    wanted += [(f"features[{at}]", item.role, item.column) for at, item in enumerate(spec.features)]
    for path, role, column in wanted:
        yield from _column_problems(composition, path, role, column)


def _column_problems(
    composition: Composition, path: str, role: str, column: str
) -> Iterable[Problem]:
    shapes = [shape for shape in composition.shapes if shape.role == role]
    if not shapes:
        yield Problem(f"{path}.role", f"there is no upstream with the role {role!r}")
    for shape in shapes:
        if shape.columns is not None and column not in shape.columns:
            there = ", ".join(shape.columns)
            yield Problem(f"{path}.column", f"{shape.resource!r} has no {column!r}, only {there}")


def _make_experiment(services: Services, id_: UUID, spec: InstanceSpec) -> Mapping[str, Any]:
    name = model_stores.build_experiment_name(spec.project, spec.name, id_)
    return {"mlflow_experiment_id": model_stores.tracking(services).ensure_experiment(name)}


def _drop_experiment(services: Services, named: Named, row: Mapping[str, Any], purge: bool) -> None:
    """Archive the experiment, so that its runs can be read; ``purge`` deletes it."""
    tracking = model_stores.tracking(services)
    if purge:
        # Use the name, because only the first promoted version records it.
        tracking.delete_model(model_stores.build_model_name(named.project, named.name, named.id))
    name = _store_name(named)
    # Search by name too: the recorded id may be missing, or belong to another store.
    for id_ in {row["mlflow_experiment_id"], tracking.find_experiment(name)} - {None}:
        tracking.delete_experiment(id_, name, purge=purge)


def _store_name(named: Named) -> str:
    return model_stores.build_experiment_name(named.project, named.name, named.id)


def _has_experiment(services: Services, named: Named, row: Mapping[str, Any]) -> bool:
    id_ = row["mlflow_experiment_id"]
    return bool(id_) and model_stores.tracking(services).has_experiment(id_, _store_name(named))


def _has_project(services: Services, named: Named, row: Mapping[str, Any]) -> bool:
    del named
    id_ = row["evidently_project_id"]
    return bool(id_) and model_stores.monitoring(services).has_project(id_)


def _make_project(services: Services, id_: UUID, spec: InstanceSpec) -> Mapping[str, Any]:
    name = model_stores.build_experiment_name(spec.project, spec.name, id_)
    return {"evidently_project_id": model_stores.monitoring(services).ensure_project(name)}


def _drop_project(services: Services, named: Named, row: Mapping[str, Any], purge: bool) -> None:
    """Delete the project if ``purge``, or if it was never recorded; otherwise keep its reports."""
    monitoring = model_stores.monitoring(services)
    id_ = row["evidently_project_id"]
    if id_ is None:
        id_ = monitoring.find_project(_store_name(named))
    elif not purge:
        return
    if id_:
        monitoring.delete_project(id_)


MODEL = TypeDescription(
    InstanceType.MODEL,
    {"module": Role(DefinitionKind.ML_MODULE)},
    "module",
    _check,
    handles=map_model_handles(),
    externals=(
        External(
            "mlflow",
            _make_experiment,
            _drop_experiment,
            ("mlflow_experiment_id", "mlflow_registered_model_name"),
            _has_experiment,
        ),
        External(
            "evidently", _make_project, _drop_project, ("evidently_project_id",), _has_project
        ),
    ),
)
