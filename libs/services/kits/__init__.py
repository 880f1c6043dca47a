"""What provisioning must know about each type of instance: one module a type.

What belongs here: the composition of a type, its checks, its columns and its handles elsewhere.
What must not: the saga itself (``libs.services.provisioning``) and what a run does.
"""

from libs.services.kits.backtests import BACKTEST
from libs.services.kits.datasets import DATASET, SIGNAL
from libs.services.kits.experiments import EXPERIMENT
from libs.services.kits.kit import (
    Component,
    Composition,
    External,
    Kit,
    Pending,
    Role,
    Upstream,
    model_handles,
)
from libs.services.kits.models import MODEL
from libs.services.kits.optimizers import OPTIMIZER

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
