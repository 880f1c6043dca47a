"""Find resources by name or id, and what depends on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from prefect_instances.libs.core.errors import NotFound, PermanentError
from prefect_instances.libs.core.status import InstanceType, Lifecycle
from prefect_instances.libs.db.models import (
    AccessorInstance,
    BacktestInstance,
    DatasetInstance,
    ExecutorInstance,
    ExperimentInstance,
    FlowExecutionResource,
    LineageEdge,
    ModelInstance,
    PipelineInstance,
    PortfolioOptimizerInstance,
    Resource,
    ResourceVersion,
    SignalInstance,
    StoreInstance,
)
from prefect_instances.libs.db.repositories.region import among

PROJECT = "Project"
INSTANCE_TYPES = tuple(member.value for member in InstanceType)
# Model classes by the type of the resource; Any, because their common columns come from mixins.
EXTENSIONS: dict[str, Any] = {
    InstanceType.DATASET: DatasetInstance,
    InstanceType.SIGNAL: SignalInstance,
    InstanceType.EXPERIMENT: ExperimentInstance,
    InstanceType.MODEL: ModelInstance,
    InstanceType.OPTIMIZER: PortfolioOptimizerInstance,
    InstanceType.BACKTEST: BacktestInstance,
}
COMPONENTS: dict[str, Any] = {
    "PipelineInstance": PipelineInstance,
    "StoreInstance": StoreInstance,
    "AccessorInstance": AccessorInstance,
    "ExecutorInstance": ExecutorInstance,
}


class AmbiguousName(PermanentError):
    """Several projects have an instance of that name: write ``project/name``."""

    def __init__(self, name: str, projects: Iterable[str]) -> None:
        self.name, self.projects = name, tuple(sorted(projects))
        choices = ", ".join(f"{project}/{name}" for project in self.projects)
        super().__init__(f"{name!r} is the name of several instances: write one of {choices}")


@dataclass(frozen=True, slots=True)
class Named:
    """An instance with the names that people use for it."""

    id: UUID
    name: str
    project: str
    type: str
    lifecycle: Lifecycle

    @property
    def label(self) -> str:
        """The name as ``project/name``."""
        return f"{self.project}/{self.name}"


def get_project(session: Session, name: str) -> Resource:
    """Find the project of a name, in any case; raise NotFound, with similar names."""
    found = find_project(session, name)
    if found is None:
        names = session.scalars(select(Resource.name).where(Resource.scope == PROJECT))
        known = {one.lower(): one for one in names}
        near = [known[one] for one in get_close_matches(name.lower(), list(known))]
        raise NotFound("project", name, near)
    return found


def find_project(session: Session, name: str) -> Resource | None:
    """Find the project of a name, in any case; None if there is none."""
    query = select(Resource).where(Resource.scope == PROJECT, Resource.name_key == name.lower())
    return session.scalars(query).one_or_none()


def select_instances(session: Session) -> list[Named]:
    """Select all instances, ordered by project and name."""
    project = aliased(Resource)
    query = (
        select(Resource.id, Resource.name, project.name, Resource.type, Resource.lifecycle)
        .join(project, project.id == Resource.parent_id)
        .where(Resource.type.in_(INSTANCE_TYPES))
        .order_by(project.name, Resource.name)
    )
    return [Named(*row) for row in session.execute(query)]


def find_instance(session: Session, reference: str, project: str | None = None) -> Named | None:
    """Find an instance by its id, ``name`` or ``project/name``; None if there is none.

    A plain name is searched in ``project``, or in all projects if that is None. Raises
    AmbiguousName if several projects have it.
    """
    parent, _, name = str(reference).rpartition("/")
    within = (parent or project or "").lower()
    matches = [
        named
        for named in _candidates(session, reference, name)
        if not within or named.project.lower() == within or str(named.id) == reference
    ]
    if len(matches) > 1:
        raise AmbiguousName(name, [match.project for match in matches])
    return matches[0] if matches else None


def _candidates(session: Session, reference: str, name: str) -> list[Named]:
    project = aliased(Resource)
    query = (
        select(Resource.id, Resource.name, project.name, Resource.type, Resource.lifecycle)
        .join(project, project.id == Resource.parent_id)
        .where(Resource.type.in_(INSTANCE_TYPES))
    )
    identity = _as_uuid(reference)
    chosen = Resource.id == identity if identity else Resource.name_key == name.lower()
    return [Named(*row) for row in session.execute(query.where(chosen))]


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def get_instance(session: Session, reference: str, project: str | None = None) -> Named:
    """Find an instance as ``find_instance`` does; raise NotFound if there is none."""
    found = find_instance(session, reference, project)
    if found is None:
        raise NotFound("instance", reference, select_nearest_names(session, reference))
    return found


def select_nearest_names(
    session: Session, reference: str, planned: Iterable[str] = ()
) -> list[str]:
    """Select at most three instances whose names look like a name or ``project/name``.

    ``planned`` are labels (``project/name``) that do not exist yet.
    """
    project = aliased(Resource)
    query = (
        select(project.name, Resource.name)
        .join(project, project.id == Resource.parent_id)
        .where(Resource.type.in_(INSTANCE_TYPES))
    )
    labels, there = {}, [f"{parent}/{name}" for parent, name in session.execute(query)]
    for label in (*planned, *there):
        name = label.rpartition("/")[2]
        labels[(label if "/" in reference else name).lower()] = label
    return [labels[near] for near in get_close_matches(reference.lower(), list(labels))]


def select_newest_version(session: Session, resource_id: UUID) -> ResourceVersion | None:
    """Select the newest version of a resource; None if it has none."""
    query = (
        select(ResourceVersion)
        .where(ResourceVersion.resource_id == resource_id)
        .order_by(ResourceVersion.number.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def select_conditions(session: Session, ids: Collection[UUID] | None = None) -> dict[UUID, Any]:
    """Select the conditions of resources that have one, by id; ``ids``: only of these resources."""
    query = select(Resource.id, Resource.condition).where(Resource.condition.is_not(None))
    if ids is not None:
        query = query.where(among(session, Resource.id, ids))
    return {row.id: row.condition for row in session.execute(query)}


def select_projects_of_instances(session: Session) -> set[UUID]:
    """Select the ids of the projects that hold an instance."""
    query = select(Resource.parent_id).where(Resource.type.in_(INSTANCE_TYPES)).distinct()
    return {id_ for id_ in session.scalars(query) if id_ is not None}


def flows_of(session: Session, instance_id: UUID) -> list[FlowExecutionResource]:
    """Select the flows of an instance, ordered by kind."""
    flow = FlowExecutionResource
    query = select(flow).where(flow.instance_id == instance_id).order_by(flow.kind)
    return list(session.scalars(query))


def select_lineage_pairs(session: Session) -> list[tuple[UUID, UUID]]:
    """Select every edge as (upstream flow id, downstream flow id)."""
    query = select(LineageEdge.upstream_flow_id, LineageEdge.downstream_flow_id)
    return [(row[0], row[1]) for row in session.execute(query)]


def select_dependents(session: Session, instance_id: UUID) -> list[Named]:
    """Select the other instances that read directly from this one."""
    upstream, downstream = aliased(FlowExecutionResource), aliased(FlowExecutionResource)
    query = (
        select(downstream.instance_id)
        .join(LineageEdge, LineageEdge.downstream_flow_id == downstream.id)
        .join(upstream, LineageEdge.upstream_flow_id == upstream.id)
        .where(upstream.instance_id == instance_id, downstream.instance_id != instance_id)
    )
    ids = set(session.scalars(query))
    return [named for named in select_instances(session) if named.id in ids]


def find_component(session: Session, project_id: UUID, name: str) -> Resource | None:
    """Find the component instance of a name or id in a project; None if there is none."""
    identity = _as_uuid(name)
    chosen = Resource.id == identity if identity else Resource.name_key == name.lower()
    query = select(Resource).where(
        Resource.scope == str(project_id), chosen, Resource.type.in_(COMPONENTS)
    )
    return session.scalars(query).one_or_none()


def select_ids(session: Session) -> Sequence[UUID]:
    """Select the id of every resource."""
    return session.scalars(select(Resource.id)).all()
