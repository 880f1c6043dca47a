"""Checking a spec against what is installed and what exists, all problems at once.

The outcome is a ``Blueprint``: every reference resolved, ready to be written. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from libs.core.errors import DefinitionUnavailable, InvalidSpec, NotFound, PermanentError, Problem
from libs.core.status import TRIGGERED_BY_DEFAULT, FlowKind, InstanceType, Lifecycle, Require
from libs.db.models import DatasetVersion, FlowExecutionResource, Resource, ResourceVersion
from libs.db.repositories.resources import (
    COMPONENTS,
    Named,
    find_component,
    find_instance,
    find_project,
    flows_of,
)
from libs.definitions.base import Definition, DefinitionKind, UpstreamShape
from libs.definitions.pipeline import Pipeline
from libs.definitions.registry import Registry
from libs.specs import ComponentSpec, DatasetSpec, UpstreamRef

KINDS = {
    "pipeline": (DefinitionKind.PIPELINE, "PipelineInstance"),
    "store": (DefinitionKind.STORE, "StoreInstance"),
    "accessor": (DefinitionKind.ACCESSOR, "AccessorInstance"),
}

OUTPUT_FLOW: dict[str, FlowKind] = {
    InstanceType.DATASET: FlowKind.REFRESH,
    InstanceType.SIGNAL: FlowKind.REFRESH,
}
"""The flow of an instance that produces what others read."""


@dataclass(frozen=True, slots=True)
class Component:
    """A resolved component: the definition and its validated configuration.

    ``shared`` is the id of the existing component instance, None for one that is made inline.
    """

    definition: type[Definition]
    config: Mapping[str, Any]
    shared: UUID | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """A resolved reference. ``flow_id`` is None while the upstream is only planned."""

    label: str
    role: str
    flow_kind: str
    flow_id: UUID | None
    require: Require
    triggers: bool


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A spec with everything that it refers to."""

    spec: DatasetSpec
    components: Mapping[str, Component]
    upstreams: tuple[Upstream, ...]

    @property
    def contract(self) -> Mapping[str, object]:
        """How the instance's status aggregates: the pipeline's definition says."""
        return self.components["pipeline"].definition.status_aggregation_contract


@dataclass(slots=True)
class _Findings:
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def label_of(spec: DatasetSpec) -> str:
    """``project/name`` in lower case: what names are unique by."""
    return f"{spec.project}/{spec.name}".lower()


def examine(
    session: Session,
    registry: Registry,
    spec: DatasetSpec,
    pending: Mapping[str, DatasetSpec] | None = None,
) -> Blueprint:
    """The blueprint of a spec; InvalidSpec with every problem where it cannot be provisioned.

    ``pending`` are the specs, by label, that will exist when this one is provisioned.
    """
    found = _Findings()
    components = _components(session, registry, spec, found)
    upstreams, shapes = _upstreams(session, spec, pending or {}, found)
    pipeline = components.get("pipeline")
    if pipeline is not None and len(shapes) == len(spec.upstream_refs):
        found.problems += _composition(pipeline, shapes)
    if found.problems:
        raise InvalidSpec(found.problems)
    return Blueprint(spec, components, tuple(upstreams))


def _components(
    session: Session, registry: Registry, spec: DatasetSpec, found: _Findings
) -> dict[str, Component]:
    resolved = {}
    for role, (kind, instance_type) in KINDS.items():
        component: ComponentSpec = getattr(spec, role)
        try:
            if component.instance:
                resolved[role] = _shared(session, registry, spec, component, instance_type)
            else:
                resolved[role] = _inline(session, registry, component, kind)
        except InvalidSpec as error:
            found.problems += [problem.under(role) for problem in error.problems]
        except DefinitionUnavailable as error:
            where = "version" if component.version else "definition"
            found.add(f"{role}.{where}", str(error))
        except NotFound:
            found.add(f"{role}.instance", f"there is no {instance_type} {component.instance!r}")
    return resolved


def _inline(
    session: Session, registry: Registry, component: ComponentSpec, kind: DefinitionKind
) -> Component:
    name = _definition_name(session, component.definition, kind)
    definition = registry.get(kind, name, component.version)
    definition.parse_config(component.config)
    return Component(definition, dict(component.config))


def _definition_name(session: Session, reference: str, kind: DefinitionKind) -> str:
    """Definitions are named, or meant by the id of their resource."""
    try:
        identity = UUID(reference)
    except ValueError:
        return reference
    resource = session.get(Resource, identity)
    return resource.name if resource is not None and resource.type == kind.value else reference


