"""Plausible mistakes in the core: each breaks one rule, and the state machine must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from prefect_instances.libs.core import gate, starting, transitions
from prefect_instances.libs.core import requests as asking
from prefect_instances.libs.core.records import OpeningStatus, RequestStatus
from prefect_instances.libs.core.status import FlowStatus, Reason
from prefect_instances.libs.core.unit_of_work import Draft

Mutant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Mutant] = {}


def mutant(apply: Mutant) -> Mutant:
    """Register a mistake under its function's name."""
    MUTANTS[apply.__name__] = apply
    return apply


def _in_start(patch: pytest.MonkeyPatch, **changed: Any) -> None:
    """Replace functions of the gate as a start sees them; the gate's own calls are unchanged."""
    names = {name: getattr(gate, name) for name in dir(gate) if not name.startswith("__")}
    patch.setattr(starting, "gate", SimpleNamespace(**{**names, **changed}))


@mutant
def descendants_are_not_marked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions, "_mark_descendants", lambda draft, flow_id: None)


@mutant
def only_direct_downstreams_are_marked(patch: pytest.MonkeyPatch) -> None:
    def direct(draft: Draft, flow_id: UUID) -> list[UUID]:
        return [e.downstream for e in draft.downstream_edges(flow_id) if e.triggers]

    patch.setattr(transitions, "_triggered_descendants", direct)


@mutant
def the_walk_ends_at_flows_that_are_not_ready(patch: pytest.MonkeyPatch) -> None:
    def walk(draft: Draft, flow_id: UUID) -> None:
        for edge in draft.downstream_edges(flow_id):
            if edge.triggers and draft.flows[edge.downstream].status is FlowStatus.READY:
                draft.set_status(edge.downstream, FlowStatus.STALE, Reason.UPSTREAM_ADVANCED)
                walk(draft, edge.downstream)

    patch.setattr(transitions, "_mark_descendants", walk)


@mutant
def errors_are_marked_stale_too(patch: pytest.MonkeyPatch) -> None:
    def mark(draft: Draft, flow_id: UUID) -> None:
        for descendant in transitions._triggered_descendants(draft, flow_id):
            if draft.flows[descendant].status in (FlowStatus.READY, FlowStatus.ERROR):
                draft.set_status(descendant, FlowStatus.STALE, Reason.UPSTREAM_ADVANCED)

    patch.setattr(transitions, "_mark_descendants", mark)


@mutant
def the_gate_is_not_checked_at_start(patch: pytest.MonkeyPatch) -> None:
    _in_start(patch, check_upstream_freshness=lambda draft, flow_id, request: ())


@mutant
def nothing_is_superseded(patch: pytest.MonkeyPatch) -> None:
    def open_(draft: Draft, flow: Any, key: str, *, request: Any, vector: Any = None) -> None:
        if not any(o.cause_key == key for o in draft.unclaimed(flow.id)):
            made = gate.opening_for(draft, flow, key, request, vector)
            draft.put_opening(made, announce=True)

    patch.setattr(gate, "_open", open_)


@mutant
def a_start_absorbs_nothing(patch: pytest.MonkeyPatch) -> None:
    original = starting._claim

    def claim(draft: Draft, flow: Any, opening: Any, request: Any, run_id: UUID) -> Any:
        kept = opening is not None and opening.request_id is None
        return original(draft, flow, opening, None if kept else request, run_id)

    patch.setattr(starting, "_claim", claim)


@mutant
def a_cut_off_revalidates_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions, "_revalidate", lambda draft, flow_id: set())


@mutant
def a_cut_off_revalidates_only_the_next(patch: pytest.MonkeyPatch) -> None:
    def direct(draft: Draft, flow_id: UUID) -> set[UUID]:
        near = {e.downstream for e in draft.downstream_edges(flow_id) if e.triggers}
        lifted = {flow for flow in near if transitions._revalidates(draft, flow)}
        for flow in lifted:
            transitions._ready(draft, flow, Reason.REVALIDATED)
        return lifted

    patch.setattr(transitions, "_revalidate", direct)


@mutant
def the_revalidated_open_no_gates(patch: pytest.MonkeyPatch) -> None:
    original = transitions._revalidate

    def silent(draft: Draft, flow_id: UUID) -> set[UUID]:
        original(draft, flow_id)
        return set()

    patch.setattr(transitions, "_revalidate", silent)


@mutant
def a_changed_configuration_is_revalidated(patch: pytest.MonkeyPatch) -> None:
    def revalidates(draft: Draft, flow_id: UUID) -> bool:
        flow = draft.flows[flow_id]
        return flow.status is FlowStatus.STALE and transitions._current(draft, flow_id)

    patch.setattr(transitions, "_revalidates", revalidates)


@mutant
def every_success_is_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions, "_current", lambda draft, flow_id: True)


