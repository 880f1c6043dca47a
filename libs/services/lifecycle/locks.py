"""Locks: one flow run at a time works on an instance, and records the step that it is at.

A lock is in the resource's ``condition``. It ends with its lease, or when its flow run has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.prefect import LIVE
from prefect_instances.libs.core.errors import BusyElsewhere
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.core.texts import escape_unstorable
from prefect_instances.libs.db.models import Resource
from prefect_instances.libs.db.repositories.resources import find_project
from prefect_instances.libs.services.composition.rows import ensure_project
from prefect_instances.libs.services.lifecycle.removal import delete_empty_project
from prefect_instances.libs.services.state.context import Services

LOCK_LEASE = timedelta(seconds=90)
"""How long a process may be silent in one step before another one may take over."""

DOING = {
    Lifecycle.DEPROVISIONING: "removed",
    Lifecycle.ACTIVE: "changed",
    Lifecycle.PAUSED: "changed",
}
"""What the owner of the lock does to an instance, by lifecycle; otherwise it provisions."""


def require_free(services: Services, resource: Resource, flow_run_id: UUID) -> None:
    """Raise BusyElsewhere if another flow run that is alive has locked the instance."""
    held = resource.condition or {}
    if held.get("by") in (None, str(flow_run_id)) or "error" in held:
        return
    if datetime.fromisoformat(held["until"]) <= services.now():
        return
    by = UUID(held["by"])
    holder = services.prefect.read_runs([by]).get(by)
    if holder is not None and holder.state in LIVE:
        raise BusyElsewhere(resource.name, DOING.get(resource.lifecycle, "provisioned"))


def acquire_lock(
    resource: Resource, flow_run_id: UUID, now: datetime, step: str, lease: timedelta = LOCK_LEASE
) -> None:
    """Acquire or renew the lock for a step."""
    until = (now + lease).isoformat()
    resource.condition = {"step": step, "by": str(flow_run_id), "until": until}
    resource.updated_at = now


def checkpoint(services: Services, instance_id: UUID, flow_run_id: UUID, step: str) -> None:
    """Record the current step and renew the lock."""
    services.database.transact(
        lambda session: acquire_lock(
            session.get_one(Resource, instance_id), flow_run_id, services.now(), step
        )
    )


def release_lock(services: Services, instance_id: UUID, error: Exception) -> None:
    """Release the lock and record the error; the next attempt continues with the same step."""

    def work(session: Session) -> None:
        resource = session.get_one(Resource, instance_id)
        resource.condition = {**(resource.condition or {}), "error": escape_unstorable(str(error))}
        resource.updated_at = services.now()

    services.database.transact(work)


LONG_LEASE = timedelta(minutes=10)
"""Lease of a project's lock while a manifest is applied; it is renewed after each instance."""

LOCK_PATIENCE = timedelta(minutes=15)
"""How long an apply waits for another one; longer than the lease of one that died."""

LOOK_SECONDS = 0.5


@contextmanager
def lock_projects(
    services: Services,
    names: Iterable[str],
    flow_run_id: UUID,
    say: Callable[[str], None],
    patience: timedelta = LOCK_PATIENCE,
) -> Iterator[Callable[[], None]]:
    """Lock projects for one apply, so that two applies run one after the other.

    Yields a function that renews the lock. While another living flow run has locked one of the
    projects this waits, and calls ``say`` once with the reason. Raises BusyElsewhere after
    ``patience``.
    """
    listed = sorted(set(names))

    def take(session: Session) -> None:
        for name in listed:
            project = ensure_project(session, name, services.now())
            require_free(services, project, flow_run_id)
            acquire_lock(project, flow_run_id, services.now(), "apply", LONG_LEASE)

    def give_back(session: Session) -> None:
        for name in listed:
            project = find_project(session, name)
            if project is not None and (project.condition or {}).get("by") == str(flow_run_id):
                project.condition = None
                session.flush()
                delete_empty_project(session, project.id)

    _in_turn(lambda: services.database.transact(take), say, patience)
    try:
        yield lambda: services.database.transact(take)
    finally:
        services.database.transact(give_back)


def _in_turn(take: Callable[[], None], say: Callable[[str], None], patience: timedelta) -> None:
    """Acquire the lock as soon as it is free; report once that this waits."""
    until, told = time.monotonic() + patience.total_seconds(), False
    while True:
        try:
            return take()
        except BusyElsewhere as busy:
            if time.monotonic() >= until:
                raise
            if not told:
                say(str(busy))
            told = True
        time.sleep(LOOK_SECONDS)
