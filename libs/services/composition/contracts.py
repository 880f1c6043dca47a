"""Guardrail contracts that apply to an instance, and the rows of its components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.db.repositories.resources import COMPONENTS, EXTENSIONS
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.guardrails import Contract, Declared, Guardrail
from prefect_instances.libs.definitions.guardrails.data import DatasetContinuity
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.specs import DatasetSpec, InstanceSpec


def list_effective_contracts(
    kinds: Mapping[str, type[Guardrail]],
    definitions: Mapping[str, type[Definition]],
    spec: InstanceSpec,
) -> list[Contract]:
    """List the contracts that apply: the instance's own, its definitions' and the usual ones.

    A contract of the instance replaces one of the definitions with the same key, and both replace
    a usual one. Raises InvalidSpec if a contract has a kind that is not installed.
    """
    own = [
        Declared(**written.model_dump()).made(kinds, "the instance")
        for written in spec.guardrail_contracts
    ]
    declared = [
        Declared.of(document).made(kinds, f"{role} {definition.name}")
        for role, definition in definitions.items()
        for document in definition.guardrail_contracts
    ]
    usual = [Declared(kind).made(kinds, "every source") for kind in _usual_kinds(spec)]
    return [*_without(usual, [*declared, *own]), *_without(declared, own), *own]


def _usual_kinds(spec: InstanceSpec) -> list[str]:
    """List the kinds of contract that an instance has without declaring them.

    A dataset without upstreams must not lose what it had. One that is computed from upstreams
    follows these, which were judged themselves.
    """
    is_source = isinstance(spec, DatasetSpec) and not spec.upstream_refs
    return [DatasetContinuity.name] if is_source else []


def _without(contracts: Sequence[Contract], others: Sequence[Contract]) -> list[Contract]:
    """Return the contracts whose key none of the others has."""
    replaced = {contract.key for contract in others}
    return [contract for contract in contracts if contract.key not in replaced]


def list_contracts(
    registry: Registry,
    definitions: Mapping[str, type[Definition]],
    spec: InstanceSpec,
    kind: str = "",
) -> list[Contract]:
    """Return the contracts of an instance, or of one of its flows if ``kind`` names it.

    ``definitions`` are those of the instance by role. A flow that a definition adds has only the
    contracts that name it. Raises as ``list_effective_contracts``.
    """
    found = list_effective_contracts(registry.guardrails, definitions, spec)
    is_added = kind and kind not in TYPE_DESCRIPTIONS[spec.type].shape.flows
    return [contract for contract in found if contract.flow == kind] if is_added else found


def read_composition(session: Session, type_: str, instance_id: UUID) -> dict[str, Any]:
    """Read the rows that hold the instance's resolved definitions, by role."""
    extension = session.get_one(EXTENSIONS[type_], instance_id)
    found = {}
    for role, part in TYPE_DESCRIPTIONS[type_].roles.items():
        row: Any = extension
        if part.component_type:
            component = getattr(extension, f"{role}_instance_id")
            row = session.get_one(COMPONENTS[part.component_type], component)
        if row.definition_resource_id is not None:
            found[role] = row
    return found
