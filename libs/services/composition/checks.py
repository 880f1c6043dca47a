"""Check a spec against what is installed and what exists; report all problems at once.

The result is a ``Blueprint``: every reference is resolved, and it can be written. Nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import (
    DefinitionUnavailable,
    InvalidSpec,
    NotFound,
    PermanentError,
    Problem,
)
from prefect_instances.libs.core.shapes import SHAPES, Shape
from prefect_instances.libs.core.status import Lifecycle, Require
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    Resource,
    ResourceVersion,
)
from prefect_instances.libs.db.repositories.resources import (
    COMPONENTS,
    Named,
    find_component,
    find_instance,
    find_project,
    flows_of,
    select_nearest_names,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.versions import select_columns
from prefect_instances.libs.definitions.base import (
    MIN_SEVERITY,
    Definition,
    DefinitionKind,
    UpstreamShape,
)
from prefect_instances.libs.definitions.guardrails import Declared, Report
from prefect_instances.libs.definitions.pipeline import Pipeline
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.catalog import (
    add_saved_macros,
    find_version,
    read_recorded_calls,
)
from prefect_instances.libs.services.composition.contracts import read_composition
from prefect_instances.libs.services.composition.create_guardrails import admit
from prefect_instances.libs.services.composition.instance_types import (
    TYPE_DESCRIPTIONS,
    Component,
    Composition,
    Pending,
    TypeDescription,
    Upstream,
)
from prefect_instances.libs.services.composition.references import label_reference
from prefect_instances.libs.services.composition.shaping import (
    bind_references,
    build_shape,
    list_lineage_problems,
    list_reference_problems,
    list_schedule_problems,
)
from prefect_instances.libs.specs import ComponentSpec, InstanceSpec, UpstreamRef, parse_spec
from prefect_instances.libs.specs.reading.names import as_uuid


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A spec with everything that it refers to, resolved."""

    spec: InstanceSpec
    components: Mapping[str, Component]
    upstreams: tuple[Upstream, ...]
    shapes: tuple[UpstreamShape, ...]
    registry: Registry
    reports: tuple[Report, ...] = ()

    @property
    def kit(self) -> TypeDescription:
        """The description of the type of instance."""
        return TYPE_DESCRIPTIONS[self.spec.type]

    @property
    def composition(self) -> Composition:
        """The resolved parts, as the checks of the instance type receive them."""
        return Composition(self.spec, self.components, self.shapes, self.registry)

    @property
    def definition(self) -> type[Definition] | None:
        """The main definition, which decides flows, lineage and status; None if there is none."""
        main = self.components.get(self.kit.main)
        return main.definition if main else None

    @property
    def shape(self) -> Shape:
        """The flows of the instance, including those that its definition adds."""
        return build_shape(self.spec.type, self.definition)

    @property
    def contract(self) -> Mapping[str, object]:
        """The aggregation contract of the instance's status."""
        return self.definition.status_aggregation_contract if self.definition else MIN_SEVERITY


@dataclass(slots=True)
class _Findings:
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def build_label(spec: InstanceSpec) -> str:
    """Return ``project/name`` in lower case, the key by which names are unique."""
    return f"{spec.project}/{spec.name}".lower()


def examine(
    session: Session,
    registry: Registry,
    spec: InstanceSpec,
    now: datetime,
    pending: Pending | None = None,
) -> Blueprint:
    """Check a spec and return its blueprint; raise InvalidSpec with every problem.

    A part that has a fault does not keep the others from being checked.

    ``pending`` are the specs, by label, that will exist when this one is provisioned.
    """
    found = _Findings()
    kit = TYPE_DESCRIPTIONS[spec.type]
    registry = add_saved_macros(session, registry)
    components = _components(session, registry, spec, found)
    references = _references(session, kit, spec, pending or {}, found)
    if kit.main in components:
        definition = components[kit.main].definition
        found.problems += list_lineage_problems(definition, references)
        references = bind_references(definition, references)
    if kit.main in ("", *components):
        blueprint = Blueprint(spec, components, (), (), registry)
        found.problems += list_schedule_problems(spec, blueprint.shape)
    upstreams, shapes = _upstreams(session, registry, spec, references, pending or {}, found)
    found.problems += kit.fits(components, registry)
    if kit.main in ("", *components):
        found.problems += kit.check(Composition(spec, components, tuple(shapes), registry))
    found.problems += _guardrail_problems(registry, spec)
    if found.problems:
        raise InvalidSpec(found.problems)
    pairs = zip(upstreams, shapes, strict=True)
    judged = admit(session, registry, spec, components, pairs, now)
    if blocking := [(role, report) for role, report in judged if report.blocks]:
        raise InvalidSpec(Problem(role, f"guardrail {report}") for role, report in blocking)
    reports = tuple(report for _, report in judged)
    return Blueprint(spec, components, tuple(upstreams), tuple(shapes), registry, reports)


