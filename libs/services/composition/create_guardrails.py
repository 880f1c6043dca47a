"""The guardrail gate ``instance.create``: contracts judged before an instance is written.

There is no run yet: a broken contract that blocks is a problem of the spec, one that only warns is
stored with the instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import (
    AccessorInstance,
    DatasetVersion,
    FlowExecutionResource,
    GuardrailReport,
    Resource,
)
from prefect_instances.libs.db.repositories.resources import EXTENSIONS
from prefect_instances.libs.definitions.base import DefinitionKind, UpstreamShape
from prefect_instances.libs.definitions.guardrails import (
    Contract,
    Declared,
    Evidence,
    Gate,
    InputFacts,
    Report,
    judge,
)
from prefect_instances.libs.definitions.optimizer import Constraints, PortfolioOptimizer
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.instance_types import Component, Upstream
from prefect_instances.libs.services.composition.instance_types.optimizers import (
    convert_constraints,
)
from prefect_instances.libs.specs import InstanceSpec, OptimizerSpec, spec_document


def admit(
    session: Session,
    registry: Registry,
    spec: InstanceSpec,
    components: Mapping[str, Component],
    upstreams: Iterable[tuple[Upstream, UpstreamShape]],
    now: datetime,
) -> list[tuple[str, Report]]:
    """Judge the contracts of the gate; return each report with the role that declares it."""
    found: list[tuple[str, Contract]] = [
        (role, contract)
        for role, component in components.items()
        for document in component.definition.guardrail_contracts
        if (contract := _made(registry, role, component, document)).gate is Gate.CREATE
    ]
    if not found:
        return []
    evidence = Evidence(
        gate=Gate.CREATE,
        instance=spec.name,
        flow="",
        now=now,
        inputs=[_facts(session, registry, *pair) for pair in upstreams],
        bounds=_bounds(registry, spec, components),
        configured=spec_document(spec),
    )
    return [(role, report) for role, made in found for report in judge([made], evidence)]


def _bounds(
    registry: Registry, spec: InstanceSpec, components: Mapping[str, Component]
) -> Constraints | None:
    """Return the bounds that an optimizer's weights will keep; None for other instances."""
    if not isinstance(spec, OptimizerSpec):
        return None
    optimizer = components["optimizer"].configured(registry)
    assert isinstance(optimizer, PortfolioOptimizer)
    return optimizer.keeps(convert_constraints(spec.constraints))


def _made(
    registry: Registry, role: str, component: Component, document: Mapping[str, object]
) -> Contract:
    origin = f"{role} {component.definition.name}"
    return Declared.of(document).made(registry.guardrails, origin)


def _facts(
    session: Session, registry: Registry, upstream: Upstream, shape: UpstreamShape
) -> InputFacts:
    """Return what is known of an upstream; without its data if it is only planned."""
    flow = session.get(FlowExecutionResource, upstream.flow_id) if upstream.flow_id else None
    if flow is None:
        return InputFacts(shape.resource, shape.role)
    version = session.get(DatasetVersion, flow.version_id) if flow.version_id else None
    return InputFacts(
        resource=shape.resource,
        role=shape.role,
        columns=shape.columns,
        last_date=version.max_date if version else None,
        point_in_time=_point_in_time(session, registry, flow.instance_id),
    )


def _point_in_time(session: Session, registry: Registry, instance_id: UUID) -> bool | None:
    """Return True if the upstream's accessor knows what was known when.

    None if the upstream has no accessor.
    """
    resource = session.get_one(Resource, instance_id)
    extension = session.get_one(EXTENSIONS[resource.type], instance_id)
    accessor_id = getattr(extension, "accessor_instance_id", None)
    if accessor_id is None:
        return None
    row = session.get_one(AccessorInstance, accessor_id)
    name = session.get_one(Resource, row.definition_resource_id).name
    accessor = registry.get(DefinitionKind.ACCESSOR, name)
    return bool(getattr(accessor, "answers_knowledge_time", False))


def build_report_rows(
    instance_id: UUID, run_id: UUID | None, reports: Sequence[Report], now: datetime
) -> list[GuardrailReport]:
    """Build the rows of the reports; ``run_id`` is None if no run was judged."""
    return [
        GuardrailReport(
            id=uuid4(),
            instance_id=instance_id,
            run_id=run_id,
            gate=report.gate.value,
            kind=report.kind,
            mode=report.mode.value,
            passed=report.passed,
            message=report.message,
            details_json=dict(report.details),
            created_at=now,
        )
        for report in reports
    ]
