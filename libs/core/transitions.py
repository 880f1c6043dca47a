"""All changes of state except the start of a run, each a pure function of a region.

One call decides one transaction (``docs/decisions`` says why status follows from stored state and
not from events). All functions change the ``Draft`` that they are given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from prefect_instances.libs.core import gate, ids
from prefect_instances.libs.core.commands import (
    BadEnd,
    Output,
    RetryPolicy,
)
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.lineage import topological_order
from prefect_instances.libs.core.pairing import is_still_silent
from prefect_instances.libs.core.records import (
    FlowState,
    Opening,
    OpeningStatus,
    Request,
    RequestStatus,
    Run,
)
from prefect_instances.libs.core.requests import record_merge, request_run
from prefect_instances.libs.core.status import (
    OVERTAKEN,
    Cause,
    FlowStatus,
    Lifecycle,
    Reason,
    RunStatus,
)
from prefect_instances.libs.core.unit_of_work import Draft

STARVED_AFTER = 3
"""Number of successes in a row that end STALE before a flow's reason is ``Starved``."""


def succeed(
    draft: Draft,
    run_id: UUID,
    output: Output,
    policy: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    retry_id: UUID | None = None,
) -> None:
    """Record a success: publish or cut off, consume the pins, mark descendants, open gates.

    If the source is delayed, the policy may add a retry request with ``retry_id``. Raises
    Interrupted if the run is no longer the flow's running one; it publishes nothing then.
    """
    run, flow = _running(draft, run_id)
    _end_run(draft, run, RunStatus.COMPLETED, output_version=output.version_id or flow.version_id)
    _finish_claim(draft, run)
    _consume(draft, run)
    published = output.version_id is not None
    draft.flows[flow.id] = _after_success(flow, run, output)
    _settle(draft, flow.id, run, output)
    if draft.flows[flow.id].reason is Reason.SOURCE_DELAYED and retry_id is not None:
        _retry(draft, run, retry_id, policy)
    affected: set[UUID] = {flow.id}
    if published:
        _mark_descendants(draft, flow.id)
    elif draft.flows[flow.id].status is FlowStatus.READY:
        affected |= _revalidate(draft, flow.id)
    _evaluate_around(draft, affected)


def _after_success(flow: FlowState, run: Run, output: Output) -> FlowState:
    after = replace(
        flow,
        running=None,
        consumed_config_version=run.config_version,
        last_data_date=output.last_data_date or flow.last_data_date,
    )
    serves = output.serves_slot and not output.source_delayed
    if serves or flow.next_due_at is None:
        # A run without the data of its slot has not served it: the slot stays due.
        after = replace(
            after,
            next_due_at=output.next_due_at,
            due_deadline=output.due_deadline,
            breached=False,
        )
    if output.version_id is None:
        return after
    return replace(
        after,
        generation=flow.generation + 1,
        version_id=output.version_id,
        content_hash=output.content_hash,
    )


def _settle(draft: Draft, flow_id: UUID, run: Run, output: Output) -> None:
    """Set READY if the flow is current with all triggering upstreams and the configuration."""
    flow = draft.flows[flow_id]
    if flow.config_version != run.config_version:
        draft.set_status(flow_id, FlowStatus.STALE, Reason.CONFIG_CHANGED)
    elif not _current(draft, flow_id):
        count = flow.overtaken + _was_overtaken(draft, flow_id)
        draft.flows[flow_id] = replace(flow, overtaken=count)
        if count < STARVED_AFTER:
            draft.set_status(flow_id, FlowStatus.STALE, Reason.UPSTREAM_ADVANCED)
        else:
            detail = f"upstreams published again during each of the last {count} runs"
            draft.set_status(flow_id, FlowStatus.STALE, Reason.STARVED, detail)
    elif output.source_delayed:
        newest = output.last_data_date or "none"
        detail = f"the newest data are from {newest}; data from {output.expected_data_date} are due"
        draft.set_status(flow_id, FlowStatus.STALE, Reason.SOURCE_DELAYED, detail)
    elif flow.breached and not output.serves_slot:
        draft.set_status(flow_id, FlowStatus.STALE, Reason.PAST_DUE)
    else:
        _ready(draft, flow_id, Reason.RUN_SUCCEEDED)


