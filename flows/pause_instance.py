"""Pausing an instance."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.reporting import reported
from prefect_instances.libs.services.lifecycle.pausing import pause
from prefect_instances.libs.wiring import connect


@flow(name="pause-instance", persist_result=False)
def pause_instance(instance: str) -> Any:
    """Stop an instance: its schedules, and its gates. What runs now goes on.

    What comes meanwhile is remembered, and it is not called overdue.

    Args:
        instance: Its name, project/name or id.
    """
    return reported(lambda: _pause(instance))


def _pause(instance: str) -> Any:
    with connect() as services:
        named = pause(services, instance)
        get_run_logger().info("paused %s", named.label)
        return {"id": str(named.id), "name": named.label, "action": "paused"}
