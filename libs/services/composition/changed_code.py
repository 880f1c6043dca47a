"""Definitions whose code has changed while their version has not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import Resource, ResourceVersion
from prefect_instances.libs.db.repositories.resources import Named
from prefect_instances.libs.db.repositories.versions import select_labelled_version
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.catalog import (
    definition_id,
    read_recorded_calls,
)
from prefect_instances.libs.services.composition.contracts import read_composition

Key = tuple[DefinitionKind, str, str]
"""Kind, name and version of a definition."""


def list_changed(session: Session, registry: Registry) -> list[str]:
    """List the installed definitions whose code is not what was registered as their version."""
    return [*_describe(session, registry.list())]


def list_changed_of(session: Session, registry: Registry, named: Named) -> list[str]:
    """List those that an instance uses; what its upstreams use is not looked at."""
    keys = {*_keys(session, named.id)}
    for row in read_composition(session, named.type, named.id).values():
        definition = session.get_one(Resource, row.definition_resource_id)
        label = session.get_one(ResourceVersion, row.definition_version_id).label
        keys |= {(DefinitionKind(definition.type), definition.name, label)}
        keys |= {*_keys(session, row.resource_id)}
    return [*_describe(session, _installed(registry, sorted(keys)))]


def _keys(session: Session, owner_id: UUID) -> Iterator[Key]:
    for (kind, name), label in read_recorded_calls(session, owner_id).items():
        yield kind, name, label


def _installed(registry: Registry, keys: Iterable[Key]) -> Iterator[type[Definition]]:
    """Yield the classes; one that is not installed, or saved in the database, has no code here."""
    there = {(each.kind, each.name, each.version): each for each in registry.list()}
    for key in keys:
        if key in there:
            yield there[key]


def _describe(session: Session, definitions: Iterable[type[Definition]]) -> Iterator[str]:
    for each in definitions:
        known = select_labelled_version(session, definition_id(each.kind, each.name), each.version)
        if known is not None and known.content_hash != each.content_hash():
            label = f"{each.kind} {each.name} {each.version}"
            yield f"{label} has other code than was registered as this version"
