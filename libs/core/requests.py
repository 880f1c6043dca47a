"""Requests for a run: how one is remembered, and how it opens the gate."""

from __future__ import annotations

from dataclasses import replace

from prefect_instances.libs.core import gate, ids, recursion
from prefect_instances.libs.core.records import Request, RunParameters
from prefect_instances.libs.core.unit_of_work import Draft


def remember(draft: Draft, request: Request) -> list[str]:
    """Keep a request: one a flow, which fulfils all that were made.

    Returns in words what was asked and gives way to something that includes it; empty if nothing.
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
    return tell_merged(draft, merged, pending.parameters, request.parameters)


def tell_merged(draft: Draft, merged: Request, *asked: RunParameters) -> list[str]:
    """Tell by an event which words give way in the request that was made of several."""
    replaced = [line for one in asked for line in one.replaced_by(merged.parameters)]
    if replaced:
        told = {"request": str(merged.id), "replaced": replaced}
        draft.facts.append((ids.REQUEST_MERGED, merged.flow_id, told))
    return replaced


def ask(draft: Draft, request: Request) -> None:
    """Remember a request and open the gate for it if that is possible now."""
    remember(draft, request)
    recursion.spread(draft, request)
    gate.evaluate(draft, request.flow_id)
