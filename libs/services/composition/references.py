"""Identify the instances that references name, whether by name or by uuid."""

from __future__ import annotations

from sqlalchemy.orm import Session

from prefect_instances.libs.db.repositories.resources import find_instance
from prefect_instances.libs.specs.reading.names import as_uuid, full_name


def label_reference(session: Session, reference: str, project: str) -> str:
    """Return ``project/name``, in lower case, of the instance that a reference names.

    ``project`` is where a plain name is searched. A uuid that no instance has stays as it is.
    """
    named = find_instance(session, reference) if as_uuid(reference) else None
    return named.label.lower() if named else full_name(reference, project)
