"""Identify the instances that references name, whether by name or by uuid."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.db.repositories.flows import select_upstream_ids
from prefect_instances.libs.db.repositories.resources import Named, find_instance
from prefect_instances.libs.specs import InstanceSpec
from prefect_instances.libs.specs.reading.names import as_uuid, full_name


def label_reference(session: Session, reference: str, project: str) -> str:
    """Return ``project/name``, in lower case, of the instance that a reference names.

    ``project`` is where a plain name is searched. A uuid that no instance has stays as it is.
    """
    named = find_instance(session, reference) if as_uuid(reference) else None
    return named.label.lower() if named else full_name(reference, project)


def find_sources(session: Session, pending: Mapping[str, InstanceSpec], label: str) -> set[str]:
    """Return the labels of the datasets without upstreams from which an instance is computed.

    ``pending`` are the specs, by label, that do not exist yet.
    """
    reached, queue, sources = {label}, [label], set()
    while queue:
        current = queue.pop()
        ups = _upstreams(session, pending, current)
        if ups is not None and not ups and current != label:
            sources.add(current)
        for up in ups or ():
            if up not in reached:
                reached.add(up)
                queue.append(up)
    return sources


def _upstreams(
    session: Session, pending: Mapping[str, InstanceSpec], label: str
) -> set[str] | None:
    """Return the labels that an instance reads; None if it does not exist."""
    planned = pending.get(label)
    if planned is not None:
        return {
            label_reference(session, ref.resource, planned.project)
            for _, ref in planned.references()
        }
    named = find_instance(session, label)
    return None if named is None else {up.label.lower() for up in _read_by(session, named.id)}


def _read_by(session: Session, instance_id: UUID) -> list[Named]:
    found = (find_instance(session, str(id_)) for id_ in select_upstream_ids(session, instance_id))
    return [named for named in found if named is not None]
