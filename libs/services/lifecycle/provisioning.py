"""Provisioning: a saga of steps that can be repeated; it ends with the instance ACTIVE.

1. *reserve*: one transaction writes every row; the instance is PROVISIONING and opens no gate.
2. The external resources of the type, each recorded.
3. *deployment*: the Prefect deployment of each flow; its id is recorded.
4. *document*: the block document that holds the configuration; its id is recorded.
5. *activate*: ACTIVE, with a request for the first run.

An attempt after a crash continues with the interrupted step. A permanent error undoes every step. A
temporary error leaves the instance FAILED, with the step in its condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.errors import (
    AlreadyExists,
    PermanentError,
    TemporaryError,
    WrongLifecycle,
)
from prefect_instances.libs.core.status import Cause, Lifecycle
from prefect_instances.libs.db.models import (
    Resource,
)
from prefect_instances.libs.db.repositories.resources import (
    find_instance,
    select_newest_version,
)
from prefect_instances.libs.services.composition.checks import examine
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.composition.rows import write_rows
from prefect_instances.libs.services.lifecycle.executors import check_executor
from prefect_instances.libs.services.lifecycle.external_resources import (
    Ports,
    create_external,
    deploy,
    save_document,
)
from prefect_instances.libs.services.lifecycle.lifecycle_events import record_lifecycle_event
from prefect_instances.libs.services.lifecycle.locks import (
    acquire_lock,
    checkpoint,
    release_lock,
    require_free,
)
from prefect_instances.libs.services.lifecycle.removal import (
    DOCUMENT_STEP,
    delete_rows,
    remove_handles,
)
from prefect_instances.libs.services.lifecycle.store_places import check_store
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.specs import InstanceSpec, spec_document


@dataclass(frozen=True)
class Provisioned:
    """The result: id and label of the instance, what was done to it, and the steps."""

    instance_id: UUID
    label: str
    action: str
    steps: list[str] = field(default_factory=list)


def provision(services: Services, spec: InstanceSpec, ports: Ports) -> Provisioned:
    """Create the instance that ``spec`` describes; see the module.

    Raises InvalidSpec with every problem, AlreadyExists if the name is taken by another
    configuration, BusyElsewhere if another flow run provisions it, and a TemporaryError if a later
    attempt may succeed.
    """
    check_store(services.registry, services.settings.store_place, spec)
    check_executor(services.registry, spec)
    reserved = _reserved(services, spec, ports)
    label = f"{spec.project}/{spec.name}"
    if reserved.done:
        return Provisioned(reserved.id, label, "unchanged")
    try:
        steps = _carry_on(services, reserved.id, spec, ports)
    except PermanentError:
        _undo(services, reserved.id)
        raise
    except TemporaryError as error:
        _fail(services, reserved.id, error)
        raise
    relay_or_leave(services)
    return Provisioned(reserved.id, label, "created", steps)


@dataclass(frozen=True, slots=True)
class _Reserved:
    """The reserved instance; ``displaced``: an unfinished one must be removed first."""

    id: UUID
    done: bool = False
    displaced: bool = False


def _reserved(services: Services, spec: InstanceSpec, ports: Ports) -> _Reserved:
    while True:
        reserved = services.database.transact(lambda s: _reserve(services, s, spec, ports))
        if not reserved.displaced:
            return reserved
        _undo(services, reserved.id)


def _reserve(services: Services, session: Session, spec: InstanceSpec, ports: Ports) -> _Reserved:
    named = find_instance(session, f"{spec.project}/{spec.name}")
    if named is not None:
        resource = session.get_one(Resource, named.id)
        if _document_of(session, resource) == spec_document(spec):
            return _adopt(services, session, resource, ports)
        return _displace(services, session, resource, spec, ports)
    blueprint = examine(session, services.registry, spec, services.now())
    resource = write_rows(session, blueprint, services.now())
    acquire_lock(resource, ports.flow_run_id, services.now(), "reserve")
    return _Reserved(resource.id)


def _displace(
    services: Services, session: Session, resource: Resource, spec: InstanceSpec, ports: Ports
) -> _Reserved:
    """Prepare to replace an unfinished instance, once the new configuration is valid."""
    _replaceable(services, resource, ports)
    with session.begin_nested() as attempt:
        delete_rows(session, resource.id)
        examine(session, services.registry, spec, services.now())
        attempt.rollback()
    step = (resource.condition or {}).get("step", "replace")
    acquire_lock(resource, ports.flow_run_id, services.now(), step)
    return _Reserved(resource.id, displaced=True)


def _adopt(services: Services, session: Session, resource: Resource, ports: Ports) -> _Reserved:
    """Handle the same configuration again: nothing to do, or continue an earlier attempt."""
    if resource.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        return _Reserved(resource.id, done=True)
    _require_kept(resource)
    require_free(services, resource, ports.flow_run_id)
    resource.lifecycle = Lifecycle.PROVISIONING
    acquire_lock(resource, ports.flow_run_id, services.now(), "resume")
    session.flush()
    return _Reserved(resource.id)


def _replaceable(services: Services, resource: Resource, ports: Ports) -> None:
    """Refuse another configuration for a name whose instance was once ACTIVE."""
    if resource.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        detail = "with another configuration; update-instance changes it"
        raise AlreadyExists("instance", resource.name, detail)
    _require_kept(resource)
    require_free(services, resource, ports.flow_run_id)


def _require_kept(resource: Resource) -> None:
    """Refuse an instance that is partly removed: its data may be gone already."""
    if resource.lifecycle is Lifecycle.DEPROVISIONING:
        raise WrongLifecycle(resource.name, resource.lifecycle, ["removed completely"])


def _document_of(session: Session, resource: Resource) -> dict[str, Any] | None:
    version = select_newest_version(session, resource.id)
    return version.spec_json if version is not None else None


def _carry_on(services: Services, instance_id: UUID, spec: InstanceSpec, ports: Ports) -> list[str]:
    connected = partial(create_external, services, instance_id, spec)
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        *(
            (external.name, partial(connected, external))
            for external in TYPE_DESCRIPTIONS[spec.type].externals
        ),
        ("deployment", lambda: deploy(services, instance_id, spec, ports)),
        (DOCUMENT_STEP, lambda: save_document(services, instance_id, spec, ports)),
        ("activate", lambda: _activate(services, instance_id, spec)),
    )
    for name, step in steps:
        checkpoint(services, instance_id, ports.flow_run_id, name)
        step()
    return [name for name, _ in steps]


def _activate(services: Services, instance_id: UUID, spec: InstanceSpec) -> None:
    """Set ACTIVE and request the first run, which waits until its gate opens."""

    def clear(session: Session) -> None:
        session.get_one(Resource, instance_id).condition = None
        record_lifecycle_event(session, ids.PROVISIONED, instance_id, services.now())

    services.ledger.set_lifecycle(
        instance_id,
        Lifecycle.ACTIVE,
        first_run=Cause.PROVISION if spec.run_on_provision else None,
        write=clear,
    )


def _fail(services: Services, instance_id: UUID, error: TemporaryError) -> None:
    def work(session: Session) -> None:
        session.get_one(Resource, instance_id).lifecycle = Lifecycle.FAILED

    services.database.transact(work)
    release_lock(services, instance_id, error)


def _undo(services: Services, instance_id: UUID) -> None:
    """Undo every step of an attempt that cannot succeed; no run has started in it."""
    remove_handles(services, instance_id, purge=True)
    services.database.transact(lambda session: delete_rows(session, instance_id))
