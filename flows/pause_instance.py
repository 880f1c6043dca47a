"""Pause an instance."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.services.lifecycle.pausing import pause
from prefect_instances.libs.wiring import connect


@flow(name="pause-instance", flow_run_name="pause {instance}", persist_result=False)
def pause_instance(instance: str) -> Any:
    """Pause an instance: its schedules stop and its gates do not open. A current run continues.

    Requests and new inputs are remembered. A paused instance is never overdue.

    Args:
        instance: Name, project/name or id of the instance.
    """
    return report_errors(lambda: _pause(instance))


def _pause(instance: str) -> Any:
    with connect() as services:
        named = pause(services, instance)
        get_run_logger().info("paused %s", named.label)
        return {"id": str(named.id), "name": named.label, "action": "paused"}
