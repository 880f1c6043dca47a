"""Export the manifest of what exists; applying it changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from prefect_instances.libs.core.lineage import topological_order
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.flows import select_owners
from prefect_instances.libs.db.repositories.resources import (
    Named,
    get_instance,
    select_instances,
    select_lineage_pairs,
    select_newest_version,
)


def export(database: Database, references: Sequence[str] = ()) -> dict[str, Any]:
    """Build the manifest document of the named instances, or of all instances, upstreams first.

    Instances that are being removed are left out. Raises NotFound for an unknown name.
    """
    with database.read() as session:
        chosen = [get_instance(session, name) for name in references] or select_instances(session)
        kept = [named for named in chosen if named.lifecycle is not Lifecycle.DEPROVISIONING]
        instances = [_document(session, named) for named in sort_by_lineage(session, kept)]
    projects = {document["project"] for document in instances}
    if len(projects) != 1:
        return {"instances": instances}
    bare = [{key: item[key] for key in item if key != "project"} for item in instances]
    return {"project": projects.pop(), "instances": bare}


def _document(session: Session, named: Named) -> dict[str, Any]:
    version = select_newest_version(session, named.id)
    document = dict(version.spec_json) if version is not None else {}
    first = {"name": named.name, "type": named.type, "project": named.project}
    return {**first, **{key: value for key, value in document.items() if key not in first}}


def sort_by_lineage(session: Session, kept: Sequence[Named]) -> list[Named]:
    """Sort instances, upstreams first."""
    owners = select_owners(session)
    by_id = {named.id: named for named in kept}
    pairs = {(owners[up], owners[down]) for up, down in select_lineage_pairs(session)}
    between = sorted((up, down) for up, down in pairs if up in by_id and down in by_id)
    order = topological_order(by_id, [(up, down) for up, down in between if up != down])
    return [by_id[id_] for id_ in order]
