"""Resume a paused instance."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.services.lifecycle.pausing import resume
from prefect_instances.libs.wiring import connect


@flow(name="resume-instance", flow_run_name="resume {instance}", persist_result=False)
def resume_instance(instance: str) -> Any:
    """Resume a paused instance. If requests or new inputs came meanwhile, it runs once.

    Its schedules start again; a schedule that somebody switched off stays off.

    Args:
        instance: Name, project/name or id of the instance.
    """
    return report_errors(lambda: _resume(instance))


def _resume(instance: str) -> Any:
    with connect() as services:
        named = resume(services, instance)
        get_run_logger().info("resumed %s", named.label)
        return {"id": str(named.id), "name": named.label, "action": "resumed"}
