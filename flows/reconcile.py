"""Comparing the records with the systems around them, on a schedule and on demand."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed

from prefect_instances.flows.execution_flows import ports
from prefect_instances.flows.reporting import current_run, current_run_id, reported
from prefect_instances.libs.services.lifecycle.lifecycle_flows import lifecycle_plans
from prefect_instances.libs.services.lifecycle.reconciling import Outcome, Reconciled, rows
from prefect_instances.libs.services.lifecycle.reconciling import reconcile as reconcile_all
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.wiring import connect

ARTIFACT = "reconcile"


@flow(name="reconcile", persist_result=False)
def reconcile(remove_unknown: bool = False) -> Any:
    """Find what differs from the records, put right what is safe, report the rest.

    A deployment, block, automation, MLflow experiment or Evidently project that was deleted comes
    back, and so do deployments of lifecycle flows; an edited automation or deployment is set right
    (a pause, a limit of runs or a schedule that a person switched off stays); an edited block is
    applied; a run that ended unnoticed is ended. A block with faults, a deployment of no instance
    and one of a lifecycle flow that is not installed any more are reported.

    Args:
        remove_unknown: Delete deployments that belong to no instance of this database.
    """
    return reported(lambda: _reconcile(remove_unknown))


def _reconcile(remove_unknown: bool) -> Any:
    logger = get_run_logger()
    with connect() as services:
        found = reconcile_all(
            services,
            lambda spec, document_id: ports(services, spec, document_id),
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


def _summary(found: Reconciled) -> str:
    counts = [(found.count(outcome), outcome) for outcome in Outcome]
    told = [f"{count} {outcome}" for count, outcome in counts if count]
    return ", ".join([*told, *found.unseen]) or "nothing differs"
