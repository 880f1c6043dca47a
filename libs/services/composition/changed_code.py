"""Definitions whose code has changed while their version has not."""

from __future__ import annotations

from sqlalchemy.orm import Session

from prefect_instances.libs.db.repositories.resources import Named
from prefect_instances.libs.db.repositories.versions import (
    select_labelled_version,
    select_used_definitions,
)
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.composition.catalog import definition_id
from prefect_instances.libs.services.composition.contracts import read_composition


def list_changed(session: Session, registry: Registry) -> list[str]:
    """List the installed definitions whose code is not what was registered as their version."""
    changed = []
    for each in registry.list():
        known = select_labelled_version(session, definition_id(each.kind, each.name), each.version)
        if known is not None and known.content_hash != each.content_hash():
            changed.append(_describe(each))
    return changed


def list_changed_of(session: Session, registry: Registry, named: Named) -> list[str]:
    """List those that an instance uses; what its upstreams use is not looked at.

    One that is not installed, or is saved in the database, has no code here.
    """
    rows = read_composition(session, named.type, named.id).values()
    used = select_used_definitions(
        session,
        [row.definition_version_id for row in rows],
        [named.id, *(row.resource_id for row in rows)],
    )
    installed = {(each.kind.value, each.name, each.version): each for each in registry.list()}
    return [
        _describe(installed[kind, name, label])
        for kind, name, label, content_hash in used
        if (kind, name, label) in installed
        and installed[kind, name, label].content_hash() != content_hash
    ]


def _describe(definition: type[Definition]) -> str:
    label = f"{definition.kind} {definition.name} {definition.version}"
    return f"{label} has other code than was registered as this version"
