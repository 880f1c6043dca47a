"""Update an instance to a new configuration, in steps that can be repeated.

1. *commit*: one transaction writes the new version, its rows and edges, and decides which flows
   become STALE and which gates open. From here on the new configuration holds.
2. *deployment*: flows that the definition no longer has are removed; deployments that differ are
   updated; their ids stay, and so does what a person switched off.
3. *document*: the block document is saved.
4. *finish*: the lock is released, and ``instance.updated`` is recorded.

If a process dies after the commit, its step stays in the condition; the same update continues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core import reconfiguration as rewiring
from prefect_instances.libs.core.errors import InvalidSpec, MovedOn, Problem, TemporaryError
from prefect_instances.libs.core.ids import UPDATED
from prefect_instances.libs.core.lineage import find_cycle
from prefect_instances.libs.core.reconfiguration import Due, Reconfiguration, Rewiring
from prefect_instances.libs.core.shapes import Shape
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.core.unit_of_work import Draft
from prefect_instances.libs.db.models import (
    Resource,
    ResourceVersion,
)
from prefect_instances.libs.db.repositories.flows import (
    delete_edges,
    select_flow_names,
    update_edge,
)
from prefect_instances.libs.db.repositories.region import load_region
from prefect_instances.libs.db.repositories.resources import (
    COMPONENTS,
    EXTENSIONS,
    Named,
    flows_of,
    get_instance,
    select_lineage_pairs,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.runs import select_last_success_start
from prefect_instances.libs.services.composition.catalog import record_calls, register
from prefect_instances.libs.services.composition.checks import Blueprint, examine, settle_specs
from prefect_instances.libs.services.composition.create_guardrails import build_report_rows
from prefect_instances.libs.services.composition.rows import (
    Recorded,
    build_edge_row,
    build_extension_columns,
    build_version_row,
    list_wanted_edges,
    record_component,
    record_instance_calls,
)
from prefect_instances.libs.services.composition.shaping import list_changed_components
from prefect_instances.libs.services.lifecycle.executors import check_executor
from prefect_instances.libs.services.lifecycle.external_resources import (
    Ports,
    deploy,
    save_document,
)
from prefect_instances.libs.services.lifecycle.flow_sets import (
    find_losses,
    remove_lost_flows,
    sync_flows,
)
from prefect_instances.libs.services.lifecycle.lifecycle_events import record_lifecycle_event
from prefect_instances.libs.services.lifecycle.locks import (
    acquire_lock,
    checkpoint,
    release_lock,
    require_free,
)
from prefect_instances.libs.services.lifecycle.provisioning import Provisioned
from prefect_instances.libs.services.lifecycle.removal import (
    DOCUMENT_STEP,
    delete_unused,
    list_sharers,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.specs import (
    InstanceSpec,
    ScheduleSpec,
    due_window,
    flow_fingerprint,
    parse_spec,
    spec_document,
)

DONE = "unchanged"


def update_instance(
    services: Services, spec: InstanceSpec, ports: Ports, planned_on: int | None = None
) -> Provisioned:
    """Update an instance to a new configuration; see the module.

    ``planned_on`` is the version that the caller saw. Raises MovedOn if another version is the
    newest now (unless its configuration is the same), InvalidSpec with every problem, NotFound,
    BusyElsewhere if another flow run works on the instance, and a TemporaryError if a later attempt
    may succeed.
    """
    check_executor(services.registry, spec)
    id_, action = services.database.transact(
        lambda session: _commit(services, session, spec, ports, planned_on)
    )
    label = f"{spec.project}/{spec.name}"
    if action == DONE:
        return Provisioned(id_, label, action)
    try:
        steps = _carry_on(services, id_, spec, ports)
    except TemporaryError as error:
        release_lock(services, id_, error)
        raise
    relay_or_leave(services)
    return Provisioned(id_, label, action, ["commit", *steps])


def _commit(
    services: Services,
    session: Session,
    spec: InstanceSpec,
    ports: Ports,
    planned_on: int | None,
) -> tuple[UUID, str]:
    named = get_instance(session, f"{spec.project}/{spec.name}")
    resource = session.get_one(Resource, named.id)
    version = select_newest_version(session, named.id)
    assert version is not None
    if version.spec_json == spec_document(spec):
        if resource.condition is None:
            return named.id, DONE
        require_free(services, resource, ports.flow_run_id)
        acquire_lock(resource, ports.flow_run_id, services.now(), "resume")
        return named.id, "resumed"
    if planned_on not in (None, version.number):
        raise MovedOn(named.label, planned_on or 0, version.number)
    require_free(services, resource, ports.flow_run_id)
    if problems := list(find_refusals(session, named, version, spec)):
        raise InvalidSpec(problems)
    blueprint = examine(session, services.registry, spec, services.now())
    if problems := list(find_losses(session, blueprint, version)):
        raise InvalidSpec(problems)
    write_update(services, session, blueprint, version)
    acquire_lock(resource, ports.flow_run_id, services.now(), "commit")
    return named.id, "updated"


def find_refusals(
    session: Session, named: Named, version: ResourceVersion, spec: InstanceSpec
) -> Iterable[Problem]:
    """Yield the reasons why an instance cannot become what the spec says, whatever is installed."""
    if spec.type != named.type:
        hint = "; promote-dataset creates a signal from a dataset" if "Signal" in spec.type else ""
        text = f"{named.label!r} is a {named.type}; delete it first to replace it{hint}"
        yield Problem("type", text)
        return
    if (spec.project, spec.name) != (named.project, named.name):
        yield Problem("name", f"must be written {named.label!r}, as when the instance was created")
    if named.lifecycle not in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        yield Problem("name", f"{named.label!r} is {named.lifecycle}; it cannot be updated now")
    before, after = parse_spec(version.spec_json).components(), spec.components()
    for role in list_changed_components(before, after):
        if others := list_sharers(session, named.id, role):
            yield Problem(role, f"is shared by {', '.join(others)}; change these first")
    if "store" in before and _moves(before["store"], after["store"]) and _published(session, named):
        text = "the stored versions stay where they are; delete the instance to store it elsewhere"
        yield Problem("store", text)


def _moves(before: Any, after: Any) -> bool:
    return (before.definition, before.instance) != (after.definition, after.instance)


def _published(session: Session, named: Named) -> bool:
    return any(flow.generation > 0 for flow in flows_of(session, named.id))


def write_update(
    services: Services, session: Session, blueprint: Blueprint, before: ResourceVersion
) -> None:
    """Write everything that a new configuration changes, in the caller's transaction."""
    instance_id, now = before.resource_id, services.now()
    old = parse_spec(before.spec_json)
    pair = settle_specs(session, services.registry, old, blueprint.spec, instance_id)
    schedules = _schedules(session, old, instance_id)
    session.add(build_version_row(instance_id, blueprint.spec, now, before.number + 1))
    session.add_all(build_report_rows(instance_id, None, blueprint.reports, now))
    _rewrite_extension(services, session, blueprint, old, instance_id)
    shape = sync_flows(services, session, blueprint.spec.type, instance_id, before.number + 1)
    kinds = {flow.kind: flow.id for flow in flows_of(session, instance_id)}
    _rewire(session, blueprint, shape, kinds)
    after = _schedules(session, blueprint.spec, instance_id)
    change = Reconfiguration(
        flows=tuple(kinds[kind] for kind in shape.flows),
        changed={kinds[kind] for kind in find_changed_kinds(*pair, shape.flows)},
        version=before.number + 1,
        due={
            kinds[kind]: _due(session, kinds[kind], schedules[kind], after[kind], now)
            for kind in schedules.keys() & {*shape.flows}
            if schedules[kind] != after[kind]
        },
    )

    def decide(draft: Draft) -> None:
        rewiring.reconfigure(draft, change)
        draft.touched.add(instance_id)  # Which flows count in its status may have changed.

    region = load_region(session, change.flows, descend=True)
    services.ledger.apply(session, region, decide)