@mutant
def ready_looks_at_generations_only(patch: pytest.MonkeyPatch) -> None:
    def current(draft: Draft, flow_id: UUID) -> bool:
        edges = [edge for edge in draft.upstream_edges(flow_id) if edge.triggers]
        return all(draft.flows[edge.upstream].generation == edge.consumed for edge in edges)

    patch.setattr(transitions, "_current", current)


@mutant
def the_newest_generation_is_consumed_instead_of_the_pinned(patch: pytest.MonkeyPatch) -> None:
    def consume(draft: Draft, run: Any) -> None:
        for pin in run.pins:
            newest = draft.flows[pin.upstream].generation
            draft.edges[pin.edge_id] = replace(draft.edges[pin.edge_id], consumed=newest)

    patch.setattr(transitions, "_consume", consume)


@mutant
def only_the_own_gate_is_evaluated(patch: pytest.MonkeyPatch) -> None:
    def own(draft: Draft, flow_ids: Any) -> None:
        for flow_id in flow_ids:
            gate.evaluate(draft, flow_id)

    patch.setattr(transitions, "_evaluate_around", own)


@mutant
def zombies_publish(patch: pytest.MonkeyPatch) -> None:
    def running(draft: Draft, run_id: UUID) -> Any:
        run = next(r for r in draft.runs.values() if r.id == run_id)
        return run, draft.flows[run.flow_id]

    patch.setattr(transitions, "_running", running)
    patch.setattr("tests.property.backend.live", lambda state, prefect_id=None: state)


@mutant
def a_crash_forgets_the_request(patch: pytest.MonkeyPatch) -> None:
    original = transitions._release

    def release(draft: Draft, run: Any, opening: Any, policy: Any) -> None:
        original(draft, run, opening, policy)
        if run.request_id is not None:
            request = draft.requests[run.request_id]
            draft.put_request(replace(request, status=RequestStatus.DONE))

    patch.setattr(transitions, "_release", release)


@mutant
def a_crash_keeps_the_claim(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions, "_release", lambda draft, run, opening, policy: None)


@mutant
def a_retry_overrules_what_was_asked_meanwhile(patch: pytest.MonkeyPatch) -> None:
    original = transitions._retry

    def retry(draft: Draft, run: Any, end: Any, policy: Any) -> None:
        pending = draft.pending_request(run.flow_id)
        if pending is None:
            original(draft, run, end, policy)
        else:
            draft.put_request(replace(pending, parameters=run.parameters))

    patch.setattr(transitions, "_retry", retry)


@mutant
def the_newest_request_replaces_a_full_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "prefect_instances.libs.core.records.RunParameters.merged",
        lambda self, newer: newer,
        raising=True,
    )


@mutant
def a_blocked_request_is_dropped(patch: pytest.MonkeyPatch) -> None:
    original = starting.start

    def start(draft: Draft, command: Any) -> Any:
        answer = original(draft, command)
        request = draft.pending_request(command.flow_id)
        if isinstance(answer, starting.Blocked) and request is not None:
            draft.put_request(replace(request, status=RequestStatus.DONE))
        return answer

    patch.setattr(starting, "start", start)


@mutant
def a_second_run_may_start(patch: pytest.MonkeyPatch) -> None:
    original = starting._refusal

    def refusal(draft: Draft, flow: Any, opening: Any, command: Any) -> Any:
        idle = replace(flow, status=FlowStatus.STALE)
        return original(draft, idle, opening, command)

    patch.setattr(starting, "_refusal", refusal)


@mutant
def a_paused_flow_starts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Draft, "is_active", lambda self, flow: True)


@mutant
def a_claim_is_not_reentrant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(starting, "_run_of", lambda draft, prefect_id: None)


@mutant
def a_failed_vector_opens_again(patch: pytest.MonkeyPatch) -> None:
    original = transitions.end_badly

    def end_badly(draft: Draft, end: Any, policy: Any) -> None:
        run = draft.runs.get(end.run_id)
        if run is not None:
            draft.flows[run.flow_id] = replace(draft.flows[run.flow_id], opened_key="")
        original(draft, end, policy)

    patch.setattr(transitions, "end_badly", end_badly)


@mutant
def a_failure_stales_its_descendants(patch: pytest.MonkeyPatch) -> None:
    original = transitions.end_badly

    def end_badly(draft: Draft, end: Any, policy: Any) -> None:
        original(draft, end, policy)
        transitions._mark_descendants(draft, draft.runs[end.run_id].flow_id)

    patch.setattr(transitions, "end_badly", end_badly)


@mutant
def being_past_due_stales_descendants(patch: pytest.MonkeyPatch) -> None:
    original = transitions.mark_past_due

    def mark(draft: Draft, requests: Any) -> None:
        original(draft, requests)
        for request in requests:
            transitions._mark_descendants(draft, request.flow_id)

    patch.setattr(transitions, "mark_past_due", mark)


