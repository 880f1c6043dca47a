"""Change the configuration of an instance."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.blocks import AnyInstance
from prefect_instances.flows.execution_flows import build_ports
from prefect_instances.flows.planning import show_plan
from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.plan import Action
from prefect_instances.libs.services.lifecycle.applying import apply_step
from prefect_instances.libs.services.lifecycle.manifests import plan_one
from prefect_instances.libs.wiring import connect


@flow(name="update-instance", flow_run_name="update {instance.name}", persist_result=False)
def update_instance(instance: AnyInstance, plan: bool = False) -> Any:
    """Change the configuration of an instance. What somebody switched off in Prefect stays off.

    A change that affects the output makes the instance and everything downstream stale, and the
    instance runs again. A change of the description or the schedule does not.

    Args:
        instance: The changed configuration: a saved block, or its fields entered here.
        plan: Only check the configuration and show the plan; change nothing.
    """
    return report_errors(lambda: _update(instance, plan))


def _update(block: Any, plan: bool) -> Any:
    spec, document_id = block.spec(), block._block_document_id
    with connect() as services:
        planned = plan_one(services, spec)
        (step,) = planned.steps
        if step.action is Action.CREATE:
            raise NotFound("instance", step.name)
        show_plan(services, planned)
        if plan:
            return planned.document()
        done = apply_step(services, spec, build_ports(services, spec, document_id), step)
        get_run_logger().info("%s %s", done.label, done.action)
        return {"id": str(done.instance_id), "name": done.label, "action": done.action}
