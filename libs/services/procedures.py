"""Which procedure each kind of flow runs, imported only by the runs that need it."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from libs.core.status import FlowKind
from libs.services.jobs import Procedure

PROCEDURES: dict[str, str] = {
    FlowKind.REFRESH: "libs.services.refresh:refresh",
    FlowKind.PREVIEW: "libs.services.preview:preview",
    FlowKind.TRAINING: "libs.services.training:train",
    FlowKind.INFERENCE: "libs.services.inference:infer",
    FlowKind.MONITORING: "libs.services.monitoring:monitor",
    FlowKind.OPTIMIZE: "libs.services.optimization:optimize",
    FlowKind.BACKTEST: "libs.services.backtesting:backtest",
}
"""Module and function of each kind."""

ADDED = "libs.services.added:run_added"
"""Those of every kind that a definition adds."""


def procedure_of(kind: str) -> Procedure:
    """The procedure of a kind of flow."""
    module, _, name = PROCEDURES.get(kind, ADDED).partition(":")
    return cast(Procedure, getattr(import_module(module), name))
