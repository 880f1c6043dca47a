"""Bringing our records in line with what became of flow runs that could not tell themselves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.prefect import LIVE, RunState, RunView
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.records import OpeningStatus
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.models import GateOpening
from prefect_instances.libs.db.repositories.openings import select_unclaimed
from prefect_instances.libs.db.repositories.runs import select_leases, select_run
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import forget, relay, relay_or_leave

_log = logging.getLogger("instances.accounts")

BAD_STATES: Mapping[RunState, RunStatus] = {
    RunState.FAILED: RunStatus.FAILED,
    RunState.CRASHED: RunStatus.CRASHED,
    RunState.CANCELLED: RunStatus.CANCELLED,
}

TELL_SECONDS = 20.0
"""How long one sweep publishes to subscribers; the next one goes on."""

QUICK_ATTEMPTS = 3
"""Announcements of one opening that follow each other at once; later ones wait for the sweep."""


def account_for(services: Services, flow_run_id: UUID) -> str:
    """Record the bad end of a flow run that did not record it itself; one line on what was done.

    A run that died before it claimed its opening has that opening announced again.
    """
    view = services.prefect.read_runs([flow_run_id]).get(flow_run_id)
    if view is None or view.state not in BAD_STATES:
        return f"flow run {flow_run_id} did not end badly: nothing to do"
    with services.database.read() as session:
        run = select_run(session, flow_run_id)
    if run is None:
        return _died_before_claim(services, view)
    if run.status is not RunStatus.RUNNING:
        return f"run {run.id} is on record as {run.status}"
    return end_run(services, run.id, BAD_STATES[view.state], view.message)


def end_run(services: Services, run_id: UUID, status: RunStatus, message: str) -> str:
    """Record the bad end of a run that is RUNNING here; one line on what was done."""
    text = message.strip().splitlines()[0] if message.strip() else f"the flow run {status}"
    try:
        services.ledger.end_badly(run_id, status, text)
    except Interrupted as lost:
        return str(lost)
    relay_or_leave(services)
    return f"run {run_id} is now {status}: {text}"


def _died_before_claim(services: Services, view: RunView) -> str:
    opening_id = _opening_of(view.parameters)
    if opening_id is None:
        return f"flow run {view.id} claimed nothing"
    with services.database.read() as session:
        opening = session.get(GateOpening, opening_id)
        waits = opening is not None and opening.status is OpeningStatus.OPEN
        attempt = opening.attempt if opening else 0
    if not waits or view.state is RunState.CANCELLED:
        return f"opening {opening_id} does not wait for a run"
    if attempt >= QUICK_ATTEMPTS:
        return f"opening {opening_id} failed to start {attempt} times; the sweep tries again later"
    services.ledger.announce_again(opening_id)
    relay_or_leave(services)
    return f"opening {opening_id} is announced again"


def _opening_of(parameters: Mapping[str, Any]) -> UUID | None:
    value = parameters.get("opening")
    try:
        return UUID(str(value)) if value else None
    except ValueError:
        return None


@dataclass(slots=True)
class Swept:
    """What one sweep found and did."""

    past_due: int = 0
    dead_runs: int = 0
    published: int = 0
    started: int = 0
    forgotten: int = 0
    told: int = 0

    @property
    def idle(self) -> bool:
        """True where there was nothing to do."""
        return not any((self.past_due, self.dead_runs, self.published, self.started, self.told))


def sweep(services: Services) -> Swept:
    """The safety net: past-due flows, dead runs, unpublished events, unclaimed openings."""
    swept = Swept()
    while marked := len(services.ledger.mark_past_due().flows):
        swept.past_due += marked
    swept.dead_runs = _end_dead_runs(services)
    swept.published = relay(services)
    swept.started = _start_unclaimed(services)
    swept.forgotten = forget(services)
    if services.live.look():
        swept.told = services.live.drain(TELL_SECONDS)
    return swept


def _end_dead_runs(services: Services) -> int:
    with services.database.read() as session:
        running = select_leases(session)
    views = services.prefect.read_runs([row.prefect_flow_run_id for row in running])
    count = 0
    for run_id, flow_run_id, lease_until in running:
        view = views.get(flow_run_id)
        if view is not None and view.state in BAD_STATES:
            _log.warning(end_run(services, run_id, BAD_STATES[view.state], view.message))
            count += 1
        elif lease_until is not None and lease_until < services.now():
            _declare_dead(services, run_id, flow_run_id)
            count += 1
    return count


def _declare_dead(services: Services, run_id: UUID, flow_run_id: UUID) -> None:
    message = "its process gave no sign of life"
    _log.warning(end_run(services, run_id, RunStatus.CRASHED, message))
    # Our record comes first: the crash below makes Prefect start an account of this run.
    services.prefect.crash_run(flow_run_id, message)


def _start_unclaimed(services: Services) -> int:
    """Start the runs of openings whose event, or run, got lost."""
    with services.database.read() as session:
        waiting = _unclaimed(services, session)
    live = services.prefect.live_runs({deployment for _, deployment in waiting})
    count = 0
    for opening_id, deployment_id in waiting:
        if any(_opening_of(run.parameters) == opening_id for run in live.get(deployment_id, [])):
            continue
        count += _start(services, opening_id, deployment_id)
    return count


def _unclaimed(services: Services, session: Session) -> list[tuple[UUID, UUID]]:
    patience = services.now() - timedelta(seconds=services.settings.claim_seconds)
    return select_unclaimed(session, patience)


def _start(services: Services, opening_id: UUID, deployment_id: UUID) -> bool:
    """Start one run with the opening's own key; a run of that key that died makes a new attempt."""
    with services.database.read() as session:
        attempt = session.get_one(GateOpening, opening_id).attempt
    key = f"gate:{opening_id}:{attempt}"
    parameters = {"opening": str(opening_id)}
    run = services.prefect.start_run(deployment_id, parameters, idempotency_key=key)
    if run.state in LIVE:
        return True
    services.ledger.announce_again(opening_id)
    relay_or_leave(services)
    return True
