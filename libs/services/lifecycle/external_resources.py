"""External resources of an instance: create or find them in other systems, and record their ids.

Every step can be repeated; provisioning, updating and reconciling share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.prefect import DeploymentPlan, EnsureResult
from prefect_instances.libs.core import ids
from prefect_instances.libs.db.models import Resource
from prefect_instances.libs.db.repositories.flows import select_flow
from prefect_instances.libs.db.repositories.resources import EXTENSIONS, flows_of
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS, External
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import InstanceSpec


@dataclass(frozen=True)
class Ports:
    """What provisioning needs from the flows above it.

    ``execution`` gives the entrypoint and the parameter schema of each Prefect flow by its name.
    ``save_document`` saves the configuration as a block document (given its name) and returns its
    id. ``flow_run_id`` is the id of the flow run that provisions.
    """

    execution: Mapping[str, tuple[str, Mapping[str, Any]]]
    save_document: Callable[[str], UUID]
    flow_run_id: UUID


def create_external(
    services: Services, instance_id: UUID, spec: InstanceSpec, external: External
) -> None:
    """Create an external resource, or find it, and record its ids."""
    columns = external.create(services, instance_id, spec)

    def record(session: Session) -> None:
        extension = session.get_one(EXTENSIONS[spec.type], instance_id)
        for column, value in columns.items():
            setattr(extension, column, value)

    services.database.transact(record)


def deploy(services: Services, instance_id: UUID, spec: InstanceSpec, ports: Ports) -> None:
    """Create or update the deployment of every flow of the instance, and record the ids."""
    with services.database.read() as session:
        kinds = [flow.kind for flow in flows_of(session, instance_id)]
    for kind in kinds:
        deploy_flow(services, instance_id, spec, ports, kind)


def deploy_flow(
    services: Services, instance_id: UUID, spec: InstanceSpec, ports: Ports, kind: str
) -> EnsureResult:
    """Create or update the deployment of one flow of the instance, and record its id."""
    plan = plan_deployment(services, instance_id, spec, ports, kind)
    ensured = services.prefect.ensure_deployment(plan)
    record_deployment(services, instance_id, kind, ensured.id)
    return ensured


def plan_deployment(
    services: Services, instance_id: UUID, spec: InstanceSpec, ports: Ports, kind: str
) -> DeploymentPlan:
    """Describe the deployment that one flow of the instance must have."""
    flow_name = ids.flow_name(kind)
    entrypoint, schema = ports.execution[flow_name]
    own = {"kind": kind} if flow_name == ids.DEFINITION_FLOW else {}
    return DeploymentPlan(
        flow_name=flow_name,
        name=ids.deployment_name(spec.project, spec.name, kind),
        entrypoint=entrypoint,
        parameter_schema=schema,
        parameters={"instance": str(instance_id), **own},
        tags=(
            *ids.deployment_tags(instance_id, spec.project, spec.type, kind, spec.name),
            ids.database_tag(services.identity()),
        ),
        description=spec.description,
        schedule=spec.schedule_of(kind, _usual_schedule(services, instance_id, kind)),
        work_pool=spec.work_pool or services.settings.pool,
        job_variables=spec.job_variables,
    )


def _usual_schedule(services: Services, instance_id: UUID, kind: str) -> Mapping[str, Any] | None:
    with services.database.read() as session:
        flow = select_flow(session, instance_id, kind)
        return flow.schedule_json if flow else None


def record_deployment(
    services: Services, instance_id: UUID, kind: str, deployment_id: UUID
) -> None:
    """Record which deployment executes a flow of the instance."""

    def work(session: Session) -> None:
        resource = session.get_one(Resource, instance_id)
        if column := TYPE_DESCRIPTIONS[resource.type].handle(kind):
            setattr(session.get_one(EXTENSIONS[resource.type], instance_id), column, deployment_id)
        flow = next(flow for flow in flows_of(session, instance_id) if flow.kind == kind)
        flow.deployment_id = deployment_id

    services.database.transact(work)


def save_document(services: Services, instance_id: UUID, spec: InstanceSpec, ports: Ports) -> None:
    """Save the configuration as a block document, and record its id."""
    document_id = ports.save_document(ids.block_document_name(spec.project, spec.name))

    def record(session: Session) -> None:
        session.get_one(EXTENSIONS[spec.type], instance_id).block_document_id = document_id

    services.database.transact(record)
