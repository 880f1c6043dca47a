"""Provisioning: a saga of idempotent steps that ends with the instance ACTIVE.

1. *reserve*: one transaction writes every row; the instance is PROVISIONING and opens no gate.
2. the type's handles in other systems (``Kit.externals``), each recorded.
3. *deployment*: the Prefect deployment of each flow; its id is recorded.
4. *document*: the block document that holds the configuration; its id is recorded.
5. *activate*: ACTIVE, and the first run asked for.

Run again after a crash at any point it goes on where it was. What fails for good leaves nothing
behind; what fails for now leaves the instance FAILED with the step in its condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4, uuid5

from sqlalchemy.orm import Session

from libs.adapters.prefect import LIVE
from libs.core import ids
from libs.core.errors import AlreadyExists, BusyElsewhere, PermanentError, TemporaryError
from libs.core.events import Event
from libs.core.status import Cause, FlowKind, FlowStatus, Lifecycle, Reason, Require
from libs.db.models import (
    FlowExecutionResource,
    LineageEdge,
    Resource,
    ResourceVersion,
)
from libs.db.repositories.outbox import record_events
from libs.db.repositories.resources import (
    COMPONENTS,
    EXTENSIONS,
    PROJECT,
    find_instance,
    find_project,
    newest_version,
)
from libs.services.catalog import register
from libs.services.checks import Blueprint, examine
from libs.services.context import Services
from libs.services.handles import Ports, deploy, make_external, save_document
from libs.services.kits import KITS
from libs.services.relay import relay_or_leave
from libs.services.removal import delete_rows, remove_handles
from libs.specs import InstanceSpec, output_fingerprint, spec_document

LEASE = timedelta(seconds=90)
"""How long a provisioning process may be silent in one step before another may take over."""


@dataclass(frozen=True)
class Provisioned:
    """The outcome: the instance's id and which step did what."""

    instance_id: UUID
    label: str
    action: str
    steps: list[str] = field(default_factory=list)


def provision(services: Services, spec: InstanceSpec, ports: Ports) -> Provisioned:
    """Make the instance that ``spec`` describes; see the module.

    Raises InvalidSpec with every problem, AlreadyExists where the name is taken by another
    configuration, BusyElsewhere where another flow run provisions it, Unavailable for what a later
    attempt may find mended.
    """
    reserved = services.database.transact(lambda session: _reserve(services, session, spec, ports))
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
    id: UUID
    done: bool


def _reserve(services: Services, session: Session, spec: InstanceSpec, ports: Ports) -> _Reserved:
    named = find_instance(session, f"{spec.project}/{spec.name}")
    if named is not None:
        resource = session.get_one(Resource, named.id)
        if _document_of(session, resource) == spec_document(spec):
            return _adopt(services, session, resource, ports)
        _replaceable(services, resource, ports)
        delete_rows(session, resource.id)
    blueprint = examine(session, services.registry, spec)
    resource = _write_rows(session, blueprint, services.now())
    _hold(resource, ports, services.now(), "reserve")
    return _Reserved(resource.id, done=False)


def _adopt(services: Services, session: Session, resource: Resource, ports: Ports) -> _Reserved:
    """The same configuration again: nothing to do, or go on where an earlier attempt ended."""
    if resource.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        return _Reserved(resource.id, done=True)
    _free_to_work(services, resource, ports)
    resource.lifecycle = Lifecycle.PROVISIONING
    _hold(resource, ports, services.now(), "resume")
    session.flush()
    return _Reserved(resource.id, done=False)


def _replaceable(services: Services, resource: Resource, ports: Ports) -> None:
    """Another configuration under this name: allowed only where the first never became ACTIVE."""
    if resource.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        detail = "with another configuration; delete it first"
        raise AlreadyExists("instance", resource.name, detail)
    _free_to_work(services, resource, ports)


def _free_to_work(services: Services, resource: Resource, ports: Ports) -> None:
    """Raise BusyElsewhere where another living flow run holds the instance."""
    held = resource.condition or {}
    if held.get("by") in (None, str(ports.flow_run_id)) or resource.lifecycle is Lifecycle.FAILED:
        return
    if datetime.fromisoformat(held["until"]) <= services.now():
        return
    by = UUID(held["by"])
    holder = services.prefect.read_runs([by]).get(by)
    if holder is not None and holder.state in LIVE:
        doing = "removed" if resource.lifecycle is Lifecycle.DEPROVISIONING else "provisioned"
        raise BusyElsewhere(resource.name, doing)