@mutant
def a_new_configuration_leaves_descendants_ready(patch: pytest.MonkeyPatch) -> None:
    def mark_reconfigured(draft: Draft, flow_id: UUID, version: int) -> None:
        flow = replace(draft.flows[flow_id], config_version=version)
        draft.flows[flow_id] = flow
        if flow.status in (FlowStatus.READY, FlowStatus.STALE):
            draft.set_status(flow_id, FlowStatus.STALE, Reason.CONFIG_CHANGED)
        gate.evaluate(draft, flow_id)

    patch.setattr(transitions, "mark_reconfigured", mark_reconfigured)


@mutant
def a_success_forgets_that_the_configuration_changed(patch: pytest.MonkeyPatch) -> None:
    original = transitions._settle

    def settle(draft: Draft, flow_id: UUID, run: Any, output: Any) -> None:
        newest = draft.flows[flow_id].config_version
        original(draft, flow_id, replace(run, config_version=newest), output)

    patch.setattr(transitions, "_settle", settle)


@mutant
def resuming_evaluates_nothing(patch: pytest.MonkeyPatch) -> None:
    def set_lifecycle(draft: Draft, instance_id: UUID, lifecycle: Any) -> None:
        old = draft.instances[instance_id]
        draft.instances[instance_id] = replace(old, lifecycle=lifecycle)

    patch.setattr(transitions, "set_lifecycle", set_lifecycle)


@mutant
def a_blocked_opening_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(starting, "_hand_back", starting._close)


@mutant
def a_finished_run_leaves_its_opening_open(patch: pytest.MonkeyPatch) -> None:
    def finish(draft: Draft, run: Any) -> None:
        opening = draft.openings[run.opening_id]
        draft.put_opening(replace(opening, status=OpeningStatus.OPEN))
        if run.request_id is not None:
            request = draft.requests[run.request_id]
            draft.put_request(replace(request, status=RequestStatus.DONE))

    patch.setattr(transitions, "_finish_claim", finish)


@mutant
def the_instance_is_aggregated_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Draft, "_aggregate", lambda self, touched: None)


@mutant
def every_write_is_an_event(patch: pytest.MonkeyPatch) -> None:
    original = Draft._flow_events

    def events(self: Draft, flows: Any) -> Any:
        forgotten = replace(self.before, flows={})
        return original(replace_before(self, forgotten), flows)

    patch.setattr(Draft, "_flow_events", events)


def replace_before(draft: Draft, before: Any) -> Draft:
    """The draft as if it had been made from another region."""
    other = Draft(before, draft.now)
    other.instances, other.flows = draft.instances, draft.flows
    return other


@mutant
def the_instance_comes_before_the_deployment(patch: pytest.MonkeyPatch) -> None:
    original = Draft._event

    def event(self: Draft, *args: Any, **kwargs: Any) -> Any:
        made = original(self, *args, **kwargs)
        return replace(made, related=tuple(reversed(made.related)))

    patch.setattr(Draft, "_event", event)


@mutant
def a_crash_is_not_repeated(patch: pytest.MonkeyPatch) -> None:
    def release(draft: Draft, run: Any, opening: Any, policy: Any) -> None:
        draft.put_opening(replace(opening, status=OpeningStatus.SUPERSEDED))
        if run.request_id is not None:
            request = draft.requests[run.request_id]
            draft.put_request(replace(request, status=RequestStatus.CLAIMED))

    patch.setattr(transitions, "_release", release)


@mutant
def a_back_off_may_be_cut_short(patch: pytest.MonkeyPatch) -> None:
    original = starting._refusal

    def refusal(draft: Draft, flow: Any, opening: Any, command: Any) -> Any:
        at_once = opening and replace(opening, not_before=draft.now)
        return original(draft, flow, at_once, command)

    patch.setattr(starting, "_refusal", refusal)


@mutant
def what_is_paused_is_late(patch: pytest.MonkeyPatch) -> None:
    def mark(draft: Draft, requests: Any) -> None:
        for request in requests:
            if draft.flows[request.flow_id].status is FlowStatus.READY:
                draft.set_status(request.flow_id, FlowStatus.STALE, Reason.PAST_DUE)
                asking.request_run(draft, request)

    patch.setattr(transitions, "mark_past_due", mark)


@mutant
def a_late_source_is_ready(patch: pytest.MonkeyPatch) -> None:
    original = transitions._settle

    def settle(draft: Draft, flow_id: UUID, run: Any, output: Any) -> None:
        original(draft, flow_id, run, replace(output, expected_data_date=None))

    patch.setattr(transitions, "_settle", settle)


@mutant
def a_late_source_is_not_asked_again(patch: pytest.MonkeyPatch) -> None:
    original = transitions._retry

    def retry(draft: Draft, run: Any, retry_id: UUID, policy: Any) -> None:
        if draft.flows[run.flow_id].status is FlowStatus.ERROR:
            original(draft, run, retry_id, policy)

    patch.setattr(transitions, "_retry", retry)


@mutant
def a_late_source_serves_its_slot(patch: pytest.MonkeyPatch) -> None:
    original = transitions._after_success

    def after(flow: Any, run: Any, output: Any) -> Any:
        return original(flow, run, replace(output, expected_data_date=None))

    patch.setattr(transitions, "_after_success", after)
