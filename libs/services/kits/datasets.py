"""Datasets and signals: a pipeline, a store and an accessor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from libs.core.errors import Problem
from libs.core.status import InstanceType
from libs.definitions.base import DefinitionKind
from libs.definitions.pipeline import Pipeline
from libs.services.kits.kit import Composition, Kit, Role
from libs.specs import SignalSpec

ROLES = {
    "pipeline": Role(DefinitionKind.PIPELINE, "PipelineInstance"),
    "store": Role(DefinitionKind.STORE, "StoreInstance"),
    "accessor": Role(DefinitionKind.ACCESSOR, "AccessorInstance"),
}


def _check(composition: Composition) -> Iterable[Problem]:
    """What the pipeline says about its upstreams."""
    component = composition.components.get("pipeline")
    if component is None:
        return
    pipeline = component.configured(composition.registry)
    assert isinstance(pipeline, Pipeline)
    for problem in pipeline.check(composition.shapes):
        yield problem.under("pipeline") if problem.path.startswith("config") else problem


def _signal_columns(composition: Composition) -> dict[str, Any]:
    assert isinstance(composition.spec, SignalSpec)
    return {"signal_json": composition.spec.signal.document()}


DATASET = Kit(InstanceType.DATASET, ROLES, "pipeline", _check)
SIGNAL = Kit(InstanceType.SIGNAL, ROLES, "pipeline", _check, _signal_columns)