def _schedules(session: Session, spec: InstanceSpec, id_: UUID) -> dict[str, ScheduleSpec]:
    """Return the schedule of each flow by the spec and the recorded definition, by kind."""
    flows = flows_of(session, id_)
    return {flow.kind: spec.schedule_of(flow.kind, flow.schedule_json) for flow in flows}


def find_changed_kinds(
    before: InstanceSpec, after: InstanceSpec, kinds: Iterable[str]
) -> list[str]:
    """List the kinds of flow whose output the change affects."""
    return [k for k in kinds if flow_fingerprint(before, k) != flow_fingerprint(after, k)]


def _due(
    session: Session, flow_id: UUID, before: ScheduleSpec, after: ScheduleSpec, now: datetime
) -> Due:
    """Return the next slot of the new schedule and its deadline; None before the first success.

    Slots count from the last success, but from now on if there was no schedule before.
    """
    served = select_last_success_start(session, flow_id)
    if served is None:
        return None
    had = due_window(before, served) is not None
    return due_window(after, served if had else now)


def _rewrite_extension(
    services: Services, session: Session, blueprint: Blueprint, old: InstanceSpec, id_: UUID
) -> None:
    resource, spec = session.get_one(Resource, id_), blueprint.spec
    extension = session.get_one(EXTENSIONS[spec.type], id_)
    changed = set(list_changed_components(old.components(), spec.components()))
    components = {
        role: _rewritten(services, session, resource, role, blueprint, extension)
        if role in changed
        else _as_it_was(session, role, blueprint, extension)
        for role in blueprint.components
    }
    for column, value in build_extension_columns(
        session, blueprint, components, services.now()
    ).items():
        setattr(extension, column, value)
    if old.output_content() != spec.output_content():
        record_instance_calls(session, id_, blueprint, services.now())
    if blueprint.kit.main in changed:
        resource.contract = dict(blueprint.contract)
    resource.updated_at = services.now()
    session.flush()
    delete_unused(session, id_)


