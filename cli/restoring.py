"""Restoring what a new or lost database of Prefect no longer has: the deployments of instances."""

from __future__ import annotations

from uuid import UUID

from prefect_instances.cli.progress import Progress
from prefect_instances.cli.session import open_services
from prefect_instances.cli.waiting import Patience, submit, wait_for_run
from prefect_instances.libs.core.ids import EXECUTION_TAG
from prefect_instances.libs.services.lifecycle.observing import recorded_deployments
from prefect_instances.libs.services.state.context import Services

RECONCILE = "reconcile/default"
SECONDS = 600.0
"""How long ``up`` waits for one reconciliation; a later one finishes what is left."""


def restore_deployments(progress: Progress) -> str:
    """Reconcile until every flow of an instance has its deployment again; return what was done.

    Empty if none is missing. One reconciliation makes a bounded number of repairs, so it may take
    several. Raises TookTooLong if no worker runs it.
    """
    with open_services() as services:
        lost = count = len(_missing(services))
        while lost:
            progress.say(f"restoring {lost} deployments")
            started = submit(services, RECONCILE, {})
            wait_for_run(services, started, "reconcile", progress, Patience.of(SECONDS))
            left = len(_missing(services))
            if left >= lost:
                break
            lost = left
    return _sentence(count, lost)


def _missing(services: Services) -> set[str]:
    """Return the flows of active instances whose deployment is not in Prefect."""
    recorded: dict[str, UUID | None] = recorded_deployments(services.database)
    if not recorded:
        return set()
    present = {view.id for view in services.prefect.list_deployments_tagged(EXECUTION_TAG)}
    return {label for label, id_ in recorded.items() if id_ not in present}


def _sentence(count: int, left: int) -> str:
    if not count:
        return ""
    text = f"Prefect had lost deployments of instances: {count - left} of {count} are restored"
    return f"{text}; `instances doctor` names the others" if left else text
