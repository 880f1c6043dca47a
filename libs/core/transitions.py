"""Every change of state but a start, each a pure function of a region: finish, reconfigure, ….

One call decides one transaction (see ``docs/decisions`` for why status is decided on stored state
and not on events). All functions take a ``Draft`` and leave the decision in it.
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
from prefect_instances.libs.core.records import (
    FlowState,
    Opening,
    OpeningStatus,
    Request,
    RequestStatus,
    Run,
)
from prefect_instances.libs.core.requests import ask, tell_merged
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
"""Successes in a row that end STALE before a flow is called ``Starved``."""


def succeed(
    draft: Draft,
    run_id: UUID,
    output: Output,
    policy: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    retry_id: UUID | None = None,
) -> None:
    """Record a success: publish (or cut off), consume the pins, mark descendants, open gates.

    A source that is delayed is asked again as the policy says, by a request with ``retry_id``.
    Raises Interrupted where the run is not the running one any more: it publishes nothing.
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
        # Without the data of its slot a run has not served it: what was due still is.
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
    """READY iff current with every triggering upstream and with the configuration."""
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
    """True where every triggering upstream is READY at the generation that was consumed."""
    return all(
        draft.flows[edge.upstream].status is FlowStatus.READY
        and draft.flows[edge.upstream].generation == edge.consumed
        for edge in draft.upstream_edges(flow_id)
        if edge.triggers
    )


def _was_overtaken(draft: Draft, flow_id: UUID) -> bool:
    """True where an upstream moved on; one that is merely blocked overtakes nobody."""
    moving = (FlowStatus.RUNNING, FlowStatus.STALE)
    upstreams = [(draft.flows[e.upstream], e) for e in draft.upstream_edges(flow_id) if e.triggers]
    return any(up.generation > edge.consumed or up.status in moving for up, edge in upstreams)


def _consume(draft: Draft, run: Run) -> None:
    for pin in run.pins:
        edge = draft.edges.get(pin.edge_id)
        if edge is not None and edge.consumed != pin.generation:
            draft.edges[edge.id] = replace(edge, consumed=pin.generation)


def _mark_descendants(draft: Draft, flow_id: UUID) -> None:
    """Every READY transitive descendant over triggering edges becomes STALE, in this transaction.

    The walk goes on through flows of any status, so that a diamond's far side cannot look READY.
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
    """Lift ``UpstreamAdvanced`` where upstream equals what was read; returns who was lifted."""
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
    """Record a failure, crash or cancellation: output and consumed inputs stay as they were."""
    run, flow = _running(draft, end.run_id)
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
    """Give the claim of a dead run back, to be taken again after a pause that doubles each time.

    What was asked before the crash waits for the same pause; what is asked after it need not.
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
    newer = draft.pending_request(run.flow_id) if request is None else _left_to_newer(draft, run)
    if newer is not None:
        draft.put_request(replace(newer, not_before=max(newer.not_before, resumes)))
        if request is not None:
            draft.put_request(replace(request, status=RequestStatus.DONE))
    elif request is not None:
        again = replace(request, status=RequestStatus.PENDING, claimed_by=None)
        draft.put_request(replace(again, not_before=resumes))


def _left_to_newer(draft: Draft, run: Run) -> Request | None:
    """What was asked during the run, if anything: it is newer, and does the run's work too."""
    newer = draft.pending_request(run.flow_id)
    if newer is None:
        return None
    both = replace(newer, parameters=run.parameters.merged(newer.parameters))
    draft.put_request(both)
    tell_merged(draft, both, run.parameters, newer.parameters)
    return both


def _retry(draft: Draft, run: Run, retry_id: UUID, policy: RetryPolicy) -> None:
    """Ask for the run once more after a pause, if the policy has a retry left."""
    if run.retries >= policy.failed or _left_to_newer(draft, run) is not None:
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


def reconfigure(draft: Draft, flow_id: UUID, config_version: int) -> None:
    """A configuration that affects the output changed: STALE / ConfigChanged, descendants STALE."""
    flow = replace(draft.flows[flow_id], config_version=config_version)
    draft.flows[flow_id] = flow
    if flow.status in (FlowStatus.READY, FlowStatus.STALE):
        draft.set_status(flow_id, FlowStatus.STALE, Reason.CONFIG_CHANGED)
    if flow.generation > 0:
        _mark_descendants(draft, flow_id)
    gate.evaluate(draft, flow_id)


def reconsider(draft: Draft, flow_ids: Iterable[UUID]) -> None:
    """Edges into flows changed, upstreams first: each is READY only where it is current."""
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
    """Provisioned, paused or resumed: an instance that becomes ACTIVE has its gates evaluated."""
    draft.instances[instance_id] = replace(draft.instances[instance_id], lifecycle=lifecycle)
    for flow in list(draft.flows.values()):
        if flow.instance_id == instance_id:
            gate.evaluate(draft, flow.id)


def mark_past_due(draft: Draft, requests: Iterable[Request]) -> None:
    """Flows whose deadline passed: each is told of once, READY ones become STALE and are asked.

    Those of a paused instance are left alone; once it is resumed they are late.
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
    # Not before all are marked: one that is late too keeps the gates below it shut.
    for request in asked:
        ask(draft, request)


def detect_drift(
    draft: Draft, monitoring_id: UUID, report: Mapping[str, object], retrain: Request | None
) -> None:
    """Say that monitoring found drift; with ``retrain`` the flow that it names is due by it.

    A READY training becomes STALE / DriftDetected; its output stays in use, so its descendants
    stay as they are. One that runs already is run again after it.
    """
    draft.facts.append((ids.DRIFT_DETECTED, monitoring_id, report))
    if retrain is None:
        return
    if draft.flows[retrain.flow_id].status is FlowStatus.READY:
        draft.set_status(retrain.flow_id, FlowStatus.STALE, Reason.DRIFT_DETECTED)
    ask(draft, retrain)


def announce_again(draft: Draft, opening_id: UUID) -> None:
    """Announce an opening whose run died before it could claim."""
    opening = draft.openings[opening_id]
    if opening.status is OpeningStatus.OPEN:
        gate.announce(draft, opening)
