"""The flows that execute instances, as provisioning writes them into deployments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from prefect import Flow

from prefect_instances.flows.procedure_flows import (
    monitor_model,
    optimize_portfolio,
    preview_experiment,
    run_backtest,
    run_inference,
    train_model,
)
from prefect_instances.flows.refresh_dataset import refresh_dataset
from prefect_instances.flows.reporting import current_run_id
from prefect_instances.flows.run_definition_flow import run_definition_flow
from prefect_instances.libs.adapters.prefect import DeploymentPlan, build_parameter_schema
from prefect_instances.libs.services.lifecycle.external_resources import Ports, plan_deployment
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import InstanceSpec

FLOWS: tuple[Flow[..., Any], ...] = (
    refresh_dataset,
    preview_experiment,
    train_model,
    run_inference,
    monitor_model,
    optimize_portfolio,
    run_backtest,
    run_definition_flow,
)

EXECUTION: Mapping[str, tuple[str, Flow[..., Any]]] = {
    flow.name: (f"{flow.fn.__module__}.{flow.fn.__name__}", flow) for flow in FLOWS
}
"""Entrypoint and flow by flow name; ``libs.core.ids.flow_name`` gives the name for each kind."""


def build_ports(services: Services, spec: InstanceSpec, document_id: UUID | None = None) -> Ports:
    """Build the functions and values that provisioning needs from the flows.

    ``document_id`` is the block document that a person chose; None: the configuration is saved as a
    new document.
    """
    from prefect_instances.blocks import block_for

    def save(name: str) -> UUID:
        return document_id or services.prefect.save_block(block_for(spec), name)

    return Ports(
        execution=_execution(),
        save_document=save,
        flow_run_id=current_run_id(),
    )


def build_plan(services: Services, id_: UUID, spec: InstanceSpec, kind: str) -> DeploymentPlan:
    """Build the required deployment of an instance's flow; it can be called outside a flow run."""
    ports = Ports(_execution(), save_document=_refuse, flow_run_id=id_)
    return plan_deployment(services, id_, spec, ports, kind)


def _refuse(name: str) -> UUID:
    raise AssertionError(f"a plan saves no document ({name})")


@cache
def _execution() -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """Return entrypoints and parameter schemas by flow name; reconciling uses them often."""
    return {name: (path, build_parameter_schema(flow)) for name, (path, flow) in EXECUTION.items()}
