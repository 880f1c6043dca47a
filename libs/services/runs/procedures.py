"""The procedure of each kind of flow, imported only by the runs that need it."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.services.runs.run_context import Job, Procedure, Result

PROCEDURES: dict[str, str] = {
    FlowKind.REFRESH: "prefect_instances.libs.services.procedures.refresh:refresh",
    FlowKind.PREVIEW: "prefect_instances.libs.services.procedures.preview:preview",
    FlowKind.TRAINING: "prefect_instances.libs.services.procedures.training:train",
    FlowKind.INFERENCE: "prefect_instances.libs.services.procedures.inference:infer",
    FlowKind.MONITORING: "prefect_instances.libs.services.procedures.monitoring:monitor",
    FlowKind.OPTIMIZE: "prefect_instances.libs.services.procedures.optimization:optimize",
    FlowKind.BACKTEST: "prefect_instances.libs.services.procedures.backtesting:backtest",
}
"""Module and function of the procedure, by kind of flow."""

ADDED = "prefect_instances.libs.services.procedures.definition_flows:run_definition_method"
"""The procedure of every flow that a definition adds."""


def load_procedure(kind: str) -> Procedure:
    """Import and return the procedure of a kind of flow."""
    module, _, name = PROCEDURES.get(kind, ADDED).partition(":")
    return cast(Procedure, getattr(import_module(module), name))


def run_procedure(job: Job) -> Result:
    """Import the procedure of the job's kind of flow and call it.

    It is called by a run that has started, so a module that cannot be imported is on record as the
    failure of that run.
    """
    return load_procedure(job.kind)(job)
