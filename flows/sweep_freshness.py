"""Find and repair, on a schedule, what events and processes have left undone."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed

from prefect_instances.flows.execution_flows import build_ports
from prefect_instances.flows.reporting import current_run, report_errors
from prefect_instances.libs.core.status import IdleEnd
from prefect_instances.libs.services.lifecycle.reconciling import restore_deployment
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.sweeping import Swept, sweep
from prefect_instances.libs.wiring import connect


@flow(name="sweep-freshness", flow_run_name="sweep", persist_result=False)
def sweep_freshness() -> Any:
    """Handle missed deadlines, dead runs, unsent events and openings that no run has claimed.

    If something cannot be done, the run does everything else and then ends Failed, one line each.
    """
    return report_errors(_sweep)


def _sweep() -> Any:
    with connect() as services:
        if _has_successor(services, current_run()):
            return Completed(
                name=IdleEnd.SKIPPED, message="a later sweep is already due and does the same work"
            )
        swept = sweep(services, lambda flow_id: _restored(services, flow_id))
        if swept.idle:
            return Completed(message="nothing to do")
        get_run_logger().info(_sentence(swept))
        if swept.failures:
            return Failed(message=f"{_sentence(swept)}; not done: {'; '.join(swept.failures)}")
        return Completed(message=_sentence(swept))


def _restored(services: Services, flow_id: UUID) -> UUID:
    get_run_logger().warning("flow %s has no deployment; it is created again", flow_id)
    return restore_deployment(
        services, lambda spec, document_id: build_ports(services, spec, document_id), flow_id
    )


def _sentence(swept: Swept) -> str:
    return (
        f"{swept.past_due} past due, {swept.dead_runs} dead runs ended, "
        f"{swept.published} events published, {swept.started} runs started for openings, "
        f"{swept.told} messages sent to subscribers"
    )


def _has_successor(services: Services, run: Any) -> bool:
    """Return True if a later scheduled sweep is already due, so this one can be skipped."""
    if not run.auto_scheduled or run.deployment_id is None:
        return False
    due = services.prefect.list_live_runs([run.deployment_id])[run.deployment_id]
    starts = [view.expected_start_time for view in due if view.scheduled and view.id != run.id]
    return any(start is not None and start > run.expected_start_time for start in starts)
