"""Recursive requests: stale ancestors of a flow are refreshed before it.

Every ancestor that is not fresh, and every flow between it and the requested one, gets a request
that is satisfied by a fresh output (``smart``) and waits for those of its own upstreams
(``recursive``). The gate does the rest: sources run at once, each other flow when its upstreams are
done, a flow that turns out to be fresh closes its request, and a blocked request stays pending.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from uuid import UUID, uuid5

from prefect_instances.libs.core import gate
from prefect_instances.libs.core.lineage import descendants, topological_order
from prefect_instances.libs.core.records import Request, RunParameters
from prefect_instances.libs.core.status import Cause, FlowStatus
from prefect_instances.libs.core.unit_of_work import Draft

Pair = tuple[UUID, UUID]


def propagate(draft: Draft, request: Request) -> None:
    """Add requests to the stale ancestors of a recursive request; the region must hold them all."""
    if not request.parameters.recursive:
        return
    ancestors = find_stale_ancestors(draft, request.flow_id)
    for flow_id in ancestors:
        _request_ancestor(draft, flow_id, request)
    for flow_id in ancestors:
        gate.evaluate(draft, flow_id)


def find_stale_ancestors(draft: Draft, flow_id: UUID) -> list[UUID]:
    """List ancestors that are not fresh and those that depend on them, upstreams first."""
    pairs = _pairs(draft, flow_id)
    ancestors = {upstream for upstream, _ in pairs}
    stale = {ancestor for ancestor in ancestors if not gate.is_fresh(draft, ancestor)}
    affected = stale | (descendants(stale, pairs) & ancestors)
    return topological_order([f for f in draft.flows if f in affected], pairs)


def _pairs(draft: Draft, flow_id: UUID) -> list[Pair]:
    """Return the edges over which a refresh can matter to a flow.

    A READY ancestor runs only for upstreams that trigger it; its other upstreams are left out.
    """
    pairs: list[Pair] = []
    seen, queue = {flow_id}, deque([flow_id])
    while queue:
        current = queue.popleft()
        runs = current == flow_id or draft.flows[current].status is not FlowStatus.READY
        for edge in draft.upstream_edges(current):
            if not (edge.triggers or (runs and gate.reads(edge))):
                continue
            pairs.append((edge.upstream, current))
            if edge.upstream not in seen:
                seen.add(edge.upstream)
                queue.append(edge.upstream)
    return pairs


def _request_ancestor(draft: Draft, flow_id: UUID, request: Request) -> None:
    """Add a request to an ancestor; a pending one keeps its parameters and becomes recursive."""
    pending = draft.pending_request(flow_id)
    if pending is not None:
        again = replace(pending.parameters, recursive=True)
        draft.put_request(replace(pending, parameters=again))
        return
    draft.put_request(
        Request(
            id=uuid5(request.id, str(flow_id)),
            flow_id=flow_id,
            cause=Cause.RECURSIVE,
            parameters=RunParameters(recursive=True, smart=True),
            created_at=draft.now,
            not_before=draft.now,
        )
    )
