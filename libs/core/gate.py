"""The gate: whether a flow may run, whether it is due, and which opening follows.

*Open*: every incoming edge has what it requires. *Due*: a triggering upstream has published more
than was consumed, or the configuration is newer than the one last used, or a request is pending. A
gate opens if it is open and due, the flow is not RUNNING and the instance is ACTIVE, once for each
cause key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid5

from prefect_instances.libs.core.records import (
    EdgeState,
    FlowState,
    Opening,
    OpeningStatus,
    Request,
    RequestStatus,
)
from prefect_instances.libs.core.status import FlowStatus, Reason, Require
from prefect_instances.libs.core.unit_of_work import Draft


@dataclass(frozen=True, slots=True)
class Blocker:
    """An upstream that keeps a gate closed, why, and since when."""

    flow_id: UUID
    instance: str
    kind: str
    role: str
    require: Require
    status: FlowStatus
    reason: Reason
    since: datetime | None
    detail: str

    def __str__(self) -> str:
        since = f" since {self.since.isoformat(timespec='seconds')}" if self.since else ""
        why = f": {self.detail}" if self.detail else ""
        return f"{self.instance}.{self.kind} is {self.status} ({self.reason}){since}{why}"


def meets_requirement(edge: EdgeState, upstream: FlowState) -> bool:
    """Return True if the upstream has what the edge requires."""
    match edge.require:
        case Require.READY:
            return upstream.status is FlowStatus.READY
        case Require.DATA:
            return upstream.generation > 0
        case Require.NONE:
            return True


def find_blockers(draft: Draft, flow_id: UUID) -> tuple[Blocker, ...]:
    """List every upstream that keeps the gate of a flow closed; empty if the gate is open."""
    found = []
    for edge in draft.upstream_edges(flow_id):
        upstream = draft.flows[edge.upstream]
        if not meets_requirement(edge, upstream):
            found.append(_blocker(draft, edge, upstream))
    return tuple(found)


def check_upstream_freshness(
    draft: Draft, flow_id: UUID, request: Request | None
) -> tuple[Blocker, ...]:
    """List the upstreams that block a run which serves ``request``; empty: the run may execute.

    Every run calls it before it executes, in the transaction that starts it. The same function
    decides whether a gate opens and what ``instances why`` and ``check-upstream-freshness`` say.

    A forced run only needs published outputs. A recursive run also waits for upstreams that have a
    recursive request.
    """
    if request is None:
        return find_blockers(draft, flow_id)
    found = find_unpublished if request.parameters.force else find_blockers
    blocking = found(draft, flow_id)
    if not request.parameters.recursive:
        return blocking
    known = {blocker.flow_id for blocker in blocking}
    first = (b for b in find_awaited(draft, flow_id) if b.flow_id not in known)
    return (*blocking, *first)


def find_awaited(draft: Draft, flow_id: UUID) -> tuple[Blocker, ...]:
    """List the upstreams that have a recursive request which is not done yet."""
    return tuple(
        _blocker(draft, edge, draft.flows[edge.upstream])
        for edge in draft.upstream_edges(flow_id)
        if reads(edge) and draft.has_recursive_request(edge.upstream)
    )


def reads(edge: EdgeState) -> bool:
    """Return True if the upstream's status matters to the downstream."""
    return edge.triggers or edge.require is not Require.NONE


def is_fresh(draft: Draft, flow_id: UUID) -> bool:
    """Return True if the output is current with inputs, configuration and schedule."""
    flow = draft.flows[flow_id]
    on_time = flow.next_due_at is None or flow.next_due_at > draft.now
    return flow.status is FlowStatus.READY and on_time and not due_by_input(draft, flow_id)


def explain_fresh(draft: Draft, flow_id: UUID) -> str:
    """Return one line that says why the output is fresh."""
    flow = draft.flows[flow_id]
    due = (
        f", due again {flow.next_due_at.isoformat(timespec='seconds')}" if flow.next_due_at else ""
    )
    data = f" with data up to {flow.last_data_date}" if flow.last_data_date else ""
    return f"the output is fresh: generation {flow.generation}{data}{due}"


def is_satisfied(draft: Draft, flow_id: UUID) -> bool:
    """Return True if the pending request is smart and the output is already fresh."""
    request = draft.pending_request(flow_id)
    return (
        request is not None
        and request.parameters.smart
        and is_fresh(draft, flow_id)
        and not (request.parameters.recursive and find_awaited(draft, flow_id))
    )


def close_satisfied(draft: Draft, flow_id: UUID) -> bool:
    """Close the pending request if the output is already fresh; return True if it was closed.

    The gates of direct downstreams are evaluated then, because they may have waited for it.
    """
    request = draft.pending_request(flow_id)
    if request is None or not is_satisfied(draft, flow_id):
        return False
    draft.put_request(replace(request, status=RequestStatus.DONE))
    for edge in draft.downstream_edges(flow_id):
        evaluate(draft, edge.downstream)
    return True


def find_unpublished(draft: Draft, flow_id: UUID) -> tuple[Blocker, ...]:
    """List required upstreams that never published; they block even a forced run."""
    return tuple(
        _blocker(draft, edge, draft.flows[edge.upstream])
        for edge in draft.upstream_edges(flow_id)
        if edge.require is not Require.NONE and draft.flows[edge.upstream].generation == 0
    )


def _blocker(draft: Draft, edge: EdgeState, upstream: FlowState) -> Blocker:
    return Blocker(
        flow_id=upstream.id,
        instance=draft.instance_of(upstream).name,
        kind=upstream.kind,
        role=edge.role,
        require=edge.require,
        status=upstream.status,
        reason=upstream.reason,
        since=upstream.since,
        detail=upstream.detail,
    )


