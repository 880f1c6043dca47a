"""Remove an instance: its external resources, then its rows.

Each step can be repeated, so that a removal that was interrupted is simply started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.errors import HasDependents, Interrupted
from prefect_instances.libs.core.lineage import topological_order
from prefect_instances.libs.core.plan import Action, Plan, Step
from prefect_instances.libs.core.status import Lifecycle, RunStatus
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    Resource,
)
from prefect_instances.libs.db.repositories.components import (
    USED_IN,
    delete_component,
    delete_extension,
    delete_resource,
    has_children,
    select_owned,
    select_users,
)
from prefect_instances.libs.db.repositories.flows import delete_flows
from prefect_instances.libs.db.repositories.resources import (
    COMPONENTS,
    EXTENSIONS,
    Named,
    flows_of,
    get_instance,
    select_dependents,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.runs import select_running
from prefect_instances.libs.db.repositories.versions import delete_versions
from prefect_instances.libs.services.composition.components import open_output, purge_data
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS, External
from prefect_instances.libs.services.lifecycle.lifecycle_events import record_lifecycle_event
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave

DOCUMENT_STEP = "document"
"""The step at which an instance's block document is saved."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The labels of the removed instances, downstream first."""

    labels: tuple[str, ...]


def order_removal(session: Session, named: Named, *, cascade: bool) -> list[Named]:
    """List the instances to remove, downstream first.

    Raises HasDependents if others read from the instance and ``cascade`` is False.
    """
    direct = select_dependents(session, named.id)
    if direct and not cascade:
        raise HasDependents(named.label, [other.label for other in direct])
    reached, pairs, queue = {named.id: named}, [], [named]
    while queue:
        upstream = queue.pop()
        for downstream in select_dependents(session, upstream.id):
            pairs.append((upstream.id, downstream.id))
            if downstream.id not in reached:
                reached[downstream.id] = downstream
                queue.append(downstream)
    return [reached[id_] for id_ in reversed(topological_order(reached, pairs))]


def plan_removal(
    services: Services, reference: str, *, cascade: bool = False, purge: bool = False
) -> Plan:
    """Plan what ``deprovision`` would remove, in its order; raise as it does. Nothing changes."""
    with services.database.read() as session:
        order = order_removal(session, get_instance(session, reference), cascade=cascade)
        steps = [plan_removal_step(session, named, purge=purge) for named in order]
    return Plan(tuple(steps))


def plan_removal_step(session: Session, named: Named, *, purge: bool) -> Step:
    """Describe what the removal of one instance deletes."""
    version = select_newest_version(session, named.id)
    flows = flows_of(session, named.id)
    generations = sum(flow.generation for flow in flows)
    parts = [f"{len(flows)} deployments" if len(flows) > 1 else "1 deployment"]
    parts += [external.name for external in TYPE_DESCRIPTIONS[named.type].externals]
    stored = f"{generations} stored versions, {'deleted' if purge else 'kept on disk'}"
    detail = ", ".join([*parts, stored] if generations else parts)
    number = version.number if version else 0
    return Step(Action.REMOVE, named.label, named.type, detail, number)


def deprovision(
    services: Services, reference: str, *, cascade: bool = False, purge: bool = False
) -> Removed:
    """Remove an instance.

    ``cascade`` also removes all instances that read from it, ``purge`` also the stored data. Raises
    NotFound, or HasDependents with the names of the instances that read from it.
    """
    order = services.database.transact(lambda session: _begin(session, reference, cascade))
    for named in order:
        remove(services, named, purge=purge)
    relay_or_leave(services)
    return Removed(tuple(named.label for named in order))


def _begin(session: Session, reference: str, cascade: bool) -> list[Named]:
    """Set the lifecycle of all instances to remove, so that no new run starts."""
    order = order_removal(session, get_instance(session, reference), cascade=cascade)
    for named in order:
        session.get_one(Resource, named.id).lifecycle = Lifecycle.DEPROVISIONING
    return order


def remove(services: Services, named: Named, *, purge: bool) -> None:
    """Remove one instance whose lifecycle is DEPROVISIONING."""
    _stop_runs(services, instance_id=named.id)
    if purge:
        purge_data(services, named.id)
    remove_handles(services, named.id, purge=purge)

    def rows(session: Session) -> None:
        if session.get(Resource, named.id) is not None:
            record_lifecycle_event(session, ids.DEPROVISIONED, named.id, services.now())
            delete_rows(session, named.id)

    services.database.transact(rows)


def remove_flow(services: Services, named: Named, flow: FlowExecutionResource) -> None:
    """Remove one flow of an instance with its output and its deployment; this can be repeated."""
    _stop_runs(services, flow_id=flow.id)
    deployment_id = flow.deployment_id or _unrecorded(services, named, flow.kind)
    if deployment_id is not None:
        services.prefect.delete_deployment(deployment_id)
    open_output(services, named.id, flow.kind).purge()
    services.database.transact(lambda session: delete_flows(session, [flow.id]))


