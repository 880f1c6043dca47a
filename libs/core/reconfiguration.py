"""An instance's edges after a change of its configuration, and what it does to the flows."""

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
    """An edge as the configuration has it; (upstream, downstream, role) is what it is known by."""

    upstream: UUID
    downstream: UUID
    role: str
    position: int
    require: Require
    triggers: bool

    @property
    def key(self) -> tuple[UUID, UUID, str]:
        """What two edges cannot share."""
        return self.upstream, self.downstream, self.role


@dataclass(frozen=True, slots=True)
class Rewiring:
    """How edges become the wanted ones: those that stay keep their id and what was consumed."""

    added: tuple[WantedEdge, ...]
    kept: Mapping[UUID, WantedEdge]
    removed: tuple[UUID, ...]


def rewire(before: Iterable[EdgeState], wanted: Iterable[WantedEdge]) -> Rewiring:
    """Match edges to what is wanted by upstream, downstream and role."""
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

    ``flows`` are all of its flows, upstreams first; ``changed`` those whose output it decides anew,
    from configuration ``version`` on; ``due`` gives the flows whose schedule changed their next
    slot.
    """

    flows: tuple[UUID, ...]
    changed: Collection[UUID]
    version: int
    due: Mapping[UUID, Due]


def reconfigure(draft: Draft, change: Reconfiguration) -> None:
    """Apply a new configuration to a region that has the instance's new edges already."""
    for flow_id, due in change.due.items():
        _reschedule(draft, flow_id, due)
    for flow_id in change.flows:
        if flow_id in change.changed:
            transitions.reconfigure(draft, flow_id, change.version)
    transitions.reconsider(draft, change.flows)


def _reschedule(draft: Draft, flow_id: UUID, due: Due) -> None:
    """The next slot by the new schedule; a deadline that lies ahead is not breached yet."""
    slot, deadline = due or (None, None)
    flow = draft.flows[flow_id]
    breached = flow.breached and deadline is not None and deadline < draft.now
    draft.flows[flow_id] = replace(flow, next_due_at=slot, due_deadline=deadline, breached=breached)