def _shared(
    session: Session,
    registry: Registry,
    spec: DatasetSpec,
    component: ComponentSpec,
    instance_type: str,
) -> Component:
    project = find_project(session, spec.project)
    resource = find_component(session, project.id, component.instance) if project else None
    if resource is None or resource.type != instance_type:
        raise NotFound(instance_type, component.instance)
    row = session.get_one(COMPONENTS[instance_type], resource.id)
    return Component(definition_of(session, registry, row), row.config_json, shared=resource.id)


def definition_of(session: Session, registry: Registry, component: Any) -> type[Definition]:
    """The class of a stored component's definition, in the version that was resolved for it."""
    definition = session.get_one(Resource, component.definition_resource_id)
    version = session.get_one(ResourceVersion, component.definition_version_id)
    return registry.get(DefinitionKind(definition.type), definition.name, version.label)


def _upstreams(
    session: Session,
    spec: DatasetSpec,
    pending: Mapping[str, DatasetSpec],
    found: _Findings,
) -> tuple[list[Upstream], list[UpstreamShape]]:
    upstreams, shapes = [], []
    for at, ref in enumerate(spec.upstream_refs):
        path = f"upstream_refs[{at}]"
        try:
            upstream, shape = _upstream(session, spec, ref, pending)
        except InvalidSpec as error:
            found.problems += [problem.under(path) for problem in error.problems]
        except PermanentError as error:
            found.add(f"{path}.resource", str(error))
        else:
            upstreams.append(upstream)
            shapes.append(shape)
    return upstreams, shapes


def _upstream(
    session: Session, spec: DatasetSpec, ref: UpstreamRef, pending: Mapping[str, DatasetSpec]
) -> tuple[Upstream, UpstreamShape]:
    label = ref.resource if "/" in ref.resource else f"{spec.project}/{ref.resource}"
    planned = pending.get(label.lower())
    if planned is not None:
        return _planned(label, ref, planned.type)
    named = find_instance(session, ref.resource, spec.project)
    if named is None:
        raise InvalidSpec([Problem("resource", f"there is no instance {ref.resource!r}")])
    return _existing(session, named, ref)


def _planned(label: str, ref: UpstreamRef, type_: str) -> tuple[Upstream, UpstreamShape]:
    kind = _flow_kind(ref, type_, {OUTPUT_FLOW[type_]})
    require, triggers = _policy(ref)
    upstream = Upstream(label, ref.role, kind, None, require, triggers)
    return upstream, UpstreamShape(ref.resource, ref.role, type_, None)


def _existing(session: Session, named: Named, ref: UpstreamRef) -> tuple[Upstream, UpstreamShape]:
    if named.lifecycle not in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        text = f"{named.label!r} is {named.lifecycle}: provision it first"
        raise InvalidSpec([Problem("resource", text)])
    flows = {flow.kind: flow for flow in flows_of(session, named.id)}
    kind = _flow_kind(ref, named.type, flows)
    require, triggers = _policy(ref)
    upstream = Upstream(named.label, ref.role, kind, flows[kind].id, require, triggers)
    columns = _columns(session, flows[kind])
    return upstream, UpstreamShape(ref.resource, ref.role, named.type, columns)


def _flow_kind(ref: UpstreamRef, type_: str, kinds: Any) -> str:
    kind = ref.flow or OUTPUT_FLOW.get(type_, "")
    if kind in kinds:
        return str(kind)
    choices = ", ".join(sorted(kinds))
    raise InvalidSpec([Problem("flow", f"{ref.resource!r} has no flow {kind!r}, only {choices}")])


def _policy(ref: UpstreamRef) -> tuple[Require, bool]:
    triggers = ref.triggering
    if triggers is None:
        triggers = FlowKind.REFRESH in TRIGGERED_BY_DEFAULT
    return Require(ref.require or Require.READY), triggers


def _columns(session: Session, flow: FlowExecutionResource) -> tuple[str, ...] | None:
    if flow.version_id is None:
        return None
    query = select(DatasetVersion.columns).where(DatasetVersion.id == flow.version_id)
    columns = session.scalar(query)
    return tuple(columns) if columns is not None else None


def _composition(pipeline: Component, shapes: Sequence[UpstreamShape]) -> list[Problem]:
    definition = pipeline.definition(pipeline.config)
    if not isinstance(definition, Pipeline):
        return []
    return [
        problem.under("pipeline") if problem.path.startswith("config") else problem
        for problem in definition.check(shapes)
    ]
