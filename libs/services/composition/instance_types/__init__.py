"""Descriptions of the instance types, one module for each type.

What belongs here: the composition of a type, its checks, its columns and its external resources.
What must not: the provisioning saga (``libs.services.lifecycle.provisioning``) or what a run does.
"""

from prefect_instances.libs.services.composition.instance_types.backtests import BACKTEST
from prefect_instances.libs.services.composition.instance_types.datasets import DATASET, SIGNAL
from prefect_instances.libs.services.composition.instance_types.experiments import EXPERIMENT
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Component,
    Composition,
    External,
    Pending,
    Role,
    TypeDescription,
    Upstream,
    map_model_handles,
)
from prefect_instances.libs.services.composition.instance_types.models import MODEL
from prefect_instances.libs.services.composition.instance_types.optimizers import OPTIMIZER

TYPE_DESCRIPTIONS: dict[str, TypeDescription] = {
    kit.type: kit for kit in (DATASET, SIGNAL, EXPERIMENT, MODEL, OPTIMIZER, BACKTEST)
}
"""The description of each instance type that can be provisioned."""

__all__ = [
    "TYPE_DESCRIPTIONS",
    "Component",
    "Composition",
    "External",
    "Pending",
    "Role",
    "TypeDescription",
    "Upstream",
    "map_model_handles",
]
