"""Reconcile run records with flow runs that ended without reporting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect_instances.libs.adapters.prefect import RunState, RunView
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.records import OpeningStatus
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.models import GateOpening
from prefect_instances.libs.db.repositories.runs import select_run
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave

BAD_STATES: Mapping[RunState, RunStatus] = {
    RunState.FAILED: RunStatus.FAILED,
    RunState.CRASHED: RunStatus.CRASHED,
    RunState.CANCELLED: RunStatus.CANCELLED,
}

QUICK_ATTEMPTS = 3
"""Attempts to start the run of an opening without delay; later ones wait for the sweep."""


def recover_run(services: Services, flow_run_id: UUID) -> str:
    """Record the failure of a flow run that did not report it; return one line on what was done.

    If the run died before it claimed its opening, the event of that opening is sent again.
    """
    view = services.prefect.read_runs([flow_run_id]).get(flow_run_id)
    if view is None or view.state not in BAD_STATES:
        return f"flow run {flow_run_id} did not fail, crash or get cancelled; nothing to do"
    with services.database.read() as session:
        run = select_run(session, flow_run_id)
    if run is None:
        return _died_before_claim(services, view)
    if run.status is not RunStatus.RUNNING:
        return f"run {run.id} is already recorded as {run.status}"
    return end_run(services, run.id, BAD_STATES[view.state], view.message)


def end_run(services: Services, run_id: UUID, status: RunStatus, message: str) -> str:
    """Record that a RUNNING run failed, crashed or was cancelled; return one line on the result."""
    text = message.strip().splitlines()[0] if message.strip() else f"the flow run {status}"
    try:
        services.ledger.end_badly(run_id, status, text)
    except Interrupted as lost:
        return str(lost)
    relay_or_leave(services)
    return f"run {run_id} is now {status}: {text}"


def _died_before_claim(services: Services, view: RunView) -> str:
    opening_id = read_opening_id(view.parameters)
    if opening_id is None:
        return f"flow run {view.id} claimed nothing"
    with services.database.read() as session:
        opening = session.get(GateOpening, opening_id)
        waits = opening is not None and opening.status is OpeningStatus.OPEN
        attempt = opening.attempt if opening else 0
    if not waits or view.state is RunState.CANCELLED:
        return f"opening {opening_id} is not waiting for a run"
    if attempt >= QUICK_ATTEMPTS:
        return f"opening {opening_id} failed to start {attempt} times; the sweep tries again"
    services.ledger.announce_again(opening_id)
    relay_or_leave(services)
    return f"opening {opening_id}: its event is sent again"


def read_opening_id(parameters: Mapping[str, Any]) -> UUID | None:
    """Read the id of the opening that a flow run was started for; None if there is none."""
    value = parameters.get("opening")
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None