def _guardrail_problems(registry: Registry, spec: InstanceSpec) -> list[Problem]:
    problems: list[Problem] = []
    for at, written in enumerate(spec.guardrail_contracts):
        try:
            Declared(**written.model_dump()).made(registry.guardrails, "the instance")
        except InvalidSpec as error:
            problems += [problem.under(f"guardrail_contracts[{at}]") for problem in error.problems]
    return problems


def _references(
    session: Session, kit: TypeDescription, spec: InstanceSpec, pending: Pending, found: _Findings
) -> list[tuple[str, UpstreamRef]]:
    try:
        return kit.references(session, spec, pending)
    except InvalidSpec as error:
        found.problems += error.problems
        return spec.references()


def _components(
    session: Session, registry: Registry, spec: InstanceSpec, found: _Findings
) -> dict[str, Component]:
    resolved = {}
    for role, part in TYPE_DESCRIPTIONS[spec.type].roles.items():
        component = spec.components()[role]
        try:
            resolved[role] = _component(session, registry, spec, role)
        except InvalidSpec as error:
            found.problems += [problem.under(role) for problem in error.problems]
        except DefinitionUnavailable as error:
            where = "version" if component.version else "definition"
            found.add(f"{role}.{where}", str(error))
        except NotFound:
            found.add(
                f"{role}.instance", f"there is no {part.component_type} {component.instance!r}"
            )
    return resolved


def list_flow_kinds(session: Session, registry: Registry, spec: InstanceSpec) -> tuple[str, ...]:
    """List the kinds of flow of an instance.

    If its definition cannot be found, they are those of its type.
    """
    main = TYPE_DESCRIPTIONS[spec.type].main
    try:
        definition = _component(session, registry, spec, main).definition if main else None
    except PermanentError:
        definition = None
    return build_shape(spec.type, definition).flows


def _component(session: Session, registry: Registry, spec: InstanceSpec, role: str) -> Component:
    component, part = spec.components()[role], TYPE_DESCRIPTIONS[spec.type].roles[role]
    if component.instance:
        return _shared(session, registry, spec, component, part.component_type)
    return _inline(session, registry, component, part.kind)


def _inline(
    session: Session, registry: Registry, component: ComponentSpec, kind: DefinitionKind
) -> Component:
    name = _definition_name(session, component.definition, kind)
    version = find_version(session, kind, name, component.version)
    definition = registry.get(kind, name, version)
    definition.parse_config(component.config)
    return Component(definition, dict(component.config))


def _definition_name(session: Session, reference: str, kind: DefinitionKind) -> str:
    """Return the name of a definition that is given by its name or its resource's id."""
    try:
        identity = UUID(reference)
    except ValueError:
        return reference
    resource = session.get(Resource, identity)
    return resource.name if resource is not None and resource.type == kind.value else reference


def _shared(
    session: Session,
    registry: Registry,
    spec: InstanceSpec,
    component: ComponentSpec,
    instance_type: str,
) -> Component:
    project = find_project(session, spec.project)
    resource = find_component(session, project.id, component.instance) if project else None
    if resource is None or resource.type != instance_type:
        raise NotFound(instance_type, component.instance)
    row = session.get_one(COMPONENTS[instance_type], resource.id)
    return Component(
        find_definition_class(session, registry, row), row.config_json, shared=resource.id
    )


def find_definition_class(session: Session, registry: Registry, component: Any) -> type[Definition]:
    """Return the class of a stored component's definition, in the version resolved for it."""
    definition = session.get_one(Resource, component.definition_resource_id)
    version = session.get_one(ResourceVersion, component.definition_version_id)
    return registry.get(DefinitionKind(definition.type), definition.name, version.label)


def _upstreams(
    session: Session,
    registry: Registry,
    spec: InstanceSpec,
    references: Sequence[tuple[str, UpstreamRef]],
    pending: Pending,
    found: _Findings,
) -> tuple[list[Upstream], list[UpstreamShape]]:
    upstreams, shapes, paths = [], [], []
    for path, ref in references:
        try:
            upstream, shape = _upstream(session, registry, spec, ref, pending)
        except InvalidSpec as error:
            found.problems += [problem.under(path) for problem in error.problems]
            shapes.append(UpstreamShape(ref.resource, ref.role, ""))
        except PermanentError as error:
            found.add(f"{path}.resource", str(error))
            shapes.append(UpstreamShape(ref.resource, ref.role, ""))
        else:
            upstreams.append(upstream)
            shapes.append(shape)
            paths.append(path)
    found.problems += list_reference_problems(build_label(spec), upstreams, paths)
    return upstreams, shapes


