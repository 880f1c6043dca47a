"""Register installed definitions: one resource for each name, one row for each version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy.orm import Session

from prefect_instances.libs.core.aggregation import parse_contract
from prefect_instances.libs.core.errors import DefinitionUnavailable, InvalidSpec, Problem
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db.models import (
    AccessorDef,
    ExecutorDef,
    MLModuleDef,
    OpDef,
    OpMacroDef,
    PipelineDef,
    PortfolioOptimizerDef,
    Resource,
    ResourceVersion,
    StoreDef,
)
from prefect_instances.libs.db.repositories.versions import (
    count_versions,
    replace_calls,
    select_calls,
    select_documents_in_scope,
    select_labelled_version,
)
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.definitions.saved import saved_macro
from prefect_instances.libs.specs.reading.names import as_uuid

# Model classes by kind of definition; Any, because their common columns come from a mixin.
DEFINITION_TABLES: dict[DefinitionKind, Any] = {
    DefinitionKind.PIPELINE: PipelineDef,
    DefinitionKind.STORE: StoreDef,
    DefinitionKind.ACCESSOR: AccessorDef,
    DefinitionKind.OP: OpDef,
    DefinitionKind.OP_MACRO: OpMacroDef,
    DefinitionKind.ML_MODULE: MLModuleDef,
    DefinitionKind.OPTIMIZER: PortfolioOptimizerDef,
    DefinitionKind.EXECUTOR: ExecutorDef,
}


@dataclass(frozen=True, slots=True)
class Registered:
    """The ids of the rows of one definition version."""

    resource_id: UUID
    version_id: UUID


def definition_id(kind: DefinitionKind, name: str) -> UUID:
    """Compute the id of a definition's resource, which is the same in every database."""
    return uuid5(NAMESPACE_URL, f"prefect-instances:{kind}:{name}")


def version_id(definition: type[Definition]) -> UUID:
    """Compute the id of a definition's version, which is the same in every database."""
    return uuid5(definition_id(definition.kind, definition.name), definition.version)


def register(session: Session, definition: type[Definition], now: datetime) -> Registered:
    """Find the rows of a definition version, or add them; return their ids.

    Raises DefinitionUnavailable if the same version is registered with other code, and InvalidSpec
    if its aggregation contract is wrong.
    """
    parse_contract(definition.status_aggregation_contract)
    resource_id = definition_id(definition.kind, definition.name)
    known = select_labelled_version(session, resource_id, definition.version)
    if known is None:
        return Registered(resource_id, _add(session, definition, resource_id, now))
    if known.content_hash != definition.content_hash():
        raise build_changed_code(definition)
    return Registered(resource_id, known.id)


def build_changed_code(definition: type[Definition]) -> DefinitionUnavailable:
    """Return the error for a definition whose version is registered with other code."""
    return DefinitionUnavailable(
        definition.kind.value,
        definition.name,
        definition.version,
        "it was registered with different code; give the changed code a new version",
    )


def register_all(
    session: Session, registry: Registry, now: datetime
) -> tuple[dict[type[Definition], Registered], list[DefinitionUnavailable]]:
    """Register every definition, so that it has ids before its first use.

    Returns the ids of each, and an error for each whose version is registered with other code.
    """
    ids, refused = {}, []
    for definition in registry.list():
        try:
            ids[definition] = register(session, definition, now)
        except DefinitionUnavailable as error:
            refused.append(error)
    return ids, refused


def find_version(session: Session, kind: DefinitionKind, name: str, reference: str) -> str:
    """Return the version of a definition that is given by itself or by its row's id.

    Raises InvalidSpec, at the path ``version``, for an id that no version of the definition has.
    """
    identity = as_uuid(reference)
    if identity is None:
        return reference
    row = session.get(ResourceVersion, identity)
    if row is not None and row.resource_id == definition_id(kind, name):
        return row.label
    advice = f"`instances definitions show {name}` lists the ids"
    raise InvalidSpec([Problem("version", f"{reference} is no version of {name!r}; {advice}")])


def record_calls(
    session: Session, owner_id: UUID, calls: Iterable[type[Definition]], now: datetime
) -> None:
    """Pin these definition versions for an owner, instead of those pinned before.

    Raises as ``register``.
    """
    replace_calls(session, owner_id, {register(session, each, now).version_id for each in calls})


def read_recorded_calls(session: Session, owner_id: UUID) -> dict[tuple[DefinitionKind, str], str]:
    """Read the versions that are pinned for an owner, by kind and name of the definition."""
    calls = select_calls(session, owner_id)
    return {(DefinitionKind(kind), name): label for kind, name, label in calls}


def prefer_pinned(session: Session, registry: Registry, owner_id: UUID) -> Registry:
    """Return the registry with the definition versions that are pinned for an owner."""
    calls = read_recorded_calls(session, owner_id)
    if any(kind is DefinitionKind.OP_MACRO for kind, _ in calls):
        registry = add_saved_macros(session, registry)
    return registry.preferring(calls)


def add_saved_macros(session: Session, registry: Registry) -> Registry:
    """Return the registry with all versions of the macros that are saved in the database."""
    found = select_documents_in_scope(session, DefinitionKind.OP_MACRO.value)
    documents = [said["saved"] for said in found if "saved" in said]
    return registry.extended(map(saved_macro, documents)) if documents else registry


def _add(session: Session, definition: type[Definition], resource_id: UUID, now: datetime) -> UUID:
    if session.get(Resource, resource_id) is None:
        session.add(_resource(definition, resource_id, now))
        session.flush()
    _describe(session, definition, resource_id)
    version = ResourceVersion(
        id=version_id(definition),
        resource_id=resource_id,
        number=count_versions(session, resource_id) + 1,
        label=definition.version,
        content_hash=definition.content_hash(),
        spec_json=definition.describe(),
        created_at=now,
    )
    session.add(version)
    session.flush()
    return version.id


def _resource(definition: type[Definition], resource_id: UUID, now: datetime) -> Resource:
    return Resource(
        id=resource_id,
        type=definition.kind.value,
        parent_id=None,
        scope=definition.kind.value,
        name=definition.name,
        name_key=definition.name.lower(),
        lifecycle=Lifecycle.ACTIVE,
        created_at=now,
        updated_at=now,
    )


def _describe(session: Session, definition: type[Definition], resource_id: UUID) -> None:
    described = definition.describe()
    session.merge(
        DEFINITION_TABLES[definition.kind](
            resource_id=resource_id,
            implementation=f"{definition.__module__}:{definition.__qualname__}",
            parameters_schema=described["parameters_schema"],
            status_aggregation_contract=described["status_aggregation_contract"],
            compatibility_rules=described["compatibility_rules"],
        )
    )
