"""The resources that an event of an instance is related to."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.ids import deployment_resources, instance_resource
from prefect_instances.libs.db.models import Resource
from prefect_instances.libs.db.repositories.resources import flows_of


def related_resources(session: Session, instance_id: UUID) -> tuple[dict[str, str], ...]:
    """Return the deployments, the instance itself and its project, each with its role.

    So Prefect shows the event on all their pages. Empty if the instance is gone.
    """
    resource = session.get(Resource, instance_id)
    if resource is None or resource.parent_id is None:
        return ()
    project = session.get_one(Resource, resource.parent_id)
    return (
        *deployment_resources(flow.deployment_id for flow in flows_of(session, instance_id)),
        {
            "prefect.resource.id": instance_resource(resource.id),
            "prefect.resource.role": "instance",
            "prefect.resource.name": f"{project.name}/{resource.name}",
        },
        {
            "prefect.resource.id": instance_resource(project.id),
            "prefect.resource.role": "project",
            "prefect.resource.name": project.name,
        },
    )