def due_by_input(draft: Draft, flow_id: UUID) -> bool:
    """Return True if inputs or configuration are newer than those of the last success.

    The first configuration alone makes nothing due: a request decides whether a new instance runs.
    """
    return has_newer_configuration(draft, flow_id) or has_newer_inputs(draft, flow_id)


def has_newer_configuration(draft: Draft, flow_id: UUID) -> bool:
    """Return True if the configuration changed after that of the last success, or of the start."""
    flow = draft.flows[flow_id]
    return flow.config_version > max(flow.consumed_config_version, 1)


def has_newer_inputs(draft: Draft, flow_id: UUID) -> bool:
    """Return True if a triggering upstream has published what the last success did not read."""
    return any(
        edge.triggers and draft.flows[edge.upstream].generation > edge.consumed
        for edge in draft.upstream_edges(flow_id)
    )


def input_vector(draft: Draft, flow_id: UUID) -> dict[str, int]:
    """Map each upstream's flow id to its generation, for every incoming edge."""
    return {
        str(edge.upstream): draft.flows[edge.upstream].generation
        for edge in draft.upstream_edges(flow_id)
    }


def input_key(config_version: int, vector: Mapping[str, int]) -> str:
    """Return the cause key of an opening for inputs: equal inputs give equal keys."""
    text = json.dumps([config_version, sorted(vector.items())])
    return "inputs:" + hashlib.sha256(text.encode()).hexdigest()[:40]


def request_key(request: Request) -> str:
    """Return the cause key of an opening for a request."""
    return f"request:{request.id}"


def evaluate(draft: Draft, flow_id: UUID) -> None:
    """Open the gate of a flow if its conditions hold; a repeated call changes nothing more."""
    flow = draft.flows[flow_id]
    request = draft.pending_request(flow_id)
    if flow.status is FlowStatus.RUNNING or not draft.is_active(flow):
        return
    if check_upstream_freshness(draft, flow_id, request) or close_satisfied(draft, flow_id):
        return
    if due_by_input(draft, flow_id) and _open_for_inputs(draft, flow, request):
        return
    if request is not None and not _announced(draft, flow_id, request):
        _open(draft, flow, request_key(request), request=request)


def _open_for_inputs(draft: Draft, flow: FlowState, request: Request | None) -> bool:
    """Open the gate for the newest inputs; return False if it opened for these before."""
    vector = input_vector(draft, flow.id)
    key = input_key(flow.config_version, vector)
    unclaimed = draft.unclaimed(flow.id)
    if key == flow.opened_key and not any(opening.cause_key == key for opening in unclaimed):
        return False
    if _absorbed_by_request(draft, unclaimed):
        return True
    _open(draft, flow, key, request=request, vector=vector)
    draft.flows[flow.id] = replace(draft.flows[flow.id], opened_key=key)
    return True


def _absorbed_by_request(draft: Draft, unclaimed: list[Opening]) -> bool:
    """Return True if an announced run of a request will read the newest inputs."""
    return any(
        o.status is OpeningStatus.OPEN
        and o.cause_key.startswith("request:")
        and o.not_before <= draft.now
        for o in unclaimed
    )


def _announced(draft: Draft, flow_id: UUID, request: Request) -> bool:
    """Return True if an announced run begins no later than the request demands."""
    return any(_in_time(draft, opening, request) for opening in draft.unclaimed(flow_id))


def _in_time(draft: Draft, opening: Opening, request: Request | None) -> bool:
    if opening.status is not OpeningStatus.OPEN:
        return False
    return request is None or opening.not_before <= max(request.not_before, draft.now)


def _open(
    draft: Draft,
    flow: FlowState,
    key: str,
    *,
    request: Request | None,
    vector: Mapping[str, int] | None = None,
) -> None:
    """Announce the opening of ``key`` and supersede all other unclaimed openings.

    If the same opening waits for its back-off to end, a request that may start earlier moves it
    forward.
    """
    same = None
    for opening in draft.unclaimed(flow.id):
        if opening.cause_key == key:
            same = opening
        else:
            draft.put_opening(replace(opening, status=OpeningStatus.SUPERSEDED))
    if same is not None and _in_time(draft, same, request):
        return
    if same is not None:
        earliest = request.not_before if request else same.not_before
        announce(draft, replace(same, not_before=min(same.not_before, earliest)))
        return
    draft.put_opening(opening_for(draft, flow, key, request, vector), announce=True)


def opening_for(
    draft: Draft,
    flow: FlowState,
    key: str,
    request: Request | None,
    vector: Mapping[str, int] | None = None,
) -> Opening:
    """Build a new opening of a flow for a cause key, without storing it."""
    by_request = request if key.startswith("request:") else None
    return Opening(
        id=uuid5(flow.id, key),
        flow_id=flow.id,
        cause_key=key,
        status=OpeningStatus.OPEN,
        opened_at=draft.now,
        announced_at=draft.now,
        not_before=by_request.not_before if by_request else draft.now,
        config_version=flow.config_version,
        vector=input_vector(draft, flow.id) if vector is None else vector,
        request_id=by_request.id if by_request else None,
    )


def announce(draft: Draft, opening: Opening) -> None:
    """Announce an unclaimed opening again, as its next attempt."""
    again = replace(
        opening,
        status=OpeningStatus.OPEN,
        attempt=opening.attempt + 1,
        announced_at=draft.now,
    )
    draft.put_opening(again, announce=True)
