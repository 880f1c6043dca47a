"""Report the status of every upstream of an instance, and why it blocks."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed

from prefect_instances.flows.reporting import current_run_id, report_errors
from prefect_instances.libs.services.views.explaining import (
    as_markdown,
    freshness,
    headline,
    page,
    table,
)
from prefect_instances.libs.wiring import connect


@flow(name="check-upstream-freshness", persist_result=False)
def check_upstream_freshness(instance: str) -> Any:
    """Report for every upstream flow of an instance its status, whether it blocks, and why.

    Args:
        instance: Name, project/name or id of the instance.
    """
    return report_errors(lambda: _check(instance))


def _check(instance: str) -> Any:
    with connect() as services:
        document = freshness(services.database, services.now(), instance)
        key = f"freshness-{document['project']}-{document['instance']}".lower().replace("_", "-")
        said, run_id = headline(document), current_run_id()
        services.prefect.create_artifact(key, "table", table(document), as_markdown(said), run_id)
        services.prefect.create_artifact(
            f"why-{key}", "markdown", page(document), "What the instance waits for, and why", run_id
        )
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
        return Completed(message=said, data=document)
