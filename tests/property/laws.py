"""What must hold in every state and over every transaction, whatever happened before.

Each law is a function that raises AssertionError with what it found; ``check_state`` and
``check_transaction`` apply them all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from uuid import UUID

from prefect_instances.libs.core import gate, ids
from prefect_instances.libs.core.aggregation import aggregate
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.records import (
    UNCLAIMED,
    Opening,
    OpeningStatus,
    Region,
    Request,
    RequestStatus,
    Run,
    RunParameters,
)
from prefect_instances.libs.core.status import OVERTAKEN, FlowStatus, Mode, Reason, RunStatus
from prefect_instances.libs.core.unit_of_work import Draft
from tests.property.backend import EPOCH, live

STALE_REASONS = frozenset(
    {
        Reason.UPSTREAM_ADVANCED,
        Reason.STARVED,
        Reason.CONFIG_CHANGED,
        Reason.PAST_DUE,
        Reason.SOURCE_DELAYED,
        Reason.DRIFT_DETECTED,
    }
)
REASONS_OF = {
    FlowStatus.NOT_INITIALIZED: frozenset({Reason.NEVER_RAN}),
    FlowStatus.RUNNING: frozenset({Reason.RUN_STARTED}),
    FlowStatus.READY: frozenset({Reason.RUN_SUCCEEDED, Reason.REVALIDATED}),
    FlowStatus.STALE: STALE_REASONS,
    FlowStatus.ERROR: frozenset({Reason.RUN_FAILED, Reason.RUN_CRASHED, Reason.RUN_CANCELLED}),
}


def check_state(state: Region, now: datetime) -> None:
    """Everything that holds at rest between two transactions."""
    reasons_fit_statuses(state)
    one_run_a_flow(state)
    one_waiting_a_flow(state)
    aggregates_are_current(state)
    ready_means_current(state)
    overtaken_means_not_current(state)
    no_gate_was_overlooked(state, now)


def check_transaction(before: Region, after: Region, events: list[Event]) -> None:
    """Everything that holds between a state and the next one."""
    generations_grow_by_one(before, after)
    nothing_is_unconsumed(before, after)
    since_moves_with_status(before, after)
    ended_stays_ended(before, after)
    claims_end_with_runs(before, after)
    openings_are_justified(before, after)
    events_tell_the_changes(before, after, events)


def reasons_fit_statuses(state: Region) -> None:
    """A status has one of its own reasons, and a flow without output is never READY or STALE."""
    for flow in state.flows.values():
        assert flow.reason in REASONS_OF[flow.status], f"{flow.status} because {flow.reason}"
        if flow.status in (FlowStatus.READY, FlowStatus.STALE):
            assert flow.generation > 0, f"{flow.id} is {flow.status} without output"
        if flow.status is FlowStatus.NOT_INITIALIZED:
            assert flow.generation == 0, f"{flow.id} has output but is not initialized"
        assert (flow.generation > 0) == (flow.version_id is not None), "output without version"


def one_run_a_flow(state: Region) -> None:
    """At most one run of a flow is running; it is the one that the flow names."""
    running = Counter(r.flow_id for r in state.runs.values() if r.status is RunStatus.RUNNING)
    for flow in state.flows.values():
        is_running = flow.status is FlowStatus.RUNNING
        assert running[flow.id] == int(is_running), f"{running[flow.id]} runs, {flow.status}"
        assert (flow.running is not None) == is_running, f"{flow.status} with run {flow.running}"
        if flow.running is not None:
            run = state.runs[flow.running]
            assert (run.status, run.flow_id) == (RunStatus.RUNNING, flow.id)


def one_waiting_a_flow(state: Region) -> None:
    """At most one unclaimed opening and one pending request a flow; cause keys are unique."""
    unclaimed = Counter(o.flow_id for o in state.openings.values() if o.status in UNCLAIMED)
    pending = Counter(
        r.flow_id for r in state.requests.values() if r.status is RequestStatus.PENDING
    )
    keys = Counter((o.flow_id, o.cause_key) for o in state.openings.values())
    assert max(unclaimed.values(), default=0) <= 1, "two unclaimed openings of one flow"
    assert max(pending.values(), default=0) <= 1, "two pending requests of one flow"
    assert max(keys.values(), default=0) <= 1, "one cause was opened twice"
    for opening in state.openings.values():
        if opening.status is OpeningStatus.CLAIMED:
            assert state.flows[opening.flow_id].running == opening.claimed_by, "claim without run"


def aggregates_are_current(state: Region) -> None:
    """Every instance has the aggregate of its flows' statuses."""
    statuses = defaultdict(list)
    for flow in state.flows.values():
        statuses[flow.instance_id].append(flow.status)
    for instance in state.instances.values():
        expected = aggregate(statuses[instance.id], instance.contract)
        assert instance.status is expected, f"{instance.name}: {instance.status}, not {expected}"


