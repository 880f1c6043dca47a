"""Remove an instance and its deployments."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.planning import show_plan
from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.services.lifecycle.removal import deprovision, plan_removal
from prefect_instances.libs.wiring import connect


@flow(name="deprovision-instance", flow_run_name="remove {instance}", persist_result=False)
def deprovision_instance(
    instance: str, cascade: bool = False, purge: bool = False, plan: bool = False
) -> Any:
    """Remove an instance. It is refused while other instances read from it.

    Args:
        instance: Name, project/name or id of the instance.
        cascade: Also remove every instance that reads from it, downstream first.
        purge: Also delete the stored data and its records in MLflow and Evidently.
        plan: Only show what would be removed; change nothing.
    """
    return report_errors(lambda: _deprovision(instance, cascade, purge, plan))


def _deprovision(instance: str, cascade: bool, purge: bool, plan: bool) -> Any:
    with connect() as services:
        planned = plan_removal(services, instance, cascade=cascade, purge=purge)
        show_plan(services, planned)
        if plan:
            return planned.document()
        removed = deprovision(services, instance, cascade=cascade, purge=purge)
        get_run_logger().info("removed %s", ", ".join(removed.labels))
        return {"removed": list(removed.labels)}
