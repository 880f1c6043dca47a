"""Derive flows and upstreams of an instance from its main definition; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.shapes import OWN_OUTPUT, SHAPES, Shape
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.flow import OUTPUT, UPSTREAMS, LineageContract
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.services.composition.instance_types import Upstream
from prefect_instances.libs.specs import InstanceSpec, UpstreamRef

Placed = tuple[str, UpstreamRef]
"""A reference with its path."""


def build_shape(type_: str, definition: type[Definition] | None) -> Shape:
    """Return the shape of an instance type with the flows that the definition adds, if any."""
    shape = SHAPES[type_]
    for spec in definition.flow_specs if definition else ():
        if spec.kind not in shape.flows:
            shape = shape.adding(
                spec.kind,
                output=OUTPUT in spec.reads,
                upstreams=UPSTREAMS in spec.reads,
                triggered=spec.triggered,
            )
    return shape


def list_changed_components(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List the roles whose component has changed."""
    return [role for role, component in after.items() if before.get(role) != component]


def list_schedule_problems(spec: InstanceSpec, shape: Shape) -> Iterable[Problem]:
    """Yield a problem for each schedule of a flow that the instance does not have."""
    for kind in spec.flow_schedules:
        if kind not in shape.flows:
            added = [each for each in shape.flows if each not in SHAPES[spec.type].flows]
            adds = f"the definition adds {', '.join(added) or 'none'}"
            hint = suggest_closest(kind, map(str, shape.flows))
            yield Problem(spec.flow_schedule_path(kind), f"is not one of its flows: {adds}{hint}")


def bind_references(definition: type[Definition], references: Sequence[Placed]) -> list[Placed]:
    """Complete the references with the lineage contracts where the references say nothing."""
    contracts = {contract.role: contract for contract in definition.lineage_contracts}
    return [
        (path, _bound(ref, contracts[ref.role]) if ref.role in contracts else ref)
        for path, ref in references
    ]


def _bound(ref: UpstreamRef, contract: LineageContract) -> UpstreamRef:
    triggers = "" if contract.triggers is None else "yes" if contract.triggers else "no"
    return ref.model_copy(
        update={
            "flow": ref.flow or contract.flow,
            "require": ref.require or contract.require or "",
            "triggers": ref.triggers or triggers,
        }
    )


def list_lineage_problems(
    definition: type[Definition], references: Sequence[Placed]
) -> Iterable[Problem]:
    """Yield every way in which the references break the lineage contracts."""
    says = f"{definition.name} says so"
    roles = {ref.role for _, ref in references}
    for contract in definition.lineage_contracts:
        if contract.required and contract.role not in roles:
            text = f"needs an upstream with the role {contract.role!r}: {says}"
            yield Problem("upstream_refs", text)
        for path, ref in references:
            wrong = contract.flow and ref.flow not in ("", contract.flow)
            if ref.role == contract.role and wrong:
                text = f"must be {contract.flow!r} in the role {ref.role!r}: {says}"
                yield Problem(f"{path}.flow", text)
    if any({OUTPUT, UPSTREAMS} <= {*spec.reads} for spec in definition.flow_specs):
        for path, ref in references:
            if ref.role == OWN_OUTPUT:
                yield Problem(f"{path}.role", "is the role of the instance's own output")


def list_reference_problems(
    own: str, upstreams: Iterable[Upstream], paths: Sequence[str]
) -> Iterable[Problem]:
    """Yield a problem for each reference to the instance itself, and for each repeated one.

    ``own`` is the label of the instance; ``paths`` locate the upstreams, in the same order.
    """
    seen: dict[tuple[str, str, str], str] = {}
    for path, upstream in zip(paths, upstreams, strict=True):
        label = upstream.label.lower()
        if label == own:
            yield Problem(f"{path}.resource", "refers to the instance itself")
            continue
        first = seen.setdefault((label, upstream.role, upstream.flow_kind), path)
        if first != path:
            yield Problem(path, f"repeats {first}: same resource, role and flow")