def _rewritten(
    services: Services,
    session: Session,
    owner: Resource,
    role: str,
    blueprint: Blueprint,
    extension: Any,
) -> Recorded:
    """Write the component's new form into its row, if that belongs to the instance."""
    component, part = blueprint.components[role], blueprint.kit.roles[role]
    current = getattr(extension, f"{role}_instance_id", None)
    row = session.get_one(COMPONENTS[part.component_type], current) if current else None
    if component.shared is not None or row is None or row.owner_id != owner.id:
        return record_component(session, owner, role, blueprint, services.now())
    definition = register(session, component.definition, services.now())
    row.definition_resource_id = definition.resource_id
    row.definition_version_id = definition.version_id
    row.config_json = dict(component.config)
    calls = component.configured(blueprint.registry).calls()
    record_calls(session, row.resource_id, calls, services.now())
    return Recorded(current, definition.resource_id, definition.version_id)


def _as_it_was(session: Session, role: str, blueprint: Blueprint, extension: Any) -> Recorded:
    """Return the rows of a component that did not change, with its resolved version."""
    part = blueprint.kit.roles[role]
    if not part.component_type:
        return Recorded(None, extension.definition_resource_id, extension.definition_version_id)
    current = getattr(extension, f"{role}_instance_id")
    row = session.get_one(COMPONENTS[part.component_type], current)
    return Recorded(current, row.definition_resource_id, row.definition_version_id)


def _rewire(
    session: Session, blueprint: Blueprint, shape: Shape, kinds: Mapping[str, UUID]
) -> None:
    """Write the new edges; raise InvalidSpec with the path if they would close a cycle."""
    region = load_region(session, list(kinds.values()))
    own = [edge for edge in region.edges.values() if edge.downstream in kinds.values()]
    change = rewiring.rewire(own, list_wanted_edges(blueprint, shape, kinds))
    delete_edges(session, change.removed)
    _write_kept(session, change)
    session.add_all(build_edge_row(edge) for edge in change.added)
    session.flush()
    if change.added and (cycle := find_cycle(select_lineage_pairs(session))):
        names = select_flow_names(session)
        around = " -> ".join(names[flow_id] for flow_id in cycle)
        raise InvalidSpec([Problem("upstream_refs", f"would make a cycle: {around}")])


def _write_kept(session: Session, change: Rewiring) -> None:
    for edge_id, edge in change.kept.items():
        update_edge(
            session,
            edge_id,
            position=edge.position,
            require=edge.require,
            triggers=edge.triggers,
        )


def _carry_on(services: Services, id_: UUID, spec: InstanceSpec, ports: Ports) -> list[str]:
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("deployment", lambda: _deploy(services, id_, spec, ports)),
        (DOCUMENT_STEP, lambda: save_document(services, id_, spec, ports)),
        ("finish", lambda: _finish(services, id_)),
    )
    for name, step in steps:
        checkpoint(services, id_, ports.flow_run_id, name)
        step()
    return [name for name, _ in steps]


def _deploy(services: Services, id_: UUID, spec: InstanceSpec, ports: Ports) -> None:
    remove_lost_flows(services, id_)
    deploy(services, id_, spec, ports)


def _finish(services: Services, instance_id: UUID) -> None:
    def work(session: Session) -> None:
        session.get_one(Resource, instance_id).condition = None
        version = select_newest_version(session, instance_id)
        number = version.number if version else 0
        record_lifecycle_event(
            session, UPDATED, instance_id, services.now(), str(number), version=number
        )

    services.database.transact(work)
