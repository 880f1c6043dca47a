"""Verify that database, Prefect, MLflow, Evidently and disk agree; nothing is changed.

The facts are gathered here and compared by pure functions: ``libs.core.audit`` (the records),
``libs.core.divergence`` (what ``reconcile`` repairs), ``libs.core.pairing`` (runs on both sides,
as the sweep judges them) and ``libs.core.audit_models``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from prefect_instances.libs.adapters.prefect import DeploymentPlan
from prefect_instances.libs.core.audit import SWEEP, Fault, Finding, Records, audit_records
from prefect_instances.libs.core.divergence import Diverged, Divergence, find_divergences
from prefect_instances.libs.db.repositories.audit import load_records
from prefect_instances.libs.services.lifecycle.observing import PlanOf, observe
from prefect_instances.libs.services.lifecycle.verifying_models import find_model_faults
from prefect_instances.libs.services.lifecycle.verifying_stores import (
    find_leftovers,
    find_lost_files,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import find_late_events
from prefect_instances.libs.services.state.failures import Failures
from prefect_instances.libs.services.state.run_pairs import find_dead_runs
from prefect_instances.libs.services.state.sweeping import find_unclaimed

RECONCILE = "`instances reconcile`"


@dataclass(frozen=True, slots=True)
class Verified:
    """All findings, and what could not be looked at."""

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """True if nothing is lost, doubled, stuck or different, and all was looked at."""
        return not self.unseen and not any(found.harms for found in self.findings)


def verify(
    services: Services, plan_of: PlanOf, lifecycle: Sequence[DeploymentPlan] = ()
) -> Verified:
    """Compare what every system holds; list what is lost, doubled, stuck, different or orphaned.

    ``plan_of`` and ``lifecycle`` are those of ``observe``. A system that does not answer hides only
    its own findings. Raises Unavailable if Prefect or the database does not answer.
    """
    failures = Failures()
    sight = observe(services, plan_of, lifecycle)
    models = list(find_model_faults(services, failures))
    with services.database.read() as session:
        records = load_records(session)
    # Lost outputs are looked for below, with those of flows that are not settled.
    divergences = [
        diverged
        for diverged in find_divergences(sight.recorded, sight.world)
        if diverged.kind is not Divergence.OUTPUT_LOST
    ]
    findings = [
        *audit_records(records, services.now()),
        *(_of_divergence(diverged) for diverged in divergences),
        *_runs(services, records),
        *_waiting(services),
        *models,
        *find_lost_files(services, records, failures),
        *find_leftovers(services, sight.world.known),
    ]
    return Verified(tuple(findings), (*sight.unseen, *failures.lines))


def _of_divergence(diverged: Diverged) -> Finding:
    """Convert a divergence; what belongs to no instance, or is off on purpose, does no harm."""
    remedy = diverged.remedy or RECONCILE
    kind = Fault.ORPHANED if diverged.kind in HARMLESS else Fault.DIVERGED
    difference = "; ".join(diverged.difference)
    return Finding(kind, diverged.subject, f"{diverged.kind}: {difference}", remedy)


HARMLESS = frozenset({Divergence.DEPLOYMENT_UNKNOWN, Divergence.LIFECYCLE_STALE})


def _runs(services: Services, records: Records) -> Iterator[Finding]:
    """Find the runs that are over on one side only, as the sweep finds them."""
    for pair, verdict in find_dead_runs(services):
        run = records.runs.get(pair.record.id) if pair.record else None
        subject = records.name(run.flow_id) if run else f"flow run {pair.flow_run_id}"
        there = pair.view.state if pair.view else "unknown"
        here = pair.record.status if pair.record else "not begun"
        detail = f"flow run {pair.flow_run_id} is {there} in Prefect and {here} in the database"
        yield Finding(Fault.STUCK, subject, detail, f"{SWEEP}: it will {verdict}")


def _waiting(services: Services) -> Iterator[Finding]:
    """Find openings that no run takes, and events that do not leave."""
    settings = services.settings
    patience = settings.claim_seconds + 2 * settings.sweep_seconds
    advice = "see `instances doctor`: a worker is up, and sweeps succeed"
    for waiting in find_unclaimed(services, timedelta(seconds=patience)):
        detail = f"opening {waiting.id} has waited for a run for more than {patience} s"
        yield Finding(Fault.STUCK, waiting.label, detail, advice)
    late = find_late_events(services.database, settings, services.now())
    if late is not None:
        count, since = late
        detail = f"{count} events have not left since {since.isoformat(timespec='seconds')}"
        yield Finding(Fault.STUCK, "outbox", detail, advice)
