"""The start of a run: claim an opening, check the gate, pin the inputs, set RUNNING.

A pure function of a region, like the other changes of state in ``transitions``.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from prefect_instances.libs.core import gate, recursion, transitions
from prefect_instances.libs.core.commands import (
    AskedAgain,
    BadEnd,
    Blocked,
    RetryPolicy,
    Skipped,
    Start,
    StartCommand,
    Started,
    Unusable,
)
from prefect_instances.libs.core.records import (
    FlowState,
    Opening,
    OpeningStatus,
    Pin,
    Request,
    RequestStatus,
    Run,
    RunParameters,
)
from prefect_instances.libs.core.requests import request_run, store_request
from prefect_instances.libs.core.status import Cause, FlowStatus, Reason, RunStatus
from prefect_instances.libs.core.unit_of_work import Draft


def start(draft: Draft, command: StartCommand) -> Start:
    """Claim, check the gate, pin the inputs and set RUNNING; otherwise return why not."""
    known = _run_of(draft, command.prefect_flow_run_id)
    if known is not None:
        return _resume(draft, known, command)
    replaced: list[str] = []
    if command.request is not None:
        replaced = store_request(draft, command.request)
        recursion.propagate(draft, command.request)
    flow = draft.flows[command.flow_id]
    opening = _claimable(draft, command)
    request = draft.pending_request(flow.id)
    refusal = _refusal(draft, flow, opening, command)
    if refusal is not None:
        return Skipped("; ".join([refusal.why, *replaced]))
    blocking = gate.check_upstream_freshness(draft, flow.id, request)
    if blocking:
        _hand_back(draft, opening)
        return Blocked(blocking)
    if command.unusable:
        _refuse(draft, flow, request, command.unusable)
        return Unusable(command.unusable)
    return Started(_begin(draft, flow, opening, request, command))


def end_unstarted(
    draft: Draft, command: StartCommand, status: RunStatus, error: str, retry_id: UUID
) -> bool:
    """Claim an opening for a flow run that ended badly before it could, and end that run.

    Returns False, and leaves the opening, if nothing can be claimed or the gate has closed.
    """
    opening = draft.openings.get(command.opening_id) if command.opening_id else None
    if opening is None or opening.status is not OpeningStatus.OPEN:
        return False
    if not isinstance(start(draft, command), Started):
        return False
    policy = RetryPolicy(failed=0, crashed=0)
    transitions.end_badly(draft, BadEnd(command.run_id, status, error, retry_id), policy)
    return True


def _refusal(
    draft: Draft, flow: FlowState, opening: Opening | None, command: StartCommand
) -> Skipped | None:
    """Return why this flow run has nothing to do, whatever its upstreams are; None if it has."""
    if not draft.is_active(flow):
        _hand_back(draft, opening)
        return Skipped(f"the instance is {draft.instance_of(flow).lifecycle}")
    if opening is None and command.request is None:
        return Skipped("another run has served this opening, or a newer opening has replaced it")
    if command.request is None and opening is not None and opening.not_before > draft.now:
        begins = opening.not_before.isoformat(timespec="seconds")
        return Skipped(f"it is too early: the run starts at {begins}")
    if flow.status is FlowStatus.RUNNING:
        return Skipped("another run of this flow is in progress; the request runs after it")
    dropped = gate.close_satisfied(draft, flow.id)
    if draft.pending_request(flow.id) is None and not gate.due_by_input(draft, flow.id):
        _close(draft, opening)
        fresh = gate.explain_fresh(draft, flow.id) if dropped else ""
        return Skipped(fresh or "the output is current with its inputs")
    return None


def _run_of(draft: Draft, prefect_flow_run_id: UUID) -> Run | None:
    return next(
        (r for r in draft.runs.values() if r.prefect_flow_run_id == prefect_flow_run_id), None
    )


def _resume(draft: Draft, run: Run, command: StartCommand) -> Start:
    """Handle a repeated start of the same Prefect flow run.

    An in-process retry keeps its claim. A run that ended badly stays so on record; if somebody
    retries its flow run in Prefect, a new request with the same parameters is made.
    """
    if run.status is RunStatus.RUNNING and draft.flows[run.flow_id].running == run.id:
        held = replace(run, lease_until=command.lease_until)
        draft.runs[run.id] = held
        return Started(held)
    if run.status is RunStatus.COMPLETED:
        return Skipped(f"this flow run has already ended ({run.status})")
    request = Request(
        id=command.run_id,
        flow_id=run.flow_id,
        cause=Cause.MANUAL,
        # Its ancestors got their requests with the first one; they are not in this region.
        parameters=replace(run.parameters, recursive=False),
        created_at=draft.now,
        not_before=draft.now,
    )
    request_run(draft, request)
    return AskedAgain(f"this flow run stays {run.status}; a new run of the flow is requested")


def _claimable(draft: Draft, command: StartCommand) -> Opening | None:
    """Return the opening to claim: the named one, or its replacement; None if none is unclaimed."""
    unclaimed = draft.unclaimed(command.flow_id)
    named = next((o for o in unclaimed if o.id == command.opening_id), None)
    newest = max(unclaimed, key=lambda o: o.opened_at, default=None)
    return named or newest


def _hand_back(draft: Draft, opening: Opening | None) -> None:
    if opening is not None:
        draft.put_opening(replace(opening, status=OpeningStatus.WAITING))


def _close(draft: Draft, opening: Opening | None) -> None:
    if opening is not None:
        draft.put_opening(replace(opening, status=OpeningStatus.DONE))


def _refuse(draft: Draft, flow: FlowState, request: Request | None, why: str) -> None:
    """Set the flow to ERROR without starting a run; close its request and do not retry."""
    for opening in draft.unclaimed(flow.id):
        draft.put_opening(replace(opening, status=OpeningStatus.DONE))
    if request is not None:
        draft.put_request(replace(request, status=RequestStatus.DONE))
    key = gate.input_key(flow.config_version, gate.input_vector(draft, flow.id))
    draft.flows[flow.id] = replace(flow, opened_key=key)
    draft.set_status(flow.id, FlowStatus.ERROR, Reason.DEFINITION_UNAVAILABLE, why)
    for edge in draft.downstream_edges(flow.id):
        gate.evaluate(draft, edge.downstream)


def _begin(
    draft: Draft,
    flow: FlowState,
    opening: Opening | None,
    request: Request | None,
    command: StartCommand,
) -> Run:
    vector = gate.input_vector(draft, flow.id)
    cause = _cause(draft, flow, request, command)
    claimed = _claim(draft, flow, opening, request, command.run_id)
    run = Run(
        id=command.run_id,
        flow_id=flow.id,
        prefect_flow_run_id=command.prefect_flow_run_id,
        status=RunStatus.RUNNING,
        cause=cause,
        config_version=flow.config_version,
        started_at=draft.now,
        pins=_pins(draft, flow.id),
        parameters=request.parameters if request else RunParameters(),
        opening_id=claimed.id,
        request_id=request.id if request else None,
        retries=request.retries if request else 0,
        lease_until=command.lease_until,
    )
    draft.runs[run.id] = run
    # Whatever caused this run, it reads these inputs: the gate need not open for them again.
    key = gate.input_key(flow.config_version, vector)
    draft.flows[flow.id] = replace(flow, running=run.id, last_run_id=run.id, opened_key=key)
    draft.set_status(flow.id, FlowStatus.RUNNING, Reason.RUN_STARTED)
    return run


def _cause(draft: Draft, flow: FlowState, request: Request | None, command: StartCommand) -> Cause:
    """Return what caused a run: newer inputs, a new configuration alone, or the request."""
    if request is not None and not _by_gate(draft, flow, request, command):
        return request.cause
    changed = gate.has_newer_configuration(draft, flow.id)
    return Cause.CONFIG if changed and not gate.has_newer_inputs(draft, flow.id) else Cause.GATE


def _by_gate(draft: Draft, flow: FlowState, request: Request | None, command: StartCommand) -> bool:
    """Return True if the gate caused this run, and not a person or a schedule."""
    if request is not None and (request.parameters.force or command.opening_id is None):
        return False
    return gate.due_by_input(draft, flow.id)


def _claim(
    draft: Draft, flow: FlowState, opening: Opening | None, request: Request | None, run_id: UUID
) -> Opening:
    """Claim the opening, or a new one for the request, and supersede all other unclaimed ones."""
    for other in draft.unclaimed(flow.id):
        if opening is None or other.id != opening.id:
            draft.put_opening(replace(other, status=OpeningStatus.SUPERSEDED))
    if opening is None:
        assert request is not None
        opening = gate.opening_for(draft, flow, gate.request_key(request), request)
    claimed = replace(opening, status=OpeningStatus.CLAIMED, claimed_by=run_id)
    draft.put_opening(claimed)
    if request is not None:
        draft.put_request(replace(request, status=RequestStatus.CLAIMED, claimed_by=run_id))
    return claimed


def _pins(draft: Draft, flow_id: UUID) -> tuple[Pin, ...]:
    pins = []
    for edge in draft.upstream_edges(flow_id):
        upstream = draft.flows[edge.upstream]
        pins.append(Pin(edge.id, upstream.id, edge.role, upstream.generation, upstream.version_id))
    return tuple(pins)