def _hold(resource: Resource, ports: Ports, now: datetime, step: str) -> None:
    until = (now + LEASE).isoformat()
    resource.condition = {"step": step, "by": str(ports.flow_run_id), "until": until}
    resource.updated_at = now


def _document_of(session: Session, resource: Resource) -> dict[str, Any] | None:
    version = newest_version(session, resource.id)
    return version.spec_json if version is not None else None


def _write_rows(session: Session, blueprint: Blueprint, now: datetime) -> Resource:
    spec = blueprint.spec
    project = _project(session, spec.project, now)
    resource = _resource(project.id, spec.name, spec.type, Lifecycle.PROVISIONING, now)
    resource.status = FlowStatus.NOT_INITIALIZED
    resource.contract = dict(blueprint.contract)
    session.add(resource)
    session.flush()
    session.add(_version(resource.id, spec, now))
    components = {
        role: _component(session, resource, role, blueprint, now) for role in blueprint.components
    }
    session.add(_extension(resource.id, blueprint, components))
    flows = {kind: _flow(resource.id, kind, now) for kind in blueprint.kit.shape.flows}
    session.add_all(flows.values())
    session.flush()
    session.add_all(_edges(blueprint, {kind: flow.id for kind, flow in flows.items()}))
    session.flush()
    return resource


def _project(session: Session, name: str, now: datetime) -> Resource:
    project = find_project(session, name)
    if project is None:
        project = _resource(None, name, PROJECT, Lifecycle.ACTIVE, now)
        session.add(project)
        session.flush()
    return project


def _resource(
    parent: UUID | None, name: str, type_: str, lifecycle: Lifecycle, now: datetime
) -> Resource:
    return Resource(
        id=uuid4(),
        type=type_,
        parent_id=parent,
        scope=str(parent or type_),
        name=name,
        name_key=name.lower(),
        lifecycle=lifecycle,
        created_at=now,
        updated_at=now,
    )


