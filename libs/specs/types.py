"""The types of instance that can be asked for."""

from __future__ import annotations

from libs.specs.backtests import BacktestSpec
from libs.specs.experiments import ExperimentSpec
from libs.specs.instances import DatasetSpec, InstanceFields, SignalSpec
from libs.specs.models import ModelSpec
from libs.specs.optimizers import OptimizerSpec

InstanceSpec = InstanceFields
"""A spec of any type."""

SPEC_TYPES: dict[str, type[InstanceFields]] = {
    model.instance_type().value: model
    for model in (
        DatasetSpec,
        SignalSpec,
        ExperimentSpec,
        ModelSpec,
        OptimizerSpec,
        BacktestSpec,
    )
}
"""The model of each type, by the tag in its documents."""