def _upstream(
    session: Session, registry: Registry, spec: InstanceSpec, ref: UpstreamRef, pending: Pending
) -> tuple[Upstream, UpstreamShape]:
    label = label_reference(session, ref.resource, spec.project)
    planned = pending.get(label)
    if planned is not None:
        kinds = list_flow_kinds(session, registry, planned)
        kind = _flow_kind(ref, planned.type, kinds)
        upstream = Upstream(label, ref.role, kind, None, None, _require(ref), ref.triggering)
        symbols = _symbols(session, registry, planned)
        shown = _shown(ref, label)
        return upstream, UpstreamShape(shown, ref.role, planned.type, None, symbols)
    named = find_instance(session, ref.resource, spec.project)
    if named is None:
        near = select_nearest_names(session, ref.resource, pending)
        meant = f", did you mean {' or '.join(near)}?" if near else ""
        raise InvalidSpec([Problem("resource", f"there is no instance {ref.resource!r}{meant}")])
    return _existing(session, registry, named, ref)


def _symbols(
    session: Session, registry: Registry, upstream: InstanceSpec
) -> tuple[str, ...] | None:
    """Return the symbols of an upstream, None if they are not known or it has a fault itself."""
    if "pipeline" not in upstream.components():
        return None
    try:
        pipeline = _component(session, registry, upstream, "pipeline").configured(registry)
        return pipeline.list_symbols() if isinstance(pipeline, Pipeline) else None
    except PermanentError:
        return None


def _existing(
    session: Session, registry: Registry, named: Named, ref: UpstreamRef
) -> tuple[Upstream, UpstreamShape]:
    if named.lifecycle not in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        text = f"{named.label!r} is {named.lifecycle}: provision it first"
        raise InvalidSpec([Problem("resource", text)])
    flows = {flow.kind: flow for flow in flows_of(session, named.id)}
    kind = _flow_kind(ref, named.type, flows)
    upstream = Upstream(
        named.label, ref.role, kind, named.id, flows[kind].id, _require(ref), ref.triggering
    )
    columns = _columns(session, flows[kind])
    version = select_newest_version(session, named.id)
    symbols = _symbols(session, registry, parse_spec(version.spec_json)) if version else None
    shown = _shown(ref, named.label)
    return upstream, UpstreamShape(shown, ref.role, named.type, columns, symbols)


def _shown(ref: UpstreamRef, label: str) -> str:
    """Return the name of an upstream: the reference as written, or ``label`` for a uuid."""
    return label if as_uuid(ref.resource) else ref.resource


def _flow_kind(ref: UpstreamRef, type_: str, kinds: Any) -> str:
    kind = ref.flow or SHAPES[type_].output
    if kind in kinds:
        return str(kind)
    choices = ", ".join(sorted(kinds))
    raise InvalidSpec([Problem("flow", f"{ref.resource!r} has no flow {kind!r}, only {choices}")])


def _require(ref: UpstreamRef) -> Require | None:
    return Require(ref.require) if ref.require else None


def _columns(session: Session, flow: FlowExecutionResource) -> tuple[str, ...] | None:
    if flow.version_id is None:
        return None
    columns = select_columns(session, flow.version_id)
    return tuple(columns) if columns is not None else None


def settle_specs(
    session: Session, registry: Registry, before: InstanceSpec, after: InstanceSpec, id_: UUID
) -> tuple[InstanceSpec, InstanceSpec]:
    """Fill in everything that two specs of an instance leave out, so that they can be compared.

    Adds the versions in use, the defaults of parameters and the versions of called ops and macros,
    and replaces the uuids of upstreams by names. ``before`` is the recorded spec of the instance
    ``id_`` and keeps its versions; so do the parts that ``after`` does not change. A part that
    cannot be resolved stays as written. Use the result for comparison only.
    """
    registry, rows = add_saved_macros(session, registry), read_composition(session, after.type, id_)
    had, settled = before.components(), []
    for spec in (before, after):
        updates: dict[str, Any] = {"upstream_refs": _settle_references(session, spec)}
        for role, component in spec.components().items():
            kept = rows.get(role) if component == had.get(role) else None
            try:
                updates[role] = _settle(session, registry, spec, role, kept)
            except PermanentError:
                continue
        settled.append(spec.model_copy(update=updates))
    return settled[0], settled[1]


def _settle_references(session: Session, spec: InstanceSpec) -> list[UpstreamRef]:
    return [
        ref.model_copy(update={"resource": label_reference(session, ref.resource, spec.project)})
        for ref in spec.upstream_refs
    ]


def _settle(
    session: Session, registry: Registry, spec: InstanceSpec, role: str, row: Any
) -> ComponentSpec:
    """Return a component as it is recorded in ``row``, or as it would be resolved now if None."""
    written = spec.components()[role]
    if written.instance:
        return written
    if row is None:
        component = _component(session, registry, spec, role)
        definition = component.definition
        made = component.configured(registry).calls()
        calls = {(each.kind, each.name): each.version for each in made}
    else:
        definition = find_definition_class(session, registry, row)
        calls = read_recorded_calls(session, row.resource_id)
    defaults = definition.parse_config(written.config).model_dump(mode="json")
    config = {
        **defaults,
        **written.config,
        "calls": sorted([*key, at] for key, at in calls.items()),
    }
    update = {"definition": definition.name, "version": definition.version, "config": config}
    return written.model_copy(update=update)
