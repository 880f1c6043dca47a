"""Write the rows of an instance when it is provisioned, and parts of them when it is updated.

What belongs here: converting a ``Blueprint`` to rows. What must not: the decision to do so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from sqlalchemy.orm import Session

from prefect_instances.libs.core.reconfiguration import WantedEdge
from prefect_instances.libs.core.shapes import Shape
from prefect_instances.libs.core.status import FlowStatus, Lifecycle, Reason
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    LineageEdge,
    Resource,
    ResourceVersion,
)
from prefect_instances.libs.db.repositories.resources import (
    COMPONENTS,
    EXTENSIONS,
    PROJECT,
    find_instance,
    find_project,
)
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.services.composition.catalog import record_calls, register
from prefect_instances.libs.services.composition.checks import Blueprint
from prefect_instances.libs.services.composition.create_guardrails import build_report_rows
from prefect_instances.libs.specs import InstanceSpec, SignalSpec, output_fingerprint, spec_document


def write_rows(session: Session, blueprint: Blueprint, now: datetime) -> Resource:
    """Write all rows of a new instance, which is PROVISIONING; return its resource."""
    spec = blueprint.spec
    project = ensure_project(session, spec.project, now)
    resource = _resource(project.id, spec.name, spec.type, Lifecycle.PROVISIONING, now)
    resource.status = FlowStatus.NOT_INITIALIZED
    resource.contract = dict(blueprint.contract)
    session.add(resource)
    session.flush()
    session.add(build_version_row(resource.id, spec, now))
    session.add_all(build_report_rows(resource.id, None, blueprint.reports, now))
    components = {
        role: record_component(session, resource, role, blueprint, now)
        for role in blueprint.components
    }
    columns = build_extension_columns(session, blueprint, components, now)
    session.add(EXTENSIONS[blueprint.spec.type](resource_id=resource.id, **columns))
    record_instance_calls(session, resource.id, blueprint, now)
    shape, definition = blueprint.shape, blueprint.definition
    flows = {kind: build_flow_row(resource.id, kind, definition, now) for kind in shape.flows}
    session.add_all(flows.values())
    session.flush()
    wanted = list_wanted_edges(blueprint, shape, {kind: flow.id for kind, flow in flows.items()})
    session.add_all(build_edge_row(edge) for edge in wanted)
    session.flush()
    return resource


def ensure_project(session: Session, name: str, now: datetime) -> Resource:
    """Find the project of a name, or add it."""
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


def build_version_row(
    resource_id: UUID, spec: InstanceSpec, now: datetime, number: int = 1
) -> ResourceVersion:
    """Build the row of a configuration version."""
    return ResourceVersion(
        id=uuid4(),
        resource_id=resource_id,
        number=number,
        label=str(number),
        content_hash=output_fingerprint(spec),
        spec_json=spec_document(spec),
        created_at=now,
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """The ids of a component's rows; ``instance_id`` is None without a component instance."""

    instance_id: UUID | None
    definition_id: UUID
    version_id: UUID


def record_component(
    session: Session, owner: Resource, role: str, blueprint: Blueprint, now: datetime
) -> Recorded:
    """Write the rows of a component that the instance owns, and return the ids.

    Nothing is written for a shared component.
    """
    component, part = blueprint.components[role], blueprint.kit.roles[role]
    if component.shared is not None:
        row = session.get_one(COMPONENTS[part.component_type], component.shared)
        return Recorded(component.shared, row.definition_resource_id, row.definition_version_id)
    definition = register(session, component.definition, now)
    if not part.component_type:
        return Recorded(None, definition.resource_id, definition.version_id)
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
    calls = component.configured(blueprint.registry).calls()
    record_calls(session, resource.id, calls, now)
    return Recorded(resource.id, definition.resource_id, definition.version_id)


def record_instance_calls(
    session: Session, instance_id: UUID, blueprint: Blueprint, now: datetime
) -> None:
    """Pin the definition versions that the instance itself uses.

    These are the calls of its type, and of definitions that have no component instance.
    """
    calls = [*blueprint.kit.calls(blueprint.composition)]
    for role, component in blueprint.components.items():
        if not blueprint.kit.roles[role].component_type:
            calls += component.configured(blueprint.registry).calls()
    record_calls(session, instance_id, calls, now)


def build_extension_columns(
    session: Session, blueprint: Blueprint, components: Mapping[str, Recorded], now: datetime
) -> dict[str, Any]:
    """Build the columns of the extension row, without its key and external ids."""
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
    if subject := kit.subject(blueprint.composition):
        known = register(session, subject, now)
        columns["definition_resource_id"] = known.resource_id
        columns["definition_version_id"] = known.version_id
    return {
        **columns,
        "schedule_json": spec.schedule.document(),
        "upstream_refs": [
            {"resource_id": str(upstream.instance_id), "role": upstream.role}
            for upstream in blueprint.upstreams
        ],
        **kit.columns(blueprint.composition),
        **_promoted_from(session, spec),
    }


def _promoted_from(session: Session, spec: InstanceSpec) -> dict[str, Any]:
    """Return the column of what a signal was promoted from; nothing if that is gone."""
    if not isinstance(spec, SignalSpec) or not spec.promoted_from:
        return {}
    source = find_instance(session, spec.promoted_from, spec.project)
    return {} if source is None else {"promoted_from_id": source.id}


def build_flow_row(
    instance_id: UUID, kind: str, definition: type[Definition] | None, now: datetime
) -> FlowExecutionResource:
    """Build the row of a new flow that has never run."""
    row = FlowExecutionResource(
        id=uuid5(instance_id, kind),
        instance_id=instance_id,
        kind=str(kind),
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
    declare(row, definition)
    return row


def declare(row: FlowExecutionResource, definition: type[Definition] | None) -> None:
    """Write what the main definition declares for a flow into the flow's row."""
    spec = definition.flow_spec(row.kind) if definition else None
    row.schedule_json = dict(spec.schedule) if spec and spec.schedule else None
    row.aggregated = spec is None or spec.aggregated


def list_wanted_edges(
    blueprint: Blueprint, shape: Shape, flows: Mapping[str, UUID]
) -> list[WantedEdge]:
    """List the edges from each upstream to the flows that read it, then those between own flows.

    Every upstream must exist.
    """
    last, edges = len(blueprint.upstreams), []
    for kind in shape.readers:
        for position, upstream in enumerate(blueprint.upstreams):
            assert upstream.flow_id is not None
            policy = shape.policy(kind, upstream.require, upstream.triggers)
            edges.append(
                WantedEdge(upstream.flow_id, flows[kind], upstream.role, position, *policy)
            )
    for inner in shape.inner:
        ends = flows[inner.upstream], flows[inner.downstream]
        edges.append(WantedEdge(*ends, inner.role, last, inner.require, inner.triggers))
    return edges


def build_edge_row(edge: WantedEdge) -> LineageEdge:
    """Build the row of a new edge, over which nothing has been read."""
    return LineageEdge(
        id=uuid4(),
        upstream_flow_id=edge.upstream,
        downstream_flow_id=edge.downstream,
        position=edge.position,
        role=edge.role,
        require=edge.require,
        triggers=edge.triggers,
        consumed_generation=0,
    )
