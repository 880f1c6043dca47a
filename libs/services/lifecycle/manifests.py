"""Check and plan a whole manifest, upstreams first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import InvalidSpec, MovedOn, Problem
from prefect_instances.libs.core.lineage import find_cycle
from prefect_instances.libs.core.plan import Lineage, Node, Plan, Present, Wanted, compute
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db.models import (
    ResourceVersion,
)
from prefect_instances.libs.db.repositories.flows import select_edges, select_flow_generations
from prefect_instances.libs.db.repositories.resources import (
    Named,
    select_conditions,
    select_instances,
)
from prefect_instances.libs.db.repositories.versions import select_newest_versions
from prefect_instances.libs.services.composition.checks import (
    build_label,
    examine,
    list_flow_kinds,
    settle_specs,
)
from prefect_instances.libs.services.composition.references import label_reference
from prefect_instances.libs.services.lifecycle.flow_sets import find_losses
from prefect_instances.libs.services.lifecycle.pruning import prune
from prefect_instances.libs.services.lifecycle.updating import find_refusals
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import (
    InstanceSpec,
    Manifest,
    Survey,
    flow_fingerprint,
    parse_spec,
    spec_document,
)

COMPLETE = (Lifecycle.ACTIVE, Lifecycle.PAUSED)


@dataclass(frozen=True, slots=True)
class _World:
    """The existing state: instances by label; newest versions and conditions by id; the lineage."""

    named: Mapping[str, Named]
    versions: Mapping[UUID, ResourceVersion]
    conditions: Mapping[UUID, Mapping[str, Any]]
    lineage: Lineage


def plan(services: Services, survey: Survey, *, pruning: bool = False) -> Plan:
    """Check a whole manifest and return what applying it would do; nothing changes.

    With ``pruning``, the plan ends with the removal of instances of its projects that it does not
    list. Raises InvalidSpec with every problem of every instance, each with its path: of the text,
    and of its meaning.
    """
    specs = list(survey.manifest.instances)
    placed = [*zip(survey.paths, specs, strict=True), *survey.salvaged]
    pending = {build_label(spec): spec for _, spec in placed}
    with services.database.read() as session:
        world = _observe(session)
        problems = [*survey.problems, *_cycle_problems(session, placed, pending, world.lineage)]
        for path, spec in placed:
            found = _problems(services, session, world, spec, pending)
            problems += [problem.under(path) for problem in found]
        removals, obstacles = (
            prune(session, placed, survey.manifest.projects) if pruning else ([], [])
        )
        problems += obstacles
        kinds = {
            build_label(spec): list_flow_kinds(session, services.registry, spec) for spec in specs
        }
        reads = {build_label(spec): _read_labels(session, spec) for spec in specs}
        pairs = {build_label(spec): _settled(services, session, world, spec) for spec in specs}
    if problems:
        raise InvalidSpec(problems)
    there = kinds.keys() & world.named
    known = {
        label: _present(world, world.named[label], _contents(pairs[label][0], kinds[label]))
        for label in there
    }
    wanted = [
        _wanted(spec, _contents(pairs[label][1], kinds[label]), reads[label])
        for label, spec in ((build_label(spec), spec) for spec in specs)
    ]
    computed = compute(wanted, known, world.lineage)
    return replace(computed, steps=(*computed.steps, *removals))


def plan_one(services: Services, spec: InstanceSpec) -> Plan:
    """Plan one instance as ``plan`` does."""
    return plan(services, Survey(Manifest(spec.project, [spec]), ("",)))


def require_unmoved(planned: Plan, versions: Mapping[str, int]) -> None:
    """Raise MovedOn if an instance is not at the version that the caller saw.

    An instance that needs no change any longer is ignored: somebody else made the same change.
    """
    now = planned.versions
    for name, version in versions.items():
        if now.get(name, version) != version:
            raise MovedOn(name, version, now[name])
    for name in now.keys() - versions.keys():
        raise MovedOn(name, 0, now[name])


def _observe(session: Session) -> _World:
    named = {item.label.lower(): item for item in select_instances(session)}
    newest, conditions = select_newest_versions(session), select_conditions(session)
    return _World(named, newest, conditions, _lineage(session, named))


def _lineage(session: Session, named: Mapping[str, Named]) -> Lineage:
    labels = {item.id: label for label, item in named.items()}
    nodes: dict[UUID, Node] = {}
    published, names = set(), {}
    for row in select_flow_generations(session):
        node = nodes[row.id] = (labels[row.instance_id], row.kind)
        names[node] = f"{named[node[0]].label}.{row.kind}"
        if row.generation:
            published.add(node)
    edges = [
        (nodes[row.upstream_flow_id], nodes[row.downstream_flow_id], row.triggers)
        for row in select_edges(session)
    ]
    return Lineage(
        edges=[(up, down) for up, down, _ in edges],
        triggering=[(up, down) for up, down, triggers in edges if triggers],
        published=frozenset(published),
        names=names,
    )


def _problems(
    services: Services,
    session: Session,
    world: _World,
    spec: InstanceSpec,
    pending: Mapping[str, InstanceSpec],
) -> Iterable[Problem]:
    """Return the problems of an instance that would be created or changed."""
    named = world.named.get(build_label(spec))
    version = world.versions.get(named.id) if named else None
    if named is not None and version is not None:
        if named.lifecycle is Lifecycle.DEPROVISIONING:
            return [Problem("name", f"{named.label!r} is being removed")]
        if version.spec_json == spec_document(spec):
            return []
        if named.lifecycle in COMPLETE:
            refused = list(find_refusals(session, named, version, spec))
            return [*refused, *_faults(services, session, spec, pending, version)]
    return _faults(services, session, spec, pending)


def _faults(
    services: Services,
    session: Session,
    spec: InstanceSpec,
    pending: Mapping[str, InstanceSpec],
    before: ResourceVersion | None = None,
) -> Iterable[Problem]:
    try:
        blueprint = examine(session, services.registry, spec, services.now(), pending)
    except InvalidSpec as error:
        return error.problems
    return find_losses(session, blueprint, before) if before else ()


def _settled(
    services: Services, session: Session, world: _World, spec: InstanceSpec
) -> tuple[InstanceSpec, InstanceSpec]:
    """Return the recorded and the wanted spec so that they compare by what they mean."""
    named = world.named.get(build_label(spec))
    version = world.versions.get(named.id) if named else None
    if named is None or version is None or version.spec_json == spec_document(spec):
        return spec, spec
    before = parse_spec(version.spec_json)
    if before.type != spec.type:
        return before, spec
    return settle_specs(session, services.registry, before, spec, named.id)


def _present(world: _World, named: Named, contents: Mapping[str, str]) -> Present:
    version = world.versions[named.id]
    complete, condition = named.lifecycle in COMPLETE, world.conditions.get(named.id)
    unfinished = ""
    if condition or not complete:
        held = condition or {}
        unfinished = f"step {held.get('step', '?')}: {held.get('error', 'interrupted')}"
    spec = parse_spec(version.spec_json)
    return Present(spec_document(spec), version.number, complete, unfinished, contents)


def _wanted(spec: InstanceSpec, contents: Mapping[str, str], reads: Collection[str]) -> Wanted:
    return Wanted(
        label=build_label(spec),
        name=f"{spec.project}/{spec.name}",
        type=spec.type,
        document=spec_document(spec),
        upstreams=reads,
        contents=contents,
    )


def _contents(spec: InstanceSpec, kinds: Iterable[str]) -> dict[str, str]:
    return {kind: flow_fingerprint(spec, kind) for kind in kinds}


def _read_labels(session: Session, spec: InstanceSpec) -> list[str]:
    """Return the labels of the other instances that a spec names as upstreams."""
    found = (label_reference(session, ref.resource, spec.project) for _, ref in spec.references())
    return [label for label in found if label != build_label(spec)]


def _cycle_problems(
    session: Session,
    placed: Iterable[tuple[str, InstanceSpec]],
    pending: Mapping[str, InstanceSpec],
    lineage: Lineage,
) -> Iterable[Problem]:
    """Yield a problem for each instance of the manifest in a cycle, existing edges included."""
    there = {(up[0], down[0]) for up, down in lineage.edges}
    pairs = [pair for pair in there if pair[1] not in pending and pair[0] != pair[1]]
    pairs += [
        (read, label) for label, spec in pending.items() for read in _read_labels(session, spec)
    ]
    cycle = find_cycle(pairs)
    if cycle is None:
        return
    around = " -> ".join(cycle)
    for path, spec in placed:
        if build_label(spec) in cycle:
            yield Problem("upstream_refs", f"is part of a cycle: {around}").under(path)