def _version(resource_id: UUID, spec: InstanceSpec, now: datetime) -> ResourceVersion:
    return ResourceVersion(
        id=uuid4(),
        resource_id=resource_id,
        number=1,
        label="1",
        content_hash=output_fingerprint(spec),
        spec_json=spec_document(spec),
        created_at=now,
    )


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The rows of a component; ``instance_id`` is None where it has no instance of its own."""

    instance_id: UUID | None
    definition_id: UUID
    version_id: UUID


def _component(
    session: Session, owner: Resource, role: str, blueprint: Blueprint, now: datetime
) -> _Recorded:
    component, part = blueprint.components[role], blueprint.kit.roles[role]
    if component.shared is not None:
        row = session.get_one(COMPONENTS[part.component_type], component.shared)
        return _Recorded(component.shared, row.definition_resource_id, row.definition_version_id)
    definition = register(session, component.definition, now)
    if not part.component_type:
        return _Recorded(None, definition.resource_id, definition.version_id)
    name = f"{owner.name}.{role}"
    resource = _resource(owner.parent_id, name, part.component_type, Lifecycle.ACTIVE, now)
    session.add(resource)
    session.flush()
    session.add(
        COMPONENTS[part.component_type](
            resource_id=resource.id,
            definition_resource_id=definition.resource_id,
            definition_version_id=definition.version_id,
            config_json=dict(component.config),
            owner_id=owner.id,
        )
    )
    session.flush()
    return _Recorded(resource.id, definition.resource_id, definition.version_id)


def _extension(resource_id: UUID, blueprint: Blueprint, components: Mapping[str, _Recorded]) -> Any:
    spec, kit = blueprint.spec, blueprint.kit
    columns: dict[str, Any] = {
        f"{role}_instance_id": recorded.instance_id
        for role, recorded in components.items()
        if recorded.instance_id is not None
    }
    if kit.main in components:
        columns["definition_resource_id"] = components[kit.main].definition_id
        columns["definition_version_id"] = components[kit.main].version_id
        columns["config_json"] = dict(blueprint.components[kit.main].config)
    return EXTENSIONS[spec.type](
        resource_id=resource_id,
        schedule_json=spec.schedule.document(),
        upstream_refs=[ref.document() for ref in spec.upstream_refs],
        **(columns | kit.columns(blueprint.composition)),
    )


def _flow(instance_id: UUID, kind: FlowKind, now: datetime) -> FlowExecutionResource:
    return FlowExecutionResource(
        id=uuid5(instance_id, kind),
        instance_id=instance_id,
        kind=kind.value,
        status=FlowStatus.NOT_INITIALIZED,
        reason=Reason.NEVER_RAN,
        since=now,
        detail="",
        generation=0,
        content_hash="",
        config_version=1,
        consumed_config_version=0,
        opened_key="",
        overtaken=0,
    )


def _edges(blueprint: Blueprint, flows: Mapping[FlowKind, UUID]) -> list[LineageEdge]:
    """Each upstream into every flow that reads it, then the edges among the flows themselves."""
    shape = blueprint.kit.shape
    edges = [
        _edge(upstream.flow_id, flows[kind], position, upstream.role)
        | _policy(*shape.policy(kind, upstream.require, upstream.triggers))
        for kind in shape.readers
        for position, upstream in enumerate(blueprint.upstreams)
    ]
    edges += [
        _edge(flows[inner.upstream], flows[inner.downstream], len(blueprint.upstreams), inner.role)
        | _policy(inner.require, inner.triggers)
        for inner in shape.inner
    ]
    return [LineageEdge(**edge) for edge in edges]


def _edge(upstream: UUID | None, downstream: UUID, position: int, role: str) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "upstream_flow_id": upstream,
        "downstream_flow_id": downstream,
        "position": position,
        "role": role,
        "kind": "data",
        "consumed_generation": 0,
    }


def _policy(require: Require, triggers: bool) -> dict[str, Any]:
    return {"require": require, "triggers": triggers}


def _carry_on(services: Services, instance_id: UUID, spec: InstanceSpec, ports: Ports) -> list[str]:
    connected = partial(make_external, services, instance_id, spec)
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        *((external.name, partial(connected, external)) for external in KITS[spec.type].externals),
        ("deployment", lambda: deploy(services, instance_id, spec, ports)),
        ("document", lambda: save_document(services, instance_id, spec, ports)),
        ("activate", lambda: _activate(services, instance_id, spec)),
    )
    for name, step in steps:
        _mark(services, instance_id, ports, name)
        step()
    return [name for name, _ in steps]


def _mark(services: Services, instance_id: UUID, ports: Ports, step: str) -> None:
    """Record which step is at work, and move the hold on."""
    services.database.transact(
        lambda session: _hold(session.get_one(Resource, instance_id), ports, services.now(), step)
    )


def _activate(services: Services, instance_id: UUID, spec: InstanceSpec) -> None:
    """ACTIVE, and a request for the first run, which is remembered until its gate opens."""

    def clear(session: Session) -> None:
        resource = session.get_one(Resource, instance_id)
        resource.condition = None
        record_events(session, [_provisioned(resource, spec, services.now())])

    services.ledger.set_lifecycle(
        instance_id,
        Lifecycle.ACTIVE,
        first_run=Cause.PROVISION if spec.run_on_provision else None,
        write=clear,
    )


def _provisioned(resource: Resource, spec: InstanceSpec, now: datetime) -> Event:
    return Event(
        id=uuid5(resource.id, f"{ids.PROVISIONED}:{now.isoformat()}"),
        name=ids.PROVISIONED,
        occurred=now,
        resource={
            "prefect.resource.id": ids.instance_resource(resource.id),
            "prefect.resource.name": f"{spec.project}/{spec.name}",
        },
        related=(
            {
                "prefect.resource.id": ids.instance_resource(resource.parent_id or resource.id),
                "prefect.resource.role": "project",
                "prefect.resource.name": spec.project,
            },
        ),
        payload={"instance": spec.name, "project": spec.project, "type": spec.type},
    )


def _fail(services: Services, instance_id: UUID, error: TemporaryError) -> None:
    def work(session: Session) -> None:
        resource = session.get_one(Resource, instance_id)
        resource.lifecycle = Lifecycle.FAILED
        resource.condition = {**(resource.condition or {}), "error": str(error)}
        resource.updated_at = services.now()

    services.database.transact(work)


def _undo(services: Services, instance_id: UUID) -> None:
    """Take back every step of an attempt that can never succeed."""
    remove_handles(services, instance_id)
    services.database.transact(lambda session: delete_rows(session, instance_id))
