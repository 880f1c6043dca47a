"""Changes of configuration: an instance's new edges, and the effect on its flows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from prefect_instances.libs.core import transitions
from prefect_instances.libs.core.records import EdgeState
from prefect_instances.libs.core.status import Require
from prefect_instances.libs.core.unit_of_work import Draft

Due = tuple[datetime, datetime] | None
"""The next slot and its deadline; None without a schedule."""


@dataclass(frozen=True, slots=True)
class WantedEdge:
    """An edge as the configuration describes it; (upstream, downstream, role) identifies it."""

    upstream: UUID
    downstream: UUID
    role: str
    position: int
    require: Require
    triggers: bool

    @property
    def key(self) -> tuple[UUID, UUID, str]:
        """The identity of the edge."""
        return self.upstream, self.downstream, self.role


@dataclass(frozen=True, slots=True)
class Rewiring:
    """The changes that make edges as wanted; kept edges keep their id and consumed generation."""

    added: tuple[WantedEdge, ...]
    kept: Mapping[UUID, WantedEdge]
    removed: tuple[UUID, ...]


def rewire(before: Iterable[EdgeState], wanted: Iterable[WantedEdge]) -> Rewiring:
    """Match existing edges to wanted ones by upstream, downstream and role."""
    known = {(edge.upstream, edge.downstream, edge.role): edge.id for edge in before}
    kept, added = {}, []
    for edge in wanted:
        if edge.key in known:
            kept[known.pop(edge.key)] = edge
        else:
            added.append(edge)
    return Rewiring(tuple(added), kept, tuple(known.values()))


@dataclass(frozen=True, slots=True)
class Reconfiguration:
    """A new configuration of one instance.

    ``flows`` are all of its flows, upstreams first. ``changed`` are those whose output it affects;
    ``version`` is their new configuration version. ``due`` holds the flows whose schedule changed,
    with their next slot.
    """

    flows: tuple[UUID, ...]
    changed: Collection[UUID]
    version: int
    due: Mapping[UUID, Due]


def reconfigure(draft: Draft, change: Reconfiguration) -> None:
    """Apply a new configuration; the region must already hold the instance's new edges."""
    for flow_id, due in change.due.items():
        _reschedule(draft, flow_id, due)
    for flow_id in change.flows:
        if flow_id in change.changed:
            transitions.mark_reconfigured(draft, flow_id, change.version)
    transitions.reconsider(draft, change.flows)


def _reschedule(draft: Draft, flow_id: UUID, due: Due) -> None:
    """Set the next slot of the new schedule; a deadline in the future is not breached yet."""
    slot, deadline = due or (None, None)
    flow = draft.flows[flow_id]
    breached = flow.breached and deadline is not None and deadline < draft.now
    draft.flows[flow_id] = replace(flow, next_due_at=slot, due_deadline=deadline, breached=breached)
