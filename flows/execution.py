"""Which flow executes which kind, as provisioning writes it into deployments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from prefect import Flow

from flows.monitor_model import monitor_model
from flows.optimize_portfolio import optimize_portfolio
from flows.preview_experiment import preview_experiment
from flows.refresh_dataset import refresh_dataset
from flows.reporting import current_run_id
from flows.run_backtest import run_backtest
from flows.run_inference import run_inference
from flows.train_model import train_model
from libs.adapters.prefect import schema_of
from libs.core.status import FlowKind
from libs.services.context import Services
from libs.services.handles import Ports
from libs.specs import InstanceSpec

EXECUTION: Mapping[str, tuple[str, Flow[..., Any]]] = {
    FlowKind.REFRESH: ("flows.refresh_dataset.refresh_dataset", refresh_dataset),
    FlowKind.PREVIEW: ("flows.preview_experiment.preview_experiment", preview_experiment),
    FlowKind.TRAINING: ("flows.train_model.train_model", train_model),
    FlowKind.INFERENCE: ("flows.run_inference.run_inference", run_inference),
    FlowKind.MONITORING: ("flows.monitor_model.monitor_model", monitor_model),
    FlowKind.OPTIMIZE: ("flows.optimize_portfolio.optimize_portfolio", optimize_portfolio),
    FlowKind.BACKTEST: ("flows.run_backtest.run_backtest", run_backtest),
}


def ports(services: Services, spec: InstanceSpec, document_id: UUID | None = None) -> Ports:
    """What provisioning needs from this layer.

    ``document_id`` is the block document that a person picked; without one the configuration is
    saved as a document of our own.
    """
    from blocks import block_for

    def save(name: str) -> UUID:
        return document_id or services.prefect.save_block(block_for(spec), name)

    return Ports(
        execution=_execution(),
        save_document=save,
        flow_run_id=current_run_id(),
    )


@cache
def _execution() -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """Entrypoints and parameter schemas by kind; reconciling asks for them at every instance."""
    return {kind: (path, schema_of(flow)) for kind, (path, flow) in EXECUTION.items()}
