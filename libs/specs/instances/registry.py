"""The instance types and their spec models."""

from __future__ import annotations

from prefect_instances.libs.specs.instances.backtests import BacktestSpec
from prefect_instances.libs.specs.instances.experiments import ExperimentSpec
from prefect_instances.libs.specs.instances.instance import DatasetSpec, InstanceFields, SignalSpec
from prefect_instances.libs.specs.instances.models import ModelSpec
from prefect_instances.libs.specs.instances.optimizers import OptimizerSpec

InstanceSpec = InstanceFields
"""A spec of any instance type."""

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
"""The spec model of each instance type, by the ``type`` in its documents."""
