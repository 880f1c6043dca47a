"""Reporting the status of every upstream of an instance."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.reporting import current_run_id, reported
from libs.services import reports
from libs.services.explaining import page, why
from libs.services.pictures import mermaid
from libs.wiring import connect


@flow(name="check-upstream-freshness", persist_result=False)
def check_upstream_freshness(instance: str) -> Any:
    """Say for every upstream flow of an instance how it stands and whether it blocks.

    Args:
        instance: Its name, project/name or id.
    """
    return reported(lambda: _check(instance))


def _check(instance: str) -> Any:
    with connect() as services:
        report = reports.freshness(services.database, services.now(), instance)
        key = f"freshness-{report['project']}-{report['instance']}".lower().replace("_", "-")
        run_id = current_run_id()
        rows = [_row(entry) for entry in report["upstreams"]] or [{"upstream": "none"}]
        services.prefect.create_artifact(key, "table", rows, "Upstream freshness", run_id)
        explained = why(services.database, services.now(), instance)
        services.prefect.create_artifact(
            f"why-{key}", "markdown", page(explained), "What it waits for", run_id
        )
        picture = mermaid(reports.lineage(services.database, instance))
        services.prefect.create_artifact(
            f"lineage-{key}", "markdown", picture, "Lineage, as it was then", run_id
        )
        for entry in report["upstreams"]:
            get_run_logger().log(
                30 if entry["blocking"] else 20,
                "%s.%s is %s (%s)%s",
                entry["resource"],
                entry["flow_kind"],
                entry["status"],
                entry["reason"],
                ", blocking" if entry["blocking"] else "",
            )
        for flow in explained["flows"]:
            get_run_logger().info("%s", flow["why"])
        return report


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "upstream": f"{entry['resource']}.{entry['flow_kind']}",
        "role": entry["role"],
        "status": entry["status"],
        "reason": entry["reason"],
        "since": entry["since"],
        "generation": entry["generation"],
        "data up to": entry["last_data_date"],
        "blocks": "yes" if entry["blocking"] else "no",
    }
