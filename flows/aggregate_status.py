"""Update the status of instances after runs that ended badly."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.execution_run import read_identity
from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.services.state.run_recovery import recover_run
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.wiring import connect


@flow(name="aggregate-status", flow_run_name="aggregate status", persist_result=False)
def aggregate_status(flow_run_id: str | None = None, instance: str | None = None) -> Any:
    """Record a flow run that ended badly, or compute an instance's status again.

    Args:
        flow_run_id: Id of a Prefect flow run that failed, crashed or was cancelled.
        instance: Name, project/name or id of an instance.
    """
    return report_errors(lambda: _aggregate(flow_run_id, instance))


def _aggregate(flow_run_id: str | None, instance: str | None) -> None:
    logger = get_run_logger()
    with connect() as services:
        if flow_run_id:
            run_id = read_identity("flow_run_id", flow_run_id.removeprefix("prefect.flow-run."))
            if isinstance(run_id, Problem):
                raise InvalidSpec([run_id])
            assert run_id is not None
            logger.info("%s", recover_run(services, run_id))
        if instance:
            logger.info("%s is %s", instance, _recompute(services, instance))


def _recompute(services: Services, instance: str) -> str:
    with services.database.read() as session:
        named = get_instance(session, instance)
    services.ledger.recompute(named.id)
    relay_or_leave(services)
    document = reports.status(services.database, services.now(), str(named.id))
    return str(document["instances"][0]["status"])
