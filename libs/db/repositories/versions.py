"""Statements on versions of definitions and configurations, and on published outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, or_, select
from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import (
    DatasetVersion,
    DefinitionCall,
    FlowExecutionResource,
    Resource,
    ResourceVersion,
    RunRecord,
)


def select_versions(session: Session, resource_id: UUID) -> Sequence[ResourceVersion]:
    """Select every version of a resource, oldest first."""
    version = ResourceVersion
    query = select(version).where(version.resource_id == resource_id).order_by(version.number)
    return session.scalars(query).all()


def select_version(session: Session, resource_id: UUID, number: int) -> ResourceVersion | None:
    """Select one version of a resource by its number; None if there is none."""
    query = select(ResourceVersion).where(
        ResourceVersion.resource_id == resource_id, ResourceVersion.number == number
    )
    return session.scalars(query).one_or_none()


def select_labelled_version(
    session: Session, resource_id: UUID, label: str
) -> ResourceVersion | None:
    """Select one version of a resource by its label; None if there is none."""
    query = select(ResourceVersion).where(
        ResourceVersion.resource_id == resource_id, ResourceVersion.label == label
    )
    return session.scalars(query).one_or_none()


def select_labels(session: Session, resource_id: UUID) -> Sequence[str]:
    """Select the labels of all versions of a resource, in no order."""
    query = select(ResourceVersion.label).where(ResourceVersion.resource_id == resource_id)
    return session.scalars(query).all()


def count_versions(session: Session, resource_id: UUID) -> int:
    """Count the versions of a resource."""
    query = select(func.count()).where(ResourceVersion.resource_id == resource_id)
    return session.scalar(query) or 0


def select_newest_versions(session: Session) -> dict[UUID, ResourceVersion]:
    """Select the newest version of every resource, by resource id."""
    version = ResourceVersion
    newest = (
        select(version.resource_id, func.max(version.number).label("number"))
        .group_by(version.resource_id)
        .subquery()
    )
    same = newest.c.resource_id == version.resource_id
    query = select(version).join(newest, same & (newest.c.number == version.number))
    return {found.resource_id: found for found in session.scalars(query)}


def select_documents_in_scope(session: Session, scope: str) -> Sequence[dict[str, Any]]:
    """Select the documents of all versions in a scope, ordered by name and version."""
    query = (
        select(ResourceVersion.spec_json)
        .join(Resource, Resource.id == ResourceVersion.resource_id)
        .where(Resource.scope == scope)
        .order_by(Resource.name_key, ResourceVersion.number)
    )
    return session.scalars(query).all()


def select_calls(session: Session, owner_id: UUID) -> Sequence[Row[str, str, str]]:
    """Select the definition versions pinned for an owner, as (kind, name, label)."""
    version = ResourceVersion
    query = (
        select(Resource.type, Resource.name, version.label)
        .join(version, version.resource_id == Resource.id)
        .join(DefinitionCall, DefinitionCall.definition_version_id == version.id)
        .where(DefinitionCall.owner_id == owner_id)
    )
    return session.execute(query).all()


def select_used_definitions(
    session: Session, version_ids: Collection[UUID], owner_ids: Collection[UUID]
) -> Sequence[Row[str, str, str, str]]:
    """Select definition versions by id, and those pinned for owners.

    Returns (kind, name, label, content hash) of each once, ordered by kind and name.
    """
    version = ResourceVersion
    pinned = select(DefinitionCall.definition_version_id).where(
        DefinitionCall.owner_id.in_(owner_ids)
    )
    query = (
        select(Resource.type, Resource.name, version.label, version.content_hash)
        .join(version, version.resource_id == Resource.id)
        .where(or_(version.id.in_(version_ids), version.id.in_(pinned)))
        .order_by(Resource.type, Resource.name)
    )
    return session.execute(query).all()


def replace_calls(session: Session, owner_id: UUID, version_ids: Collection[UUID]) -> None:
    """Pin these definition versions for an owner and remove those pinned before."""
    session.execute(delete(DefinitionCall).where(DefinitionCall.owner_id == owner_id))
    session.add_all(
        DefinitionCall(owner_id=owner_id, definition_version_id=version) for version in version_ids
    )
    session.flush()


def delete_versions(session: Session, resource_id: UUID) -> None:
    """Delete every version of a resource."""
    session.execute(delete(ResourceVersion).where(ResourceVersion.resource_id == resource_id))


def select_current_output(session: Session, instance_id: UUID, kind: str) -> DatasetVersion | None:
    """Select the version that an instance's flow of a kind publishes now; None if there is none."""
    flow = FlowExecutionResource
    query = (
        select(DatasetVersion)
        .join(flow, flow.version_id == DatasetVersion.id)
        .where(flow.instance_id == instance_id, flow.kind == kind)
    )
    return session.scalars(query).first()


