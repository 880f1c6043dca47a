"""Requests for a run: how one is remembered, and how it opens the gate."""

from __future__ import annotations

from dataclasses import replace

from prefect_instances.libs.core import gate, recursion
from prefect_instances.libs.core.records import Request
from prefect_instances.libs.core.unit_of_work import Draft


def remember(draft: Draft, request: Request) -> None:
    """Keep a request: one a flow, the newest parameters win, full beats incremental."""
    pending = draft.pending_request(request.flow_id)
    if pending is None:
        draft.put_request(request)
        return
    draft.put_request(
        replace(
            pending,
            cause=request.cause,
            parameters=pending.parameters.merged(request.parameters),
            not_before=min(pending.not_before, request.not_before),
            retries=request.retries,
        )
    )


def ask(draft: Draft, request: Request) -> None:
    """Remember a request and open the gate for it if that is possible now."""
    remember(draft, request)
    recursion.spread(draft, request)
    gate.evaluate(draft, request.flow_id)
