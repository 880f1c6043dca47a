"""One history: flow runs as processes in steps, events that go astray, faults, and a healing end.

A ``Simulation`` plays everything around the state: Prefect (creates flow runs, retries them), the
broker (delivers events late, twice, in any order or never), the processes (die between any two
steps, or are declared dead and wake up), people and schedules, and the sweep. After every
transaction it applies all laws. Its methods take a plain ``choice`` so that any driver can use it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum, auto
from typing import TypeVar
from uuid import UUID, uuid5

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.commands import AskedAgain, Blocked, Output, Skipped, Started
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.gate import find_blockers
from prefect_instances.libs.core.records import (
    UNCLAIMED,
    OpeningStatus,
    Region,
    RequestStatus,
    Run,
    RunParameters,
)
from prefect_instances.libs.core.status import (
    Cause,
    FlowStatus,
    Lifecycle,
    Mode,
    Reason,
    Require,
    RunStatus,
)
from prefect_instances.libs.core.unit_of_work import Draft
from tests.property import laws
from tests.property.backend import Backend, Wish
from tests.property.ghost import Ghost
from tests.property.graphs import SPACE, flow_id
from tests.property.worlds import World

Answer = TypeVar("Answer")

DEADLINE = timedelta(hours=24)


class Stage(Enum):
    """Where a process stands."""

    CREATED = auto()
    STARTED = auto()
    WORKED = auto()
    OVER = auto()


@dataclass(eq=False)
class Process:
    """One Prefect flow run and the process that executes it."""

    prefect_id: UUID
    flow: UUID
    opening: UUID | None = None
    wish: Wish | None = None
    stage: Stage = Stage.CREATED
    run: Run | None = None
    content: str = ""
    source: int = 0


@dataclass(frozen=True)
class Message:
    """A gate event on its way: which flow to start for which opening."""

    flow: UUID
    opening: UUID


class Simulation:
    """A history over one backend; ``counts`` gathers what happened."""

    def __init__(self, backend: Backend, world: World, counts: Counter[str]) -> None:
        self.backend, self.world, self.counts = backend, world, counts
        backend.build(world.graph, world.retry)
        backend.take_events()
        self.state = backend.snapshot()
        self.ghost = Ghost(world, self.state)
        self.order = self.ghost.order
        self.rank = {flow: at for at, flow in enumerate(self.order)}
        self.scheduled = {flow_id(name) for name in world.scheduled}
        self.instances = list(dict.fromkeys(self.state.flows[f].instance_id for f in self.order))
        self.delayed: set[UUID] = set()
        self.unpublished: list[Message] = []
        self.in_flight: list[Message] = []
        self.announced: list[Message] = []
        self.processes: list[Process] = []
        self.dead: list[Run] = []
        self._made = 0

    def provision(self) -> None:
        """Leave one pending request for every flow, as provisioning does by default."""
        for flow in self.order:
            if self.ghost.names[flow] not in self.world.unasked:
                self.ask(flow, Wish(Cause.PROVISION))

    # -- transactions ------------------------------------------------------------------------

    def commit(self, call: Callable[[], Answer]) -> tuple[Region, Answer]:
        """One transaction and all laws over it; the state before and the call's answer."""
        before = self.state
        answer = call()
        self.state, events = self.backend.snapshot(), self.backend.take_events()
        laws.check_transaction(before, self.state, events)
        laws.check_state(self.state, self.backend.now)
        self._note(before, events)
        self.counts["transactions"] += 1
        return before, answer

    def _note(self, before: Region, events: list[Event]) -> None:
        told = [
            Message(UUID(str(e.payload["flow_id"])), UUID(str(e.payload["opening"])))
            for e in events
            if e.name == ids.GATE_OPENED
        ]
        told.sort(key=lambda message: self.rank[message.flow])
        self.unpublished += told
        self.announced += told
        self.counts["events"] += len(events)
        self.counts["gate events"] += len(told)
        for event in events:
            reason = str(event.payload.get("reason", ""))
            if event.name != ids.GATE_OPENED and reason:
                self.counts[f"became {reason}"] += 1
        for request in before.requests.values():
            over = self.state.requests[request.id].status is RequestStatus.DONE
            if over and request.status is RequestStatus.PENDING:
                self.counts["needless"] += 1
                self.ghost.owed_full.discard(request.flow_id)
        for opening in self.state.openings.values():
            known = before.openings.get(opening.id)
            if opening.status is OpeningStatus.SUPERSEDED and known and known.status in UNCLAIMED:
                self.counts["superseded"] += 1

    def ask(self, flow: UUID, wish: Wish) -> None:
        """A request is made; from now on it waits, or is part of one that waits."""
        before, _ = self.commit(lambda: self.backend.ask(flow, wish))
        self.counts["asked"] += 1
        self.counts["asked recursively"] += wish.parameters.recursive
        self._is_remembered(before, flow, wish)

    def _is_remembered(self, before: Region, flow: UUID, wish: Wish) -> None:
        pending, earlier = _pending(self.state, flow), _pending(before, flow)
        if pending is None:
            assert wish.parameters.smart, "a request was lost"
            assert earlier is None or earlier.smart, "a request was lost"
            assert self.state.flows[flow].status is FlowStatus.READY, "not fresh, and skipped"
            self.counts["fresh already"] += 1
            return
        for asked in (wish.parameters, earlier or wish.parameters):
            assert laws.fulfils(pending, asked), f"{asked} is remembered as {pending}"
        most = wish.parameters.merged(earlier or wish.parameters)
        assert laws.fulfils(most, pending), f"{pending} is more than was asked"
        if pending.mode is Mode.FULL:
            self.ghost.owed_full.add(flow)

    def reconfigure(self, flow: UUID) -> None:
        """A configuration that affects the output changed."""
        self.commit(lambda: self.backend.reconfigure(flow))
        self.counts["reconfigured"] += 1

    def set_lifecycle(self, instance: UUID, lifecycle: Lifecycle) -> None:
        """An instance is paused or resumed; no flow's status changes by that."""
        before, _ = self.commit(lambda: self.backend.set_lifecycle(instance, lifecycle))
        assert _statuses(before) == _statuses(self.state)
        self.counts[str(lifecycle)] += 1

    # -- processes ---------------------------------------------------------------------------

    def create(
        self, flow: UUID, *, opening: UUID | None = None, wish: Wish | None = None
    ) -> Process:
        """Prefect creates a flow run."""
        self._made += 1
        process = Process(uuid5(SPACE, f"prefect:{self._made}"), flow, opening, wish)
        self.processes.append(process)
        self.counts["processes"] += 1
        return process

    def step(self, process: Process) -> None:
        """Let a process do its next step."""
        steps = {
            Stage.CREATED: self._start,
            Stage.STARTED: self._work,
            Stage.WORKED: self._finish,
        }
        steps[process.stage](process)
        if process.stage is Stage.OVER:
            self.processes.remove(process)

    def _start(self, process: Process) -> None:
        before, answer = self.commit(
            lambda: self.backend.start(
                process.flow, process.prefect_id, opening_id=process.opening, wish=process.wish
            )
        )
        self.counts[type(answer).__name__.lower()] += 1
        if isinstance(answer, Started):
            self._started(before, process, answer.run)
            return
        process.stage = Stage.OVER
        if process.wish is not None:
            self._is_remembered(before, process.flow, process.wish)
        if isinstance(answer, Blocked):
            self._names_blockers(answer)
            return
        assert isinstance(answer, Skipped)

    def _started(self, before: Region, process: Process, run: Run) -> None:
        pending = _pending(before, process.flow)
        if process.wish is not None:
            asked = process.wish.parameters
            assert laws.fulfils(run.parameters, asked), f"{asked} was weakened to {run.parameters}"
            if pending is not None:
                assert laws.fulfils(run.parameters, pending), f"{pending} became {run.parameters}"
            if Mode.FULL in (process.wish.parameters.mode, pending.mode if pending else None):
                self.ghost.owed_full.add(run.flow_id)
        elif pending is not None:
            assert run.parameters == pending, "the pending request was not absorbed"
        if process.wish is None:
            self._is_not_early(before, run)
        self.ghost.started(self.state, run)
        instance = self.state.flows[process.flow].instance_id
        assert before.instances[instance].lifecycle is Lifecycle.ACTIVE, "started while paused"
        assert before.flows[process.flow].running is None, "started beside another run"
        assert _pending(self.state, process.flow) is None, "the request was not absorbed"
        process.stage, process.run = Stage.STARTED, run
        self.counts["forced"] += run.parameters.force
        self.counts[f"started by {run.cause}"] += 1

    def _is_not_early(self, before: Region, run: Run) -> None:
        """Whoever starts what was opened waits for the end of its back-off."""
        assert run.opening_id is not None
        opening = before.openings[run.opening_id]
        assert opening.not_before <= self.backend.now, "a back-off was cut short"

    def _names_blockers(self, answer: Blocked) -> None:
        for blocker in answer.blockers:
            flow = self.state.flows[blocker.flow_id]
            assert (blocker.status, blocker.reason) == (flow.status, flow.reason)
            assert blocker.since == flow.since
            self.counts[f"blocked by {blocker.status}"] += 1

    def _work(self, process: Process) -> None:
        run = process.run
        assert run is not None
        source = process.source = self.ghost.delivered[process.flow]
        process.content = self.ghost.compute(run, source)
        process.stage = Stage.WORKED

    def _finish(self, process: Process) -> None:
        run = process.run
        assert run is not None
        flow = self.state.flows[process.flow]
        same = self.ghost.contents[flow.id, flow.generation] == process.content
        publishes = run.parameters.force or flow.generation == 0 or not same
        output = self._output(process, publishes)
        process.stage = Stage.OVER
        if not self._holds_claim(run):
            self._is_interrupted(lambda: self.backend.succeed(run.id, output))
            return
        before, _ = self.commit(lambda: self.backend.succeed(run.id, output))
        self.counts["published" if publishes else "cut off"] += 1
        grown = self.state.flows[flow.id].generation - flow.generation
        assert grown == int(publishes), "published or cut off against its word"
        self._is_judged(before, process, run)
        self.ghost.succeeded(before, self.state, run, process.content, process.source)
        self.ghost.check_ready(self.state)

    def _is_judged(self, before: Region, process: Process, run: Run) -> None:
        """What is late is not READY, is asked for again as often as the policy says, stays due."""
        old, flow = before.flows[process.flow], self.state.flows[process.flow]
        if process.flow not in self.delayed:
            assert flow.reason is not Reason.SOURCE_DELAYED, "on time, but called late"
            return
        assert flow.status is FlowStatus.STALE, f"its source is late, but it is {flow.status}"
        if flow.reason is Reason.SOURCE_DELAYED and run.retries < self.world.retry.failed:
            assert _pending(self.state, flow.id) is not None, "a late source was not asked again"
        if old.next_due_at is not None:
            assert flow.next_due_at == old.next_due_at, "a late source served a slot"

    def _output(self, process: Process, publishes: bool) -> Output:
        late = process.flow in self.delayed
        deadline = self.backend.now + DEADLINE if process.flow in self.scheduled else None
        return Output(
            version_id=uuid5(process.prefect_id, "version") if publishes else None,
            content_hash=process.content,
            next_due_at=deadline,
            due_deadline=deadline,
            expected_data_date=date.max if late else None,
        )

    def _holds_claim(self, run: Run) -> bool:
        return self.state.runs[run.id].status is RunStatus.RUNNING

    def _is_interrupted(self, call: Callable[[], None]) -> None:
        """A run that lost its claim changes nothing, and is told so."""

        def refused() -> None:
            try:
                call()
            except Interrupted:
                return
            raise AssertionError("a run that lost its claim had an effect")

        before, _ = self.commit(refused)
        assert before == self.state, "an interrupted run changed the state"
        self.counts["interrupted"] += 1

    # -- faults ------------------------------------------------------------------------------

    def kill(self, process: Process) -> None:
        """The process dies where it stands; the world learns of it later, or never."""
        self.processes.remove(process)
        if process.run is not None:
            self.dead.append(process.run)
        self.counts[f"killed {process.stage.name.lower()}"] += 1

    def declare_dead(self, process: Process) -> None:
        """A process is believed dead, but will wake up and try to finish."""
        assert process.run is not None
        self.dead.append(process.run)
        self.counts["zombies"] += 1

    def retry(self, process: Process) -> None:
        """Prefect runs the body of a flow run once more in the same process."""
        run = process.run
        assert run is not None
        held = self._holds_claim(run)
        before, answer = self.commit(
            lambda: self.backend.start(
                process.flow, process.prefect_id, opening_id=process.opening, wish=process.wish
            )
        )
        assert _statuses(before) == _statuses(self.state)
        self.counts["in-process retries"] += 1
        if held:
            assert isinstance(answer, Started), f"a claim is re-entrant, not {answer}"
            assert (answer.run.id, answer.run.pins) == (run.id, run.pins)
            process.stage = Stage.STARTED
            return
        again = isinstance(answer, Skipped | AskedAgain)
        assert again, f"an ended run does not start again: {answer}"
        self.processes.remove(process)

    def end_process(self, process: Process, status: RunStatus) -> None:
        """The body of a flow run raises, or is cancelled; the process ends in order."""
        assert process.run is not None
        self.processes.remove(process)
        self.end(process.run, status)

    def end(self, run: Run, status: RunStatus) -> None:
        """A run is said to have failed, crashed or been cancelled."""
        if not self._holds_claim(run):
            self._is_interrupted(lambda: self.backend.end_badly(run.id, status, "late"))
            return
        before, _ = self.commit(lambda: self.backend.end_badly(run.id, status, "boom"))
        self.counts[str(status)] += 1
        self._is_repeated(before, run, status)
        self._keeps_what_is_asked(before, run)
        self._stays_isolated(before, run.flow_id)

    def _is_repeated(self, before: Region, run: Run, status: RunStatus) -> None:
        """By itself and as often as the policy says: a crash as it was, a failure by request."""
        policy, pending = self.world.retry, _pending(self.state, run.flow_id)
        assert run.opening_id is not None
        crashes = before.openings[run.opening_id].crashes
        if status is RunStatus.FAILED and run.retries < policy.failed:
            assert pending is not None, "a failure was not repeated"
        if status is RunStatus.CRASHED and crashes < policy.crashed:
            opening = self.state.openings[run.opening_id]
            assert opening.crashes == crashes + 1
            pause = policy.crashed_delay * 2**crashes
            if opening.status in UNCLAIMED:
                assert opening.not_before == self.backend.now + pause, "no back-off"
            assert run.request_id is None or pending is not None, "a crash lost the request"
        if status is RunStatus.CANCELLED:
            assert pending == _pending(before, run.flow_id), "a cancelled run was repeated"

    def _keeps_what_is_asked(self, before: Region, run: Run) -> None:
        """What was asked during a run is newer than the run, whether or not that is repeated."""
        newer, again = _pending(before, run.flow_id), _pending(self.state, run.flow_id)
        if newer is None:
            assert again in (None, run.parameters), f"{run.parameters} is repeated as {again}"
        else:
            assert again in (newer, run.parameters.merged(newer)), f"{newer} became {again}"
        if again is not None and again.mode is Mode.FULL:
            self.ghost.owed_full.add(run.flow_id)

    def _stays_isolated(self, before: Region, ended: UUID) -> None:
        """An ERROR changes nobody else's status, and says itself whom it blocks."""
        old, new = _statuses(before), _statuses(self.state)
        changed = {flow for flow in new if old[flow] != new[flow]}
        assert changed == {ended}, "an error changed another flow's status"
        draft = Draft(self.state, self.backend.now)
        for edge in draft.downstream_edges(ended):
            if edge.require is Require.READY:
                named = [b for b in find_blockers(draft, edge.downstream) if b.flow_id == ended]
                assert named, "an ERROR does not block its downstream"
                assert named[0].status is FlowStatus.ERROR
                assert named[0].since == self.backend.now

    # -- the sweep and the passing of time ---------------------------------------------------

    def publish(self) -> None:
        """What was committed is sent to the broker."""
        self.in_flight += self.unpublished
        self.unpublished = []

    def deliver(self, message: Message, *, keep: bool = False) -> Process:
        """The automation starts the flow that an event names; ``keep``: it will do so again."""
        if keep:
            self.counts["duplicated"] += 1
        else:
            self.in_flight.remove(message)
        self.counts["delivered"] += 1
        return self.create(message.flow, opening=message.opening)

    def sweep(self) -> None:
        """End dead runs, announce what nobody claimed, and publish the outbox."""
        dead, self.dead = self.dead, []
        for run in dead:
            self.end(run, RunStatus.CRASHED)
        now = self.backend.now
        lost = [
            o
            for o in self.state.openings.values()
            if o.status is OpeningStatus.OPEN and o.not_before <= now
        ]
        for opening in sorted(lost, key=lambda o: self.rank[o.flow_id]):
            self.commit(lambda opening=opening: self.backend.announce_again(opening.id))  # type: ignore[misc]  # bound now
            self.counts["announced again"] += 1
        self.publish()

    def pass_time(self, pause: timedelta) -> None:
        """Time goes by; what is overdue then is marked, and nobody else changes status."""
        self.backend.now += pause
        before, _ = self.commit(self.backend.mark_past_due)
        for flow, old in _statuses(before).items():
            new = _statuses(self.state)[flow]
            if new != old:
                assert self._is_active(flow), "what is paused is not late"
                assert old[0] is FlowStatus.READY
                assert new == (FlowStatus.STALE, Reason.PAST_DUE)

    def _is_active(self, flow: UUID) -> bool:
        instance = self.state.flows[flow].instance_id
        return self.state.instances[instance].lifecycle is Lifecycle.ACTIVE


def _pending(state: Region, flow: UUID) -> RunParameters | None:
    return next(
        (
            r.parameters
            for r in state.requests.values()
            if r.flow_id == flow and r.status is RequestStatus.PENDING
        ),
        None,
    )


def _statuses(state: Region) -> dict[UUID, tuple[FlowStatus, Reason]]:
    return {flow.id: (flow.status, flow.reason) for flow in state.flows.values()}
