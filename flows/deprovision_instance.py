"""Removing an instance and everything that executed it."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.reporting import reported
from libs.services.removal import deprovision
from libs.wiring import connect


@flow(name="deprovision-instance", persist_result=False)
def deprovision_instance(instance: str, cascade: bool = False, purge: bool = False) -> Any:
    """Remove an instance; refused while others read from it.

    Args:
        instance: Its name, project/name or id.
        cascade: Remove everything that reads from it too, downstream first.
        purge: Delete the stored data as well.
    """
    return reported(lambda: _deprovision(instance, cascade, purge))


def _deprovision(instance: str, cascade: bool, purge: bool) -> Any:
    with connect() as services:
        removed = deprovision(services, instance, cascade=cascade, purge=purge)
        get_run_logger().info("removed %s", ", ".join(removed.labels))
        return {"removed": list(removed.labels)}
