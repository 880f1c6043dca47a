"""The safety net: do what was left undone by lost events and dead processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from prefect_instances.libs.adapters.prefect import LIVE, KeyTaken, RunView
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.ids import build_run_name
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.db.models import GateOpening
from prefect_instances.libs.db.repositories.marks import record_swept
from prefect_instances.libs.db.repositories.openings import select_unclaimed
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import (
    delete_old_events,
    relay,
    relay_or_leave,
)
from prefect_instances.libs.services.state.failures import Failures
from prefect_instances.libs.services.state.run_pairs import end_dead_runs
from prefect_instances.libs.services.state.run_recovery import read_opening_id, restart

TELL_SECONDS = 20.0
"""Seconds for which one sweep publishes to subscribers; the next sweep continues."""

Restore = Callable[[UUID], UUID]
"""Creates the deployment of a flow (given by its id) again and returns the deployment's id."""


@dataclass(slots=True)
class Swept:
    """Counts of what one sweep did; ``failures`` has one line for each thing that failed."""

    past_due: int = 0
    dead_runs: int = 0
    published: int = 0
    started: int = 0
    forgotten: int = 0
    told: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        """True if the sweep found nothing to do."""
        done = (self.past_due, self.dead_runs, self.published, self.started, self.told)
        return not any(done) and not self.failures


@dataclass(frozen=True, slots=True)
class Waiting:
    """An opening that no run has claimed in time."""

    id: UUID
    flow_id: UUID
    deployment_id: UUID
    instance: str
    kind: str

    @property
    def label(self) -> str:
        """The flow as ``instance.kind``."""
        return f"{self.instance}.{self.kind}"


def sweep(services: Services, restore: Restore) -> Swept:
    """Find past-due flows, dead runs, unpublished events and unclaimed openings; act on each.

    It also deletes old events, publishes to subscribers and records that it ran. A failure of one
    step or item does not stop the others. ``restore`` creates a missing deployment again.
    """
    swept, failures, began = Swept(), Failures(), services.now()
    with failures.step("flows past due"):
        while marked := len(services.ledger.mark_past_due().flows):
            swept.past_due += marked
    with failures.step("dead runs"):
        swept.dead_runs = end_dead_runs(services, failures)
    with failures.step("events"):
        swept.published = relay(services, failures)
    with failures.step("unclaimed openings"):
        swept.started = _start_unclaimed(services, restore, failures)
    with failures.step("old events"):
        swept.forgotten = delete_old_events(services)
    with failures.step("subscribers"):
        if services.live.check_broker():
            swept.told = services.live.drain(TELL_SECONDS)
    with failures.step("the note of this sweep"):
        # When it began: what it judged since then may have waited for the database.
        services.database.transact(lambda session: record_swept(session, began))
    swept.failures = failures.lines
    return swept


def _start_unclaimed(services: Services, restore: Restore, failures: Failures) -> int:
    """Start runs for openings whose event or run was lost; return their number."""
    count = 0
    for waiting in find_unclaimed(services, timedelta(seconds=services.settings.claim_seconds)):
        with failures.item(f"start of {waiting.label}"):
            _start(services, waiting, restore)
            count += 1
    return count


def find_unclaimed(services: Services, patience: timedelta) -> list[Waiting]:
    """List the openings that waited longer than ``patience`` and have no run under way."""
    with services.database.read() as session:
        rows = select_unclaimed(session, services.now() - patience)
    found = [Waiting(*row) for row in rows]
    live = services.prefect.list_live_runs({waiting.deployment_id for waiting in found})
    return [
        waiting
        for waiting in found
        if waiting.id
        not in {read_opening_id(run.parameters) for run in live.get(waiting.deployment_id, [])}
    ]


def _start(services: Services, waiting: Waiting, restore: Restore) -> None:
    """Start the run of an opening; if the run with its key has ended, start or end it anew."""
    try:
        run = _ask_for_run(services, waiting, waiting.deployment_id)
    except NotFound:
        run = _ask_for_run(services, waiting, restore(waiting.flow_id))
    if run is None:
        services.ledger.announce_again(waiting.id)
        relay_or_leave(services)
    elif run.state not in LIVE:
        restart(services, run, sweeping=True)


def _ask_for_run(services: Services, waiting: Waiting, deployment_id: UUID) -> RunView | None:
    """Start the run of an opening; return it, or the run that its idempotency key started before.

    None if the key belongs to a run of another deployment, which was deleted since: the key cannot
    be used again.
    """
    with services.database.read() as session:
        attempt = session.get_one(GateOpening, waiting.id).attempt
    key, parameters = f"gate:{waiting.id}:{attempt}", {"opening": str(waiting.id)}
    name = build_run_name(waiting.instance, waiting.kind, Cause.GATE)
    try:
        return services.prefect.start_run(deployment_id, parameters, idempotency_key=key, name=name)
    except KeyTaken:
        return None
