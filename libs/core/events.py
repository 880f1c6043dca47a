"""Events as they are stored and published: facts about a resource at a point in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid5

from prefect_instances.libs.core import ids


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    ``occurred`` is aware UTC. ``resource`` and each of ``related`` are label sets that hold
    ``prefect.resource.id``; their order matters to automations that infer their target. ``payload``
    is JSON-serialisable.
    """

    id: UUID
    name: str
    occurred: datetime
    resource: Mapping[str, str]
    related: tuple[Mapping[str, str], ...]
    payload: Mapping[str, object]


class Instance(Protocol):
    """What an event says of an instance."""

    @property
    def id(self) -> UUID: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def project(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102


def build_instance_event(
    name: str,
    occurred: datetime,
    instance: Instance,
    key: str,
    related: tuple[Mapping[str, str], ...],
    **payload: object,
) -> Event:
    """Build an event about an instance; the same name and ``key`` give the same id."""
    return Event(
        id=uuid5(instance.id, f"{name}:{key}"),
        name=name,
        occurred=occurred,
        resource=label_instance(instance),
        related=related,
        payload={
            "instance": instance.name,
            "project": instance.project,
            "type": instance.type,
            **payload,
        },
    )


def label_instance(instance: Instance) -> dict[str, str]:
    """Return the labels of an instance as a resource of an event."""
    return {
        "prefect.resource.id": ids.instance_resource(instance.id),
        "prefect.resource.name": f"{instance.project}/{instance.name}",
        "instances.type": instance.type,
    }


def label_related_instance(instance: Instance) -> dict[str, str]:
    """Return the labels of an instance as a related resource of an event."""
    return {**label_instance(instance), "prefect.resource.role": "instance"}


def label_project(project_id: UUID, name: str) -> dict[str, str]:
    """Return the labels of a project as a related resource of an event."""
    return {
        "prefect.resource.id": ids.instance_resource(project_id),
        "prefect.resource.role": "project",
        "prefect.resource.name": name,
    }
