"""Provisioning: a saga of idempotent steps that ends with the instance ACTIVE.

1. *reserve*: one transaction writes every row; the instance is PROVISIONING and opens no gate.
2. *deployment*: the Prefect deployment of each flow; its id is recorded.
3. *document*: the block document that holds the configuration; its id is recorded.
4. *activate*: ACTIVE, and the first run asked for.

Run again after a crash at any point it goes on where it was. What fails for good leaves nothing
behind; what fails for now leaves the instance FAILED with the step in its condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from sqlalchemy.orm import Session

from libs.adapters.prefect import LIVE, DeploymentPlan
from libs.core import ids
from libs.core.errors import AlreadyExists, BusyElsewhere, PermanentError, TemporaryError
from libs.core.events import Event
from libs.core.status import Cause, FlowKind, FlowStatus, Lifecycle, Reason
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
    flows_of,
    newest_version,
)
from libs.services.catalog import register
from libs.services.checks import KINDS, Blueprint, Component, examine
from libs.services.context import Services
from libs.services.relay import relay_or_leave
from libs.services.removal import delete_rows, remove_handles
from libs.specs import DatasetSpec, SignalSpec, output_fingerprint, spec_document

LEASE = timedelta(seconds=90)
"""How long a provisioning process may be silent in one step before another may take over."""


@dataclass(frozen=True)
class Ports:
    """What provisioning needs from the flows above it.

    ``execution`` gives per flow kind the entrypoint and parameter schema of the flow that executes
    it; ``save_document`` keeps the configuration as a block document (given its name) and returns
    the id; ``flow_run_id`` names the provisioning flow run.
    """

    execution: Mapping[str, tuple[str, Mapping[str, Any]]]
    save_document: Callable[[str], UUID]
    flow_run_id: UUID


@dataclass(frozen=True)
class Provisioned:
    """The outcome: the instance's id and which step did what."""

    instance_id: UUID
    label: str
    action: str
    steps: list[str] = field(default_factory=list)


def provision(services: Services, spec: DatasetSpec, ports: Ports) -> Provisioned:
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


def _reserve(services: Services, session: Session, spec: DatasetSpec, ports: Ports) -> _Reserved:
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
        role: _component(session, resource, role, component, now)
        for role, component in blueprint.components.items()
    }
    session.add(_extension(session, resource.id, spec, components))
    flow = _flow(resource.id, FlowKind.REFRESH, now)
    session.add(flow)
    session.flush()
    session.add_all(_edges(blueprint, flow.id))
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


def _version(resource_id: UUID, spec: DatasetSpec, now: datetime) -> ResourceVersion:
    return ResourceVersion(
        id=uuid4(),
        resource_id=resource_id,
        number=1,
        label="1",
        content_hash=output_fingerprint(spec),
        spec_json=spec_document(spec),
        created_at=now,
    )


def _component(
    session: Session,
    owner: Resource,
    role: str,
    component: Component,
    now: datetime,
) -> UUID:
    if component.shared is not None:
        return component.shared
    _, instance_type = KINDS[role]
    definition = register(session, component.definition, now)
    name = f"{owner.name}.{role}"
    resource = _resource(owner.parent_id, name, instance_type, Lifecycle.ACTIVE, now)
    session.add(resource)
    session.flush()
    session.add(
        COMPONENTS[instance_type](
            resource_id=resource.id,
            definition_resource_id=definition.resource_id,
            definition_version_id=definition.version_id,
            config_json=dict(component.config),
            owner_id=owner.id,
        )
    )
    session.flush()
    return resource.id


def _extension(
    session: Session, resource_id: UUID, spec: DatasetSpec, components: Mapping[str, UUID]
) -> Any:
    pipeline = session.get_one(COMPONENTS["PipelineInstance"], components["pipeline"])
    signal = {"signal_json": spec.signal.document()} if isinstance(spec, SignalSpec) else {}
    return EXTENSIONS[spec.type](
        resource_id=resource_id,
        pipeline_instance_id=components["pipeline"],
        store_instance_id=components["store"],
        accessor_instance_id=components["accessor"],
        definition_resource_id=pipeline.definition_resource_id,
        definition_version_id=pipeline.definition_version_id,
        config_json=pipeline.config_json,
        schedule_json=spec.schedule.document(),
        upstream_refs=[ref.document() for ref in spec.upstream_refs],
        **signal,
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


def _edges(blueprint: Blueprint, downstream: UUID) -> list[LineageEdge]:
    return [
        LineageEdge(
            id=uuid4(),
            upstream_flow_id=upstream.flow_id,
            downstream_flow_id=downstream,
            position=position,
            role=upstream.role,
            kind="data",
            require=upstream.require,
            triggers=upstream.triggers,
            consumed_generation=0,
        )
        for position, upstream in enumerate(blueprint.upstreams)
    ]


def _carry_on(services: Services, instance_id: UUID, spec: DatasetSpec, ports: Ports) -> list[str]:
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("deployment", lambda: _deploy(services, instance_id, spec, ports)),
        ("document", lambda: _save_document(services, instance_id, spec, ports)),
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


def _deploy(services: Services, instance_id: UUID, spec: DatasetSpec, ports: Ports) -> None:
    with services.database.read() as session:
        kinds = [flow.kind for flow in flows_of(session, instance_id)]
    for kind in kinds:
        plan = _plan(services, instance_id, spec, ports, kind)
        _record(services, instance_id, kind, services.prefect.ensure_deployment(plan).id)


def _plan(
    services: Services, instance_id: UUID, spec: DatasetSpec, ports: Ports, kind: str
) -> DeploymentPlan:
    entrypoint, schema = ports.execution[kind]
    return DeploymentPlan(
        flow_name=ids.FLOW_OF_KIND[kind],
        name=ids.deployment_name(spec.project, spec.name),
        entrypoint=entrypoint,
        parameter_schema=schema,
        parameters={"instance": str(instance_id)},
        tags=tuple(ids.deployment_tags(instance_id, spec.project, spec.type, kind)),
        description=spec.description,
        schedule=spec.schedule,
        work_pool=services.settings.pool,
    )


def _record(services: Services, instance_id: UUID, kind: str, deployment_id: UUID) -> None:
    def work(session: Session) -> None:
        resource = session.get_one(Resource, instance_id)
        extension = session.get_one(EXTENSIONS[resource.type], instance_id)
        extension.prefect_deployment_id = deployment_id
        flow = next(flow for flow in flows_of(session, instance_id) if flow.kind == kind)
        flow.deployment_id = deployment_id

    services.database.transact(work)


def _save_document(services: Services, instance_id: UUID, spec: DatasetSpec, ports: Ports) -> None:
    document_id = ports.save_document(ids.block_document_name(spec.project, spec.name))

    def record(session: Session) -> None:
        session.get_one(EXTENSIONS[spec.type], instance_id).block_document_id = document_id

    services.database.transact(record)


def _activate(services: Services, instance_id: UUID, spec: DatasetSpec) -> None:
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


def _provisioned(resource: Resource, spec: DatasetSpec, now: datetime) -> Event:
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
