"""Events as they are stored and published: facts about a resource at a point in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


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
