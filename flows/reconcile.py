"""Compare the database with Prefect, MLflow and Evidently, on a schedule and on request."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed

from prefect_instances.flows.execution_flows import build_ports
from prefect_instances.flows.reporting import current_run, current_run_id, report_errors
from prefect_instances.libs.adapters.prefect.artifacts import shorten_cells
from prefect_instances.libs.services.lifecycle.lifecycle_flows import lifecycle_plans
from prefect_instances.libs.services.lifecycle.reconciling import Outcome, Reconciled, rows
from prefect_instances.libs.services.lifecycle.reconciling import reconcile as reconcile_all
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.wiring import connect

ARTIFACT = "reconcile"
WHOLE = "reconcile-whole"
"""The same rows with nothing shortened, for `instances reconcile --json`."""


@flow(name="reconcile", flow_run_name="reconcile", persist_result=False)
def reconcile(remove_unknown: bool = False) -> Any:
    """Find differences between the database and other systems; repair or report them.

    It creates deleted deployments, blocks, automations, MLflow experiments and Evidently projects
    again. It restores edited automations and deployments, but keeps a pause, a concurrency limit
    and a schedule that somebody switched off. It applies edited blocks. It ends runs that have
    already ended in Prefect. It only reports invalid blocks, deployments without an instance, and
    deployments of lifecycle flows that are no longer installed.

    Args:
        remove_unknown: Delete deployments that belong to no instance of this database.
    """
    return report_errors(lambda: _reconcile(remove_unknown))


def _reconcile(remove_unknown: bool) -> Any:
    logger = get_run_logger()
    with connect() as services:
        found = reconcile_all(
            services,
            lambda spec, document_id: build_ports(services, spec, document_id),
            lifecycle_plans(services.settings.pool, services.settings.chosen_sweep_seconds),
            remove_unknown=remove_unknown,
        )
        for text in found.unseen:
            logger.warning("%s", text)
        for item in found.items:
            logger.warning("%s", ", ".join(item.row().values()))
        if found.items or not current_run().auto_scheduled:
            _show(services, found)
        return Completed(message=_summary(found))


def _show(services: Services, found: Reconciled) -> None:
    table = rows(found.items) or [{"subject": "everything", "divergence": "none"}]
    services.prefect.create_artifact(
        ARTIFACT, "table", table, "What differed from the records", current_run_id()
    )
    if shorten_cells(table) != table:
        about = "What differed from the records, in full"
        services.prefect.create_artifact(WHOLE, "table", table, about, current_run_id(), whole=True)


def _summary(found: Reconciled) -> str:
    counts = [(found.count(outcome), outcome) for outcome in Outcome]
    told = [f"{count} {outcome}" for count, outcome in counts if count]
    return ", ".join([*told, *found.unseen]) or "nothing differs"
