"""The safety net: what events and processes that got lost would have done is done here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from prefect_instances.libs.adapters.prefect import LIVE, KeyTaken
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.db.models import GateOpening
from prefect_instances.libs.db.repositories.marks import record_swept
from prefect_instances.libs.db.repositories.openings import select_unclaimed
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import forget, relay, relay_or_leave
from prefect_instances.libs.services.state.failures import Failures
from prefect_instances.libs.services.state.run_pairs import settle_runs
from prefect_instances.libs.services.state.run_recovery import opening_of

TELL_SECONDS = 20.0
"""How long one sweep publishes to subscribers; the next one goes on."""

Restore = Callable[[UUID], UUID]
"""Makes the deployment of a flow (given by its id) anew; returns the deployment's id."""


@dataclass(slots=True)
class Swept:
    """What one sweep found and did; ``failures`` says in a line each what it could not do."""

    past_due: int = 0
    dead_runs: int = 0
    published: int = 0
    started: int = 0
    forgotten: int = 0
    told: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        """True where there was nothing to do."""
        done = (self.past_due, self.dead_runs, self.published, self.started, self.told)
        return not any(done) and not self.failures


@dataclass(frozen=True, slots=True)
class Waiting:
    """An opening that no run has claimed in time."""

    id: UUID
    flow_id: UUID
    deployment_id: UUID
    label: str


def sweep(services: Services, restore: Restore) -> Swept:
    """Find past-due flows, dead runs, unpublished events and unclaimed openings; act on each.

    A step that fails does not stop the others, nor does one item those beside it.
    """
    swept, failures = Swept(), Failures()
    with failures.step("flows past due"):
        while marked := len(services.ledger.mark_past_due().flows):
            swept.past_due += marked
    with failures.step("dead runs"):
        swept.dead_runs = settle_runs(services, failures)
    with failures.step("events"):
        swept.published = relay(services, failures)
    with failures.step("unclaimed openings"):
        swept.started = _start_unclaimed(services, restore, failures)
    with failures.step("old events"):
        swept.forgotten = forget(services)
    with failures.step("subscribers"):
        if services.live.look():
            swept.told = services.live.drain(TELL_SECONDS)
    with failures.step("the note of this sweep"):
        services.database.transact(lambda session: record_swept(session, services.now()))
    swept.failures = failures.lines
    return swept


def _start_unclaimed(services: Services, restore: Restore, failures: Failures) -> int:
    """Start the runs of openings whose event, or run, got lost."""
    unclaimed = _unclaimed(services)
    live = services.prefect.live_runs({waiting.deployment_id for waiting in unclaimed})
    count = 0
    for waiting in unclaimed:
        runs = live.get(waiting.deployment_id, [])
        if any(opening_of(run.parameters) == waiting.id for run in runs):
            continue
        with failures.item(f"start of {waiting.label}"):
            _start(services, waiting, restore)
            count += 1
    return count


def _unclaimed(services: Services) -> list[Waiting]:
    patience = services.now() - timedelta(seconds=services.settings.claim_seconds)
    with services.database.read() as session:
        rows = select_unclaimed(session, patience)
    return [Waiting(row[0], row[1], row[2], f"{row[3]}.{row[4]}") for row in rows]


def _start(services: Services, waiting: Waiting, restore: Restore) -> None:
    """Start one run with the opening's own key; a run of that key that died makes a new attempt."""
    try:
        alive = _ask_for_run(services, waiting.id, waiting.deployment_id)
    except NotFound:
        alive = _ask_for_run(services, waiting.id, restore(waiting.flow_id))
    if not alive:
        services.ledger.announce_again(waiting.id)
        relay_or_leave(services)


def _ask_for_run(services: Services, opening_id: UUID, deployment_id: UUID) -> bool:
    """Whether a run of the opening is under way now.

    A key that names the run of another deployment does so since that was deleted: it is used up.
    """
    with services.database.read() as session:
        attempt = session.get_one(GateOpening, opening_id).attempt
    key, parameters = f"gate:{opening_id}:{attempt}", {"opening": str(opening_id)}
    try:
        run = services.prefect.start_run(deployment_id, parameters, idempotency_key=key)
    except KeyTaken:
        return False
    return run.state in LIVE
