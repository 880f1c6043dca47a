"""The flows that an instance gains and loses when its definition changes.

New flows get their rows together with the change. Lost flows have no readers from then on; they and
their deployments are removed in a step that can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.shapes import Shape
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    ResourceVersion,
)
from prefect_instances.libs.db.repositories.flows import select_reader_names
from prefect_instances.libs.db.repositories.resources import flows_of, get_instance
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.checks import Blueprint, find_definition_class
from prefect_instances.libs.services.composition.contracts import read_composition
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.composition.rows import build_flow_row, declare
from prefect_instances.libs.services.composition.shaping import build_shape, list_changed_components
from prefect_instances.libs.services.lifecycle.removal import remove_flow
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import parse_spec


def find_losses(
    session: Session, blueprint: Blueprint, before: ResourceVersion
) -> Iterable[Problem]:
    """Yield a problem for each flow that a new main definition would remove although it is read."""
    main, old = blueprint.kit.main, parse_spec(before.spec_json).components()
    if main not in list_changed_components(old, blueprint.spec.components()):
        return
    for flow in _lost(session, before.resource_id, blueprint.shape):
        if readers := select_reader_names(session, flow.id):
            text = f"has no flow {flow.kind!r}, which {', '.join(readers)} read: change these first"
            yield Problem(f"{main}.definition", text)


def sync_flows(
    services: Services, session: Session, type_: str, instance_id: UUID, version: int
) -> Shape:
    """Bring the rows of flows in line with the recorded definition; return the new shape.

    New flows start with configuration ``version``; lost flows keep their rows until
    ``remove_lost_flows``. Raises DefinitionUnavailable if the recorded version is not installed.
    """
    definition = _recorded(session, services.registry, type_, instance_id)
    shape = build_shape(type_, definition)
    rows = {flow.kind: flow for flow in flows_of(session, instance_id)}
    for kind in shape.flows:
        if kind in rows:
            declare(rows[kind], definition)
            continue
        row = build_flow_row(instance_id, kind, definition, services.now())
        row.config_version = version
        session.add(row)
    session.flush()
    return shape


def remove_lost_flows(services: Services, instance_id: UUID) -> None:
    """Remove the flows that the recorded definition does not have."""
    with services.database.read() as session:
        named = get_instance(session, str(instance_id))
        definition = _recorded(session, services.registry, named.type, instance_id)
        lost = _lost(session, instance_id, build_shape(named.type, definition))
    for flow in lost:
        remove_flow(services, named, flow)
    if lost:
        services.ledger.recompute(instance_id)


def _recorded(
    session: Session, registry: Registry, type_: str, instance_id: UUID
) -> type[Definition] | None:
    main = TYPE_DESCRIPTIONS[type_].main
    row = read_composition(session, type_, instance_id)[main] if main else None
    return find_definition_class(session, registry, row) if row else None


def _lost(session: Session, instance_id: UUID, shape: Shape) -> list[FlowExecutionResource]:
    return [flow for flow in flows_of(session, instance_id) if flow.kind not in shape.flows]
