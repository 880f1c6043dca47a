"""What provisioning must know about each type of instance: one module a type.

What belongs here: the composition of a type, its checks, its columns and its handles elsewhere.
What must not: the saga itself (``libs.services.lifecycle.provisioning``) and what a run does.
"""

from prefect_instances.libs.services.composition.instance_types.backtests import BACKTEST
from prefect_instances.libs.services.composition.instance_types.datasets import DATASET, SIGNAL
from prefect_instances.libs.services.composition.instance_types.experiments import EXPERIMENT
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Component,
    Composition,
    External,
    Kit,
    Pending,
    Role,
    Upstream,
    model_handles,
)
from prefect_instances.libs.services.composition.instance_types.models import MODEL
from prefect_instances.libs.services.composition.instance_types.optimizers import OPTIMIZER

KITS: dict[str, Kit] = {
    kit.type: kit for kit in (DATASET, SIGNAL, EXPERIMENT, MODEL, OPTIMIZER, BACKTEST)
}
"""The kit of each type of instance that can be provisioned."""

__all__ = [
    "KITS",
    "Component",
    "Composition",
    "External",
    "Kit",
    "Pending",
    "Role",
    "Upstream",
    "model_handles",
]