def _ready(draft: Draft, flow_id: UUID, reason: Reason) -> None:
    flow = draft.flows[flow_id]
    draft.flows[flow_id] = replace(flow, overtaken=0, last_ready_at=draft.now, breached=False)
    draft.set_status(flow_id, FlowStatus.READY, reason)


def _current(draft: Draft, flow_id: UUID) -> bool:
    """Return True if every triggering upstream is READY at the generation that was consumed."""
    return all(
        draft.flows[edge.upstream].status is FlowStatus.READY
        and draft.flows[edge.upstream].generation == edge.consumed
        for edge in draft.upstream_edges(flow_id)
        if edge.triggers
    )


def _was_overtaken(draft: Draft, flow_id: UUID) -> bool:
    """Return True if an upstream advanced or is about to; a merely blocked one does not count."""
    moving = (FlowStatus.RUNNING, FlowStatus.STALE)
    upstreams = [(draft.flows[e.upstream], e) for e in draft.upstream_edges(flow_id) if e.triggers]
    return any(up.generation > edge.consumed or up.status in moving for up, edge in upstreams)


def _consume(draft: Draft, run: Run) -> None:
    for pin in run.pins:
        edge = draft.edges.get(pin.edge_id)
        if edge is not None and edge.consumed != pin.generation:
            draft.edges[edge.id] = replace(edge, consumed=pin.generation)


def _mark_descendants(draft: Draft, flow_id: UUID) -> None:
    """Set every READY transitive descendant over triggering edges to STALE.

    The walk continues through flows of any status, so that the far side of a diamond cannot look
    READY.
    """
    for descendant in _triggered_descendants(draft, flow_id):
        if draft.flows[descendant].status is FlowStatus.READY:
            draft.set_status(descendant, FlowStatus.STALE, Reason.UPSTREAM_ADVANCED)


def _triggered_descendants(draft: Draft, flow_id: UUID) -> list[UUID]:
    seen, order, queue = {flow_id}, [], deque([flow_id])
    while queue:
        for edge in draft.downstream_edges(queue.popleft()):
            if edge.triggers and edge.downstream not in seen:
                seen.add(edge.downstream)
                order.append(edge.downstream)
                queue.append(edge.downstream)
    return order


def _revalidate(draft: Draft, flow_id: UUID) -> set[UUID]:
    """Set READY again the descendants that read their upstreams' current output; return them."""
    reached = _triggered_descendants(draft, flow_id)
    pairs = [
        (e.upstream, e.downstream) for f in (flow_id, *reached) for e in draft.downstream_edges(f)
    ]
    lifted = set()
    for descendant in topological_order(reached, pairs):
        if _revalidates(draft, descendant):
            _ready(draft, descendant, Reason.REVALIDATED)
            lifted.add(descendant)
    return lifted


def _revalidates(draft: Draft, flow_id: UUID) -> bool:
    flow = draft.flows[flow_id]
    return (
        flow.status is FlowStatus.STALE
        and flow.reason in OVERTAKEN
        and flow.config_version == flow.consumed_config_version
        and _current(draft, flow_id)
    )


def _evaluate_around(draft: Draft, flow_ids: Iterable[UUID]) -> None:
    """Evaluate the gates of some flows and of their direct downstreams, each once."""
    around: dict[UUID, None] = {}
    for flow_id in flow_ids:
        around[flow_id] = None
        for edge in draft.downstream_edges(flow_id):
            around[edge.downstream] = None
    for flow_id in around:
        gate.evaluate(draft, flow_id)


def _running(draft: Draft, run_id: UUID) -> tuple[Run, FlowState]:
    run = draft.runs.get(run_id)
    flow = draft.flows[run.flow_id] if run else None
    if run is None or flow is None or flow.running != run_id or run.status is not RunStatus.RUNNING:
        raise Interrupted(
            "this run was declared dead or cancelled while it worked; it publishes nothing"
        )
    return run, flow


