"""Execution flows that differ only in their procedure."""

from __future__ import annotations

from typing import Any

from prefect import Flow, flow

from prefect_instances.flows.execution_run import build_parameters, run_execution
from prefect_instances.flows.naming import name_run
from prefect_instances.libs.core.status import FlowKind

PARAMETERS = """
    Args:
        instance: Id of the instance. The deployment sets it.
        opening: Id of the gate opening to claim. The automation sets it; leave it empty.
        force: Run on the last published inputs, whatever their status, and publish even if the
            output is unchanged.
        recursive: First refresh what is stale upstream. This run starts automatically afterwards.
        smart: Skip the run if the output is already fresh.
"""
"""What Prefect's form says of each parameter."""


def _define(name: str, kind: FlowKind, summary: str) -> Flow[..., Any]:
    """Define the flow that runs the procedures of ``kind``; its entrypoint is its name here."""

    def execute(
        instance: str,
        opening: str | None = None,
        force: bool = False,
        recursive: bool = False,
        smart: bool = False,
    ) -> Any:
        asked = build_parameters(force=force, recursive=recursive, smart=smart)
        return run_execution(kind, instance, opening, asked)

    execute.__name__ = execute.__qualname__ = name.replace("-", "_")
    execute.__doc__ = f"{summary}\n{PARAMETERS}"
    return flow(name=name, flow_run_name=name_run, persist_result=False)(execute)


preview_experiment = _define(
    "preview-experiment",
    FlowKind.PREVIEW,
    "Evaluate an experiment's expression on the pinned inputs.",
)
train_model = _define(
    "train-model",
    FlowKind.TRAINING,
    "Train a model on the pinned inputs, log it in MLflow, and promote it if its rule says so.",
)
run_inference = _define(
    "run-inference",
    FlowKind.INFERENCE,
    "Compute predictions of the champion model from the pinned inputs.",
)
monitor_model = _define(
    "monitor-model",
    FlowKind.MONITORING,
    "Compare predictions with realised values, and current features with those of the training.",
)
optimize_portfolio = _define(
    "optimize-portfolio",
    FlowKind.OPTIMIZE,
    "Compute the weights of a portfolio from the pinned signals and prices.",
)
run_backtest = _define(
    "run-backtest",
    FlowKind.BACKTEST,
    "Run a backtest on the pinned signals and prices.",
)
