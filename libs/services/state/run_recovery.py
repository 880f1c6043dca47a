"""Reconcile run records with flow runs that ended without reporting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect_instances.libs.adapters.prefect import RunState, RunView
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.pairing import (
    BAD_ENDS,
    Restart,
    There,
    decide_end,
    decide_restart,
)
from prefect_instances.libs.core.records import OpeningStatus
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.models import GateOpening
from prefect_instances.libs.db.repositories.runs import select_run
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.services.state.retrying import read_retry_policy

BAD_STATES: Mapping[RunState, RunStatus] = {
    RunState(there): status for there, status in BAD_ENDS.items()
}


def recover_run(services: Services, flow_run_id: UUID) -> str:
    """Record the failure of a flow run that did not report it; return one line on what was done.

    A run that ended before it claimed its opening is treated as ``restart`` says.
    """
    view = services.prefect.read_runs([flow_run_id]).get(flow_run_id)
    if view is None or view.state not in BAD_STATES:
        return f"flow run {flow_run_id} did not fail, crash or get cancelled; nothing to do"
    with services.database.read() as session:
        run = select_run(session, flow_run_id)
    if run is None:
        return restart(services, view)
    if run.status is not RunStatus.RUNNING:
        return f"run {run.id} is already recorded as {run.status}"
    return end_as_there(services, run.id, view)


def end_as_there(services: Services, run_id: UUID, view: RunView) -> str:
    """Record that a RUNNING run ended as its flow run did; return one line on the result."""
    status = decide_end(There(view.state), view.state_name)
    return end_run(services, run_id, status, view.message)


def end_run(services: Services, run_id: UUID, status: RunStatus, message: str) -> str:
    """Record that a RUNNING run failed, crashed or was cancelled; return one line on the result.

    It is repeated as its schedule and the settings say, like a run that records its own failure.
    """
    text = _first_line(message, status)
    try:
        record_end(services, run_id, status, text)
    except Interrupted as lost:
        return str(lost)
    return f"run {run_id} is now {status}: {text}"


def record_end(
    services: Services, run_id: UUID, status: RunStatus, text: str, *, silent: bool = False
) -> None:
    """Record the end of a run as ``Ledger.end_badly`` does, with its retry policy; tell it."""
    policy = read_retry_policy(services, run_id)
    services.ledger.end_badly(run_id, status, text, policy, silent=silent)
    relay_or_leave(services)


def restart(services: Services, view: RunView, *, sweeping: bool = False) -> str:
    """Start another run for an opening whose flow run ended before it claimed the opening.

    ``libs.core.pairing:decide_restart`` decides whether and when; if it says never, the failure is
    recorded. ``sweeping`` is True in the sweep, which also starts what had to wait. Returns one
    line on what was done.
    """
    opening_id = read_opening_id(view.parameters)
    if opening_id is None:
        return f"flow run {view.id} claimed nothing"
    with services.database.read() as session:
        opening = session.get(GateOpening, opening_id)
        waits = opening is not None and opening.status is OpeningStatus.OPEN
        attempt = opening.attempt if opening else 0
    if not waits or (view.state is RunState.CANCELLED and not sweeping):
        return f"opening {opening_id} is not waiting for a run"
    verdict = decide_restart(There(view.state), view.state_name, attempt)
    if verdict is Restart.NEVER:
        return _end_unstarted(services, opening_id, view, attempt)
    if verdict is Restart.LATER and not sweeping:
        return f"opening {opening_id} failed to start {attempt} times; the sweep tries again"
    services.ledger.announce_again(opening_id)
    relay_or_leave(services)
    return f"opening {opening_id}: its event is sent again"


def _end_unstarted(services: Services, opening_id: UUID, view: RunView, attempt: int) -> str:
    status = BAD_STATES[view.state]
    said = _first_line(view.message, status)
    tried = f"; {attempt} runs died so" if status is RunStatus.CRASHED else ""
    text = f"the run could not begin: {said}{tried}"
    if not services.ledger.end_unstarted(opening_id, view.id, status, text):
        return f"opening {opening_id} is not waiting for a run"
    relay_or_leave(services)
    return f"opening {opening_id}: {text}"


def _first_line(message: str, status: RunStatus) -> str:
    return message.strip().splitlines()[0] if message.strip() else f"the flow run {status}"


def read_opening_id(parameters: Mapping[str, Any]) -> UUID | None:
    """Read the id of the opening that a flow run was started for; None if there is none."""
    value = parameters.get("opening")
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None
