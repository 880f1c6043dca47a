"""The end of a history: faults stop, and the system must come to rest with everything READY."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect_instances.libs.core.records import UNCLAIMED, RequestStatus
from prefect_instances.libs.core.status import FlowStatus, Lifecycle, Reason, Require
from tests.property.backend import Wish
from tests.property.simulation import Simulation

MOST_ROUNDS = 60
"""Sweeps within which any graph of eight flows must be at rest."""

PAUSE = timedelta(hours=1)


def heal(simulation: Simulation) -> None:
    """No more faults: without anyone's help all that may become READY does, the rest when asked."""
    simulation.delayed.clear()
    simulation.scheduled.clear()
    for instance in simulation.instances:
        if simulation.state.instances[instance].lifecycle is Lifecycle.PAUSED:
            simulation.set_lifecycle(instance, Lifecycle.ACTIVE)
    rest(simulation)
    helpless = excused(simulation)
    for flow in helpless:
        simulation.counts["needed a person"] += 1
        simulation.ask(flow, Wish())
    rest(simulation)
    all_is_well(simulation)
    simulation.counts["histories"] += 1


def run_to_the_end(simulation: Simulation) -> None:
    """Deliver every event and finish every process, in order, until there is none."""
    simulation.publish()
    while simulation.in_flight or simulation.processes:
        while simulation.in_flight:
            simulation.deliver(simulation.in_flight[0])
        while simulation.processes:
            simulation.step(simulation.processes[0])
        simulation.publish()


def rest(simulation: Simulation) -> None:
    """Let everything run, sweep after sweep, until a sweep finds nothing to do."""
    for _ in range(MOST_ROUNDS):
        run_to_the_end(simulation)
        settled = simulation.state
        simulation.pass_time(PAUSE)
        simulation.sweep()
        if simulation.state == settled and not simulation.in_flight:
            return
    raise AssertionError(f"not at rest after {MOST_ROUNDS} sweeps")


def excused(simulation: Simulation) -> list[UUID]:
    """The flows that only a person can help; any other that is not READY was forgotten.

    So was a request that is still pending, unless its flow waits for such a flow. A recursive
    request also waits for the recursive requests upstream.
    """
    state, ghost = simulation.state, simulation.ghost
    helpless: list[UUID] = []
    not_ready: set[UUID] = set()
    pending = {r.flow_id: r for r in state.requests.values() if r.status is RequestStatus.PENDING}
    recursive = {flow for flow, request in pending.items() if request.parameters.recursive}
    for flow_id in simulation.order:
        flow = state.flows[flow_id]
        if flow.status is not FlowStatus.READY:
            not_ready.add(flow_id)
        elif flow_id not in pending:
            continue
        edges = [state.edges[edge_id] for edge_id in ghost.incoming[flow_id]]
        triggered = any(edge.triggers for edge in edges)
        never_asked = flow.status is FlowStatus.NOT_INITIALIZED and not triggered
        if flow.status is FlowStatus.ERROR or flow.reason is Reason.SOURCE_DELAYED or never_asked:
            helpless.append(flow_id)
            continue
        awaited = not_ready | recursive if flow_id in recursive else not_ready
        waits = [
            edge
            for edge in edges
            if edge.upstream in awaited and (edge.triggers or edge.require is not Require.NONE)
        ]
        assert waits, f"{ghost.names[flow_id]} is {flow.status} ({flow.reason}) for no cause"
    return helpless


def all_is_well(simulation: Simulation) -> None:
    """All READY, nothing pending, and every output as if computed from scratch."""
    state, names = simulation.state, simulation.ghost.names
    left = {names[f.id]: f.status for f in state.flows.values() if f.status is not FlowStatus.READY}
    assert not left, f"not READY at rest: {left}"
    waiting = [r for r in state.requests.values() if r.status is not RequestStatus.DONE]
    assert not waiting, f"requests that were never served: {waiting}"
    unclaimed = [o for o in state.openings.values() if o.status in UNCLAIMED]
    assert not unclaimed, f"openings that were never claimed: {unclaimed}"
    for instance in state.instances.values():
        assert instance.status is FlowStatus.READY
    simulation.ghost.check_ready(state)
    simulation.ghost.check_equals_recomputed(state)