def ready_means_current(state: Region) -> None:
    """READY: this flow and all its triggering ancestors consumed what is published now."""
    incoming = defaultdict(list)
    for edge in state.edges.values():
        if edge.triggers:
            incoming[edge.downstream].append(edge)
    checked: set[UUID] = set()
    queue = [flow.id for flow in state.flows.values() if flow.status is FlowStatus.READY]
    while queue:
        flow = state.flows[queue.pop()]
        if flow.id in checked:
            continue
        checked.add(flow.id)
        assert flow.config_version == flow.consumed_config_version, "READY on an old configuration"
        for edge in incoming[flow.id]:
            newest = state.flows[edge.upstream].generation
            assert edge.consumed == newest, f"READY on {edge.consumed}, upstream is at {newest}"
            queue.append(edge.upstream)


def overtaken_means_not_current(state: Region) -> None:
    """A flow that is STALE for its upstreams alone has one that is newer, or not READY."""
    for flow in state.flows.values():
        if flow.reason not in OVERTAKEN or flow.config_version != flow.consumed_config_version:
            continue
        edges = [e for e in state.edges.values() if e.downstream == flow.id and e.triggers]
        upstreams = [(state.flows[edge.upstream], edge.consumed) for edge in edges]
        assert any(
            upstream.status is not FlowStatus.READY or upstream.generation != consumed
            for upstream, consumed in upstreams
        ), f"{flow.id} is {flow.reason} although it is current"


def no_gate_was_overlooked(state: Region, now: datetime) -> None:
    """Evaluating every gate of the graph once more changes nothing."""
    draft = Draft(live(state), now)
    for flow_id in state.flows:
        gate.evaluate(draft, flow_id)
    changes = draft.changes()
    assert not changes.openings, f"a gate should have been evaluated: {changes.openings}"
    assert not changes.flows, f"a gate should have been evaluated: {changes.flows}"


def generations_grow_by_one(before: Region, after: Region) -> None:
    """A transaction publishes at most one output a flow and takes none back."""
    for flow in after.flows.values():
        grown = flow.generation - before.flows[flow.id].generation
        assert grown in (0, 1), f"generation went by {grown}"
        new_version = flow.version_id != before.flows[flow.id].version_id
        assert new_version == bool(grown), "a version without a generation, or the reverse"


def nothing_is_unconsumed(before: Region, after: Region) -> None:
    """What an edge consumed never goes back, nor beyond what was published."""
    for edge in after.edges.values():
        assert before.edges[edge.id].consumed <= edge.consumed, "consumed went back"
        assert edge.consumed <= after.flows[edge.upstream].generation, "consumed the unpublished"


def since_moves_with_status(before: Region, after: Region) -> None:
    """``since`` is when status or reason last changed."""
    for flow in after.flows.values():
        old = before.flows[flow.id]
        changed = (old.status, old.reason) != (flow.status, flow.reason)
        assert changed == (old.since != flow.since), f"{old} became {flow}"


def ended_stays_ended(before: Region, after: Region) -> None:
    """Ended runs are immutable; what is done or superseded never comes back."""
    for run in before.runs.values():
        if run.status is not RunStatus.RUNNING:
            assert after.runs[run.id] == run, f"an ended run changed: {run}"
    for opening in before.openings.values():
        if opening.status in (OpeningStatus.DONE, OpeningStatus.SUPERSEDED):
            assert after.openings[opening.id] == opening, f"came back: {opening}"
    for request in before.requests.values():
        new = after.requests[request.id].status
        if request.status is RequestStatus.DONE:
            assert new is RequestStatus.DONE, f"came back: {request}"
        if request.status is RequestStatus.PENDING and not request.parameters.smart:
            assert new is not RequestStatus.DONE, f"a pending request was dropped: {request}"


