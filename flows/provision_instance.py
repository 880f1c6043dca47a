"""Create an instance and its deployments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger

from prefect_instances.blocks import AnyInstance
from prefect_instances.flows.execution_flows import build_ports
from prefect_instances.flows.planning import show_plan
from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.services.lifecycle.manifests import plan_one
from prefect_instances.libs.services.lifecycle.provisioning import provision
from prefect_instances.libs.specs import InstanceSpec
from prefect_instances.libs.wiring import connect


@flow(name="provision-instance", flow_run_name="provision {instance.name}", persist_result=False)
def provision_instance(instance: AnyInstance, plan: bool = False) -> Any:
    """Create an instance with its deployments, block document and lineage, then run it.

    Args:
        instance: The configuration: a saved block, or its fields entered here.
        plan: Only check the configuration and show the plan; change nothing.
    """
    document_id: UUID | None = instance._block_document_id
    return report_errors(lambda: _provision(instance.spec(), document_id, plan))


def _provision(spec: InstanceSpec, document_id: UUID | None, plan: bool) -> Any:
    logger = get_run_logger()
    with connect() as services:
        if plan:
            planned = plan_one(services, spec)
            show_plan(services, planned)
            return planned.document()
        done = provision(services, spec, build_ports(services, spec, document_id))
        logger.info("%s %s (%s)", done.label, done.action, ", ".join(done.steps) or "as it was")
        return {"id": str(done.instance_id), "name": done.label, "action": done.action}