def _end_run(draft: Draft, run: Run, status: RunStatus, **fields: object) -> None:
    ended = replace(run, status=status, ended_at=draft.now, lease_until=None, **fields)  # type: ignore[arg-type]  # dataclasses.replace takes the fields of Run
    draft.runs[run.id] = ended


def _finish_claim(draft: Draft, run: Run) -> None:
    if run.opening_id is not None:
        draft.put_opening(replace(draft.openings[run.opening_id], status=OpeningStatus.DONE))
    if run.request_id is not None:
        draft.put_request(replace(draft.requests[run.request_id], status=RequestStatus.DONE))


_BAD_ENDS = {
    RunStatus.FAILED: Reason.RUN_FAILED,
    RunStatus.CRASHED: Reason.RUN_CRASHED,
    RunStatus.CANCELLED: Reason.RUN_CANCELLED,
}


def end_badly(draft: Draft, end: BadEnd, policy: RetryPolicy) -> None:
    """Record a failure, crash or cancellation; output and consumed inputs do not change.

    Raises Interrupted if the run is not RUNNING, or was judged by a lease and may be alive.
    """
    run, flow = _running(draft, end.run_id)
    if end.judged_at and not is_still_silent(run.lease_until, end.judged_at, draft.now):
        raise Interrupted(f"run {run.id} may be alive; the next sweep looks again")
    _end_run(draft, run, end.status, error=end.error)
    draft.flows[flow.id] = replace(flow, running=None)
    draft.set_status(flow.id, FlowStatus.ERROR, _BAD_ENDS[end.status], end.error)
    opening = draft.openings[run.opening_id] if run.opening_id else None
    if end.status is RunStatus.CRASHED and opening is not None and opening.crashes < policy.crashed:
        _release(draft, run, opening, policy)
    else:
        _finish_claim(draft, run)
        if end.status is RunStatus.FAILED:
            _retry(draft, run, end.retry_id, policy)
    _evaluate_around(draft, [flow.id])


def _release(draft: Draft, run: Run, opening: Opening, policy: RetryPolicy) -> None:
    """Release the claim of a crashed run; each crash doubles the pause before the next attempt.

    Requests made before the crash wait for the same pause; later ones do not.
    """
    resumes = draft.now + policy.crashed_delay * 2**opening.crashes
    draft.put_opening(
        replace(
            opening,
            status=OpeningStatus.WAITING,
            claimed_by=None,
            crashes=opening.crashes + 1,
            not_before=resumes,
        )
    )
    request = draft.requests[run.request_id] if run.request_id else None
    newer = draft.pending_request(run.flow_id) if request is None else _merge_into_newer(draft, run)
    if newer is not None:
        draft.put_request(replace(newer, not_before=max(newer.not_before, resumes)))
        if request is not None:
            draft.put_request(replace(request, status=RequestStatus.DONE))
    elif request is not None:
        again = replace(request, status=RequestStatus.PENDING, claimed_by=None)
        draft.put_request(replace(again, not_before=resumes))


def _merge_into_newer(draft: Draft, run: Run) -> Request | None:
    """Merge the run's parameters into a request made while it ran; return it, or None."""
    newer = draft.pending_request(run.flow_id)
    if newer is None:
        return None
    both = replace(newer, parameters=run.parameters.merged(newer.parameters))
    draft.put_request(both)
    record_merge(draft, both, run.parameters, newer.parameters)
    return both


def _retry(draft: Draft, run: Run, retry_id: UUID, policy: RetryPolicy) -> None:
    """Request the run again after a pause, if the policy has a retry left."""
    if run.retries >= policy.failed or _merge_into_newer(draft, run) is not None:
        return
    draft.put_request(
        Request(
            id=retry_id,
            flow_id=run.flow_id,
            cause=Cause.RETRY,
            parameters=run.parameters,
            created_at=draft.now,
            not_before=draft.now + policy.failed_delay,
            retries=run.retries + 1,
        )
    )


