"""The resources that an event of an instance is related to."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.events import label_project, label_related_instance
from prefect_instances.libs.core.ids import deployment_resources
from prefect_instances.libs.db.models import Resource
from prefect_instances.libs.db.repositories.resources import find_instance, flows_of


def related_resources(session: Session, instance_id: UUID) -> tuple[dict[str, str], ...]:
    """Return the deployments, the instance itself and its project, each with its role.

    So Prefect shows the event on all their pages. Empty if the instance is gone.
    """
    instance = find_instance(session, str(instance_id))
    resource = session.get(Resource, instance_id)
    if instance is None or resource is None or resource.parent_id is None:
        return ()
    return (
        *deployment_resources(flow.deployment_id for flow in flows_of(session, instance_id)),
        label_related_instance(instance),
        label_project(resource.parent_id, instance.project),
    )
