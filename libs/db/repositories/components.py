"""Statements on component instances, their owners and users, and on rows that a removal deletes."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import (
    DatasetInstance,
    ExperimentInstance,
    Resource,
    SignalInstance,
)
from prefect_instances.libs.db.repositories.resources import COMPONENTS, EXTENSIONS

USED_IN = {
    "PipelineInstance": "pipeline_instance_id",
    "StoreInstance": "store_instance_id",
    "AccessorInstance": "accessor_instance_id",
    "ExecutorInstance": "executor_instance_id",
}
"""The column in which an instance names the component that it uses, by component type."""


def select_owned(session: Session, instance_id: UUID) -> list[tuple[str, UUID]]:
    """Select the components that an instance owns, as (type, id)."""
    return [
        (type_, id_)
        for type_, model in COMPONENTS.items()
        for id_ in session.scalars(select(model.resource_id).where(model.owner_id == instance_id))
    ]


def select_users(session: Session, type_: str, component_id: UUID) -> set[UUID]:
    """Select the ids of the instances that use a component."""
    return {
        id_
        for model in (DatasetInstance, SignalInstance, ExperimentInstance)
        if hasattr(model, USED_IN[type_])
        for id_ in session.scalars(
            select(model.resource_id).where(getattr(model, USED_IN[type_]) == component_id)
        )
    }


def delete_component(session: Session, type_: str, component_id: UUID) -> None:
    """Delete a component that nobody uses."""
    model = COMPONENTS[type_]
    session.execute(delete(model).where(model.resource_id == component_id))
    delete_resource(session, component_id)


def delete_extension(session: Session, type_: str, instance_id: UUID) -> None:
    """Delete the row that extends an instance of a type."""
    model = EXTENSIONS[type_]
    session.execute(delete(model).where(model.resource_id == instance_id))


def delete_resource(session: Session, resource_id: UUID) -> None:
    """Delete a resource that nothing references."""
    session.execute(delete(Resource).where(Resource.id == resource_id))


def has_children(session: Session, resource_id: UUID) -> bool:
    """Return True if any resource has this one as its parent."""
    query = select(Resource.id).where(Resource.parent_id == resource_id).limit(1)
    return session.scalar(query) is not None