def select_outputs(session: Session, instance_id: UUID, kind: str) -> Sequence[DatasetVersion]:
    """Select every version that an instance's flow of a kind has published, newest first."""
    flow = FlowExecutionResource
    query = (
        select(DatasetVersion)
        .join(flow, flow.id == DatasetVersion.flow_id)
        .where(flow.instance_id == instance_id, flow.kind == kind)
        .order_by(DatasetVersion.generation.desc())
    )
    return session.scalars(query).all()


def select_output_before(session: Session, run: RunRecord) -> DatasetVersion | None:
    """Select the version that was published when a run started; None if there was none."""
    query = (
        select(DatasetVersion)
        .where(
            DatasetVersion.flow_id == run.flow_id,
            DatasetVersion.created_at <= run.started_at,
            DatasetVersion.id != run.id,
        )
        .order_by(DatasetVersion.generation.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def select_output_versions(
    session: Session, version_ids: Collection[UUID]
) -> Sequence[DatasetVersion]:
    """Select published versions by their ids; those that are gone are left out."""
    return session.scalars(select(DatasetVersion).where(DatasetVersion.id.in_(version_ids))).all()


def select_read_by(session: Session, version_ids: Collection[UUID]) -> set[UUID]:
    """Select the ids of the versions that the runs which published these versions have read."""
    query = select(RunRecord.pins).where(RunRecord.id.in_(version_ids))
    pins = (pin for found in session.scalars(query) for pin in found)
    return {UUID(pin["version"]) for pin in pins if pin["version"]}


def select_location(session: Session, flow_id: UUID, generation: int) -> str | None:
    """Select where a generation of a flow's output is stored; None if it was never published."""
    query = select(DatasetVersion.location).where(
        DatasetVersion.flow_id == flow_id, DatasetVersion.generation == generation
    )
    return session.scalar(query)


def select_generation_at(session: Session, flow_id: UUID, location: str) -> int | None:
    """Select the generation of a flow's output that a location holds; None if there is none."""
    query = select(DatasetVersion.generation).where(
        DatasetVersion.flow_id == flow_id, DatasetVersion.location == location
    )
    return session.scalar(query)


def select_locations(session: Session, flow_id: UUID) -> set[str]:
    """Select where all published versions of a flow are stored."""
    query = select(DatasetVersion.location).where(DatasetVersion.flow_id == flow_id)
    return set(session.scalars(query))


def select_columns(session: Session, version_id: UUID) -> list[str] | None:
    """Select the column names of a published version; None if the version is gone."""
    return session.scalar(select(DatasetVersion.columns).where(DatasetVersion.id == version_id))


def select_first_changes(
    session: Session, flow_id: UUID, after: int, last: int
) -> Sequence[date | None]:
    """Select ``changed_from`` of the generations from ``after`` (exclusive) to ``last``."""
    query = select(DatasetVersion.changed_from).where(
        DatasetVersion.flow_id == flow_id,
        DatasetVersion.generation > after,
        DatasetVersion.generation <= last,
    )
    return session.scalars(query).all()


def select_first_published(
    session: Session, instance_id: UUID, kind: str
) -> Sequence[Row[str, datetime]]:
    """Select the outputs of an instance's flow as (location, when it was first published)."""
    query = (
        select(DatasetVersion.location, func.min(DatasetVersion.created_at))
        .join(FlowExecutionResource, FlowExecutionResource.id == DatasetVersion.flow_id)
        .where(FlowExecutionResource.instance_id == instance_id, FlowExecutionResource.kind == kind)
        .group_by(DatasetVersion.location)
    )
    return session.execute(query).all()


def published_any(session: Session, run_ids: Collection[UUID]) -> bool:
    """Return True if any of these runs published a version; a version has the id of its run."""
    query = select(DatasetVersion.id).where(DatasetVersion.id.in_(run_ids)).limit(1)
    return session.scalar(query) is not None
