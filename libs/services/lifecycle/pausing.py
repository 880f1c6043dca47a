"""Pause and resume an instance: its gates here, its schedules in Prefect.

Both can be repeated. Current runs continue; requests made meanwhile are remembered.
"""

from __future__ import annotations

from uuid import UUID

from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db.repositories.resources import Named, flows_of, get_instance
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave

EITHER = (Lifecycle.ACTIVE, Lifecycle.PAUSED)


def pause(services: Services, reference: str) -> Named:
    """Stop the schedules of an instance and keep its gates closed.

    Raises NotFound, or WrongLifecycle for an instance that is being created or removed.
    """
    named = _named(services, reference)
    services.ledger.set_lifecycle(named.id, Lifecycle.PAUSED, only_from=EITHER)
    _set_paused(services, named.id, paused=True)
    relay_or_leave(services)
    return named


def resume(services: Services, reference: str) -> Named:
    """Start the schedules again and evaluate the gates; what came in meanwhile runs once.

    Raises as ``pause``.
    """
    named = _named(services, reference)
    if named.lifecycle in EITHER:
        _set_paused(services, named.id, paused=False)
    services.ledger.set_lifecycle(named.id, Lifecycle.ACTIVE, only_from=EITHER)
    relay_or_leave(services)
    return named


def _named(services: Services, reference: str) -> Named:
    with services.database.read() as session:
        return get_instance(session, reference)


def _set_paused(services: Services, instance_id: UUID, *, paused: bool) -> None:
    """Pause or resume the deployments that exist; reconciling restores deleted ones."""
    with services.database.read() as session:
        found = [flow.deployment_id for flow in flows_of(session, instance_id)]
    for deployment_id in found:
        if deployment_id is None:
            continue
        try:
            services.prefect.set_deployment_paused(deployment_id, paused)
        except NotFound:
            continue