def _stop_runs(
    services: Services, *, instance_id: UUID | None = None, flow_id: UUID | None = None
) -> None:
    with services.database.read() as session:
        running = select_running(session, instance_id=instance_id, flow_id=flow_id)
    for run_id, flow_run_id, *_ in running:
        services.prefect.cancel_run(flow_run_id)
        try:
            services.ledger.end_badly(run_id, RunStatus.CANCELLED, "its flow is being removed")
        except Interrupted:
            continue  # The run ended by itself in between.


@dataclass(frozen=True, slots=True)
class _Handles:
    """The recorded external resources of an instance.

    ``unsaved``: a process died while it saved the block document, before its id was recorded.
    """

    named: Named
    deployments: dict[str, UUID | None]
    document: UUID | None
    unsaved: bool
    externals: list[tuple[External, dict[str, Any]]]


def remove_handles(services: Services, instance_id: UUID, *, purge: bool = False) -> None:
    """Delete the deployments, our own block document and the resources in MLflow and Evidently.

    Also those that a process created and died before it recorded them.
    """
    with services.database.read() as session:
        if session.get(Resource, instance_id) is None:
            return
        handles = _handles_of(session, instance_id)
    for kind, deployment_id in handles.deployments.items():
        known = deployment_id or _unrecorded(services, handles.named, kind)
        if known is not None:
            services.prefect.delete_deployment(known)
    _delete_document(services, handles)
    for external, columns in handles.externals:
        external.remove(services, handles.named, columns, purge)


def _handles_of(session: Session, instance_id: UUID) -> _Handles:
    named = get_instance(session, str(instance_id))
    condition = session.get_one(Resource, instance_id).condition or {}
    extension = session.get(EXTENSIONS[named.type], instance_id)
    externals = TYPE_DESCRIPTIONS[named.type].externals if extension else ()
    return _Handles(
        named,
        {flow.kind: flow.deployment_id for flow in flows_of(session, instance_id)},
        extension.block_document_id if extension else None,
        condition.get("step") == DOCUMENT_STEP,
        [(each, {name: getattr(extension, name) for name in each.columns}) for each in externals],
    )


def _unrecorded(services: Services, named: Named, kind: str) -> UUID | None:
    full_name = f"{ids.flow_name(kind)}/{ids.deployment_name(named.project, named.name, kind)}"
    view = services.prefect.find_deployment_by_name(full_name)
    return view.id if view is not None and f"instance:{named.id}" in view.tags else None


def _delete_document(services: Services, handles: _Handles) -> None:
    """Delete our own block document; one that a person created and chose stays."""
    named = handles.named
    slug = ids.BLOCK_OF_TYPE[named.type]
    name = ids.block_document_name(named.project, named.name)
    if handles.document is None and not handles.unsaved:
        return
    found = services.prefect.find_block_document(slug, name)
    if found is not None and handles.document in (None, found):
        services.prefect.delete_block_document(found)


def delete_rows(session: Session, instance_id: UUID) -> None:
    """Delete an instance and the components that only it uses; its project if nothing is left."""
    resource = session.get_one(Resource, instance_id)
    delete_flows(session, [flow.id for flow in flows_of(session, instance_id)])
    components = select_owned(session, instance_id)
    delete_extension(session, resource.type, instance_id)
    _delete_components(session, components)
    delete_versions(session, instance_id)
    project_id = resource.parent_id
    delete_resource(session, instance_id)
    delete_empty_project(session, project_id)
    session.expire_all()


def _delete_components(session: Session, components: list[tuple[str, UUID]]) -> None:
    for type_, id_ in components:
        if select_users(session, type_, id_):
            # Another instance uses it: it stays, without an owner.
            session.get_one(COMPONENTS[type_], id_).owner_id = None
            session.flush()
            continue
        delete_component(session, type_, id_)


def delete_unused(session: Session, instance_id: UUID) -> None:
    """Delete the components that an instance owns and that no instance uses."""
    own = select_owned(session, instance_id)
    _delete_components(
        session, [(type_, id_) for type_, id_ in own if not select_users(session, type_, id_)]
    )


def list_sharers(session: Session, instance_id: UUID, role: str) -> list[str]:
    """List the other instances that use the component that an instance owns in a role."""
    column = f"{role}_instance_id"
    users: set[UUID] = set()
    for type_, id_ in select_owned(session, instance_id):
        if USED_IN[type_] == column:
            users |= select_users(session, type_, id_) - {instance_id}
    return sorted(session.get_one(Resource, user).name for user in users)


def delete_empty_project(session: Session, project_id: UUID | None) -> None:
    """Delete a project if it holds no instance; do nothing for None."""
    if project_id is None:
        return
    if not has_children(session, project_id):
        delete_resource(session, project_id)