def claims_end_with_runs(before: Region, after: Region) -> None:
    """What a run took is over when the run is, unless it failed by crashing: then it may wait."""
    for run in before.runs.values():
        ended = after.runs[run.id]
        if run.status is not RunStatus.RUNNING or ended.status is RunStatus.RUNNING:
            continue
        opening, request = _claim_of(after, run)
        released = opening is not None and opening.crashes > before.openings[opening.id].crashes
        assert opening is not None, "a run without an opening"
        assert opening.status is OpeningStatus.DONE or released, f"{ended.status}: {opening}"
        assert not released or ended.status is RunStatus.CRASHED, f"{ended.status} was released"
        assert released or request is None or request.status is RequestStatus.DONE, f"{request}"
    for opening in after.openings.values():
        assert opening.status not in UNCLAIMED or opening.claimed_by is None, f"{opening}"


def _claim_of(state: Region, run: Run) -> tuple[Opening | None, Request | None]:
    opening = state.openings[run.opening_id] if run.opening_id else None
    return opening, state.requests[run.request_id] if run.request_id else None


def openings_are_justified(before: Region, after: Region) -> None:
    """A gate opens only where it is open and due, for the inputs or the request that are there."""
    draft = Draft(live(after), EPOCH)
    for opening in after.openings.values():
        if opening.id in before.openings or opening.status not in UNCLAIMED:
            continue
        flow, request = after.flows[opening.flow_id], draft.pending_request(opening.flow_id)
        assert draft.is_active(flow), "a gate opened while paused"
        assert flow.status is not FlowStatus.RUNNING, "a gate opened beside a run"
        assert not gate.check_upstream_freshness(draft, flow.id, request), "a shut gate opened"
        if opening.request_id is not None:
            assert request is not None, "a gate opened for a request that is not pending"
            assert opening.cause_key == gate.request_key(request)
        else:
            vector = gate.input_vector(draft, flow.id)
            assert gate.due_by_input(draft, flow.id), "a gate opened for inputs that are not new"
            assert opening.vector == vector, "a gate opened for inputs of another time"
            assert opening.cause_key == gate.input_key(flow.config_version, vector)


def events_tell_the_changes(before: Region, after: Region, events: list[Event]) -> None:
    """One event for each change of status or reason and each announcement, and no other.

    Besides these, a merge of requests tells what gives way.
    """
    assert len({event.id for event in events}) == len(events), "two events of one id"
    told = Counter(
        (event.name, event.resource["prefect.resource.id"])
        for event in events
        if event.name != ids.REQUEST_MERGED
    )
    assert told == Counter([*_expected(before, after)]), f"told {told}"
    for event in events:
        if event.name == ids.GATE_OPENED:
            _names_its_deployment(after, event)


def _expected(before: Region, after: Region) -> Iterable[tuple[str, str]]:
    for flow in after.flows.values():
        old = before.flows[flow.id]
        if (old.status, old.reason) != (flow.status, flow.reason):
            yield ids.flow_event(flow.status), ids.flow_resource(flow.id)
        if flow.breached and not old.breached:
            yield ids.SLA_BREACHED, ids.flow_resource(flow.id)
    for instance in after.instances.values():
        if before.instances[instance.id].status is not instance.status:
            yield ids.STATUS_CHANGED, ids.instance_resource(instance.id)
    for opening in after.openings.values():
        known = before.openings.get(opening.id)
        announced = opening.attempt > (known.attempt if known else 0)
        if announced and opening.status in UNCLAIMED:
            yield ids.GATE_OPENED, ids.flow_resource(opening.flow_id)


def _names_its_deployment(state: Region, event: Event) -> None:
    flow_id = UUID(str(event.payload["flow_id"]))
    deployment = state.flows[flow_id].deployment_id
    involved = [event.resource, *event.related]
    first = next(
        labels["prefect.resource.id"]
        for labels in involved
        if labels["prefect.resource.id"].startswith("prefect.deployment.")
    )
    assert first == f"prefect.deployment.{deployment}", "the event would start another flow"
    assert event.related[0]["prefect.resource.id"] == first, "the deployment does not come first"


def fulfils(given: RunParameters, asked: RunParameters) -> bool:
    """Return True if a run with ``given`` does everything that ``asked`` demands.

    It is forced, full or recursive if ``asked`` is, reads at least as far, reads the same dates
    again, and is smart only if ``asked`` is.
    """
    reaches = given.as_of is None or (asked.as_of is not None and given.as_of >= asked.as_of)
    ends = given.end is None or (asked.end is not None and given.end >= asked.end)
    full = given.mode is Mode.FULL
    begins = full or (given.start is not None and given.start <= (asked.start or date.min))
    return (
        reaches
        and ends
        and (begins or asked.start is None)
        and (full or asked.mode is not Mode.FULL)
        and (given.force or not asked.force)
        and (given.recursive or not asked.recursive)
        and (asked.smart or not given.smart)
    )
