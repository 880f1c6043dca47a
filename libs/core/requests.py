"""Run requests: how they are stored and merged, and how they open the gate."""

from __future__ import annotations

from dataclasses import replace

from prefect_instances.libs.core import gate, ids, recursion
from prefect_instances.libs.core.records import Request, RunParameters
from prefect_instances.libs.core.unit_of_work import Draft


def store_request(draft: Draft, request: Request) -> list[str]:
    """Store a request; merge it into the pending one if the flow has one.

    A flow has at most one pending request. Returns one sentence for each requested day that the
    merged request replaces by another; empty if there is none.
    """
    pending = draft.pending_request(request.flow_id)
    if pending is None:
        draft.put_request(request)
        return []
    merged = replace(
        pending,
        cause=request.cause,
        parameters=pending.parameters.merged(request.parameters),
        not_before=min(pending.not_before, request.not_before),
        retries=min(pending.retries, request.retries),
    )
    draft.put_request(merged)
    return record_merge(draft, merged, pending.parameters, request.parameters)


def record_merge(draft: Draft, merged: Request, *asked: RunParameters) -> list[str]:
    """Record an event that lists the requested days which the merged request replaces, if any."""
    replaced = [line for one in asked for line in one.replaced_by(merged.parameters)]
    if replaced:
        payload = {"request": str(merged.id), "replaced": replaced}
        draft.facts.append((ids.REQUEST_MERGED, merged.flow_id, payload))
    return replaced


def request_run(draft: Draft, request: Request) -> None:
    """Store a request and open the gate if its conditions hold."""
    store_request(draft, request)
    recursion.propagate(draft, request)
    gate.evaluate(draft, request.flow_id)