def mark_reconfigured(draft: Draft, flow_id: UUID, config_version: int) -> None:
    """Record a configuration change that affects the output of a flow.

    A READY or STALE flow becomes STALE / ConfigChanged. If it has published, its READY descendants
    become STALE.
    """
    flow = replace(draft.flows[flow_id], config_version=config_version)
    draft.flows[flow_id] = flow
    if flow.status in (FlowStatus.READY, FlowStatus.STALE):
        draft.set_status(flow_id, FlowStatus.STALE, Reason.CONFIG_CHANGED)
    if flow.generation > 0:
        _mark_descendants(draft, flow_id)
    gate.evaluate(draft, flow_id)


def reconsider(draft: Draft, flow_ids: Iterable[UUID]) -> None:
    """Set each flow's status after its incoming edges changed; ``flow_ids`` has upstreams first."""
    affected = set(flow_ids)
    for flow_id in flow_ids:
        if draft.flows[flow_id].status is FlowStatus.READY and not _current(draft, flow_id):
            draft.set_status(flow_id, FlowStatus.STALE, Reason.UPSTREAM_ADVANCED)
            _mark_descendants(draft, flow_id)
        elif _revalidates(draft, flow_id):
            _ready(draft, flow_id, Reason.REVALIDATED)
            affected |= {flow_id} | _revalidate(draft, flow_id)
    _evaluate_around(draft, affected)


def set_lifecycle(draft: Draft, instance_id: UUID, lifecycle: Lifecycle) -> None:
    """Set an instance's lifecycle state and evaluate its gates, which open if it is ACTIVE.

    The activation of a new instance is the first fact about its flows: they have no output yet.
    """
    before = draft.instances[instance_id]
    new = before.lifecycle not in (Lifecycle.ACTIVE, Lifecycle.PAUSED)
    draft.instances[instance_id] = replace(before, lifecycle=lifecycle)
    for flow in list(draft.flows.values()):
        if flow.instance_id == instance_id:
            if new and flow.status is FlowStatus.NOT_INITIALIZED:
                draft.facts.append((ids.flow_event(flow.status), flow.id, {"old_status": None}))
            gate.evaluate(draft, flow.id)


def mark_past_due(draft: Draft, requests: Iterable[Request]) -> None:
    """Record missed deadlines: one event for each flow; READY flows become STALE with a request.

    Flows of a paused instance are skipped; they are past due once it is resumed.
    """
    asked = []
    for request in requests:
        flow = draft.flows[request.flow_id]
        if flow.breached or not draft.is_active(flow):
            continue
        draft.flows[flow.id] = replace(flow, breached=True)
        if flow.status is FlowStatus.READY:
            draft.set_status(request.flow_id, FlowStatus.STALE, Reason.PAST_DUE)
            asked.append(request)
    # Only after all are marked: an upstream that is late too keeps the gates below it closed.
    for request in asked:
        request_run(draft, request)


def detect_drift(
    draft: Draft, monitoring_id: UUID, report: Mapping[str, object], retrain: Request | None
) -> None:
    """Record that monitoring found drift; ``retrain`` requests the training.

    A READY training becomes STALE / DriftDetected; its output stays in use, so its descendants keep
    their status. A training that is running runs again afterwards.
    """
    draft.facts.append((ids.DRIFT_DETECTED, monitoring_id, report))
    if retrain is None:
        return
    if draft.flows[retrain.flow_id].status is FlowStatus.READY:
        draft.set_status(retrain.flow_id, FlowStatus.STALE, Reason.DRIFT_DETECTED)
    request_run(draft, retrain)


def announce_again(draft: Draft, opening_id: UUID) -> None:
    """Announce an opening again whose run died before it could claim."""
    opening = draft.openings[opening_id]
    if opening.status is OpeningStatus.OPEN:
        gate.announce(draft, opening)
