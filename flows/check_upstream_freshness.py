"""Report the status of every upstream of an instance, and why it blocks."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed

from prefect_instances.flows.freshness_pages import show_freshness
from prefect_instances.flows.reporting import current_run_id, report_errors
from prefect_instances.libs.services.views.explaining import headline
from prefect_instances.libs.wiring import connect


@flow(
    name="check-upstream-freshness",
    flow_run_name="check upstreams of {instance}",
    persist_result=False,
)
def check_upstream_freshness(instance: str) -> Any:
    """Report for every upstream flow of an instance its status, whether it blocks, and why.

    Args:
        instance: Name, project/name or id of the instance.
    """
    return report_errors(lambda: _check(instance))


def _check(instance: str) -> Any:
    with connect() as services:
        document = show_freshness(services, instance, current_run_id())
        for entry in document["upstreams"]:
            get_run_logger().log(
                logging.WARNING if entry["blocking"] else logging.INFO,
                "%s.%s is %s (%s)%s",
                entry["resource"],
                entry["flow_kind"],
                entry["status"],
                entry["reason"],
                f", blocking: {entry['why']}" if entry["blocking"] else "",
            )
        return Completed(message=headline(document), data=document)
