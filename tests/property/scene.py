"""A graph on the stage: flows by name, one transition a call, for tests that tell a short story."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from prefect_instances.libs.core import gate, ids
from prefect_instances.libs.core.commands import Output, RetryPolicy, Start, Started
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.records import (
    UNCLAIMED,
    EdgeState,
    FlowState,
    InstanceState,
    Opening,
    Request,
    RequestStatus,
    Run,
    RunParameters,
)
from prefect_instances.libs.core.status import Cause, FlowStatus, Lifecycle, Mode, Reason, RunStatus
from prefect_instances.libs.core.unit_of_work import Draft
from tests.property.backend import DEFAULT_RETRY, MemoryBackend, Wish, live
from tests.property.graphs import SPACE, Graph, flow_id, named

BY_HAND = Wish()


def wish(
    cause: Cause = Cause.MANUAL,
    *,
    mode: Mode = Mode.INCREMENTAL,
    as_of: date | None = None,
    force: bool = False,
    recursive: bool = False,
    smart: bool = False,
) -> Wish:
    """A wish in few words."""
    return Wish(cause, RunParameters(mode, as_of, force, recursive, smart))


class Scene:
    """A graph, in memory unless said; ``told`` are the events of the last transition."""

    def __init__(
        self, graph: Graph, retry: RetryPolicy = DEFAULT_RETRY, backend: Any = None
    ) -> None:
        self.graph, self.backend = graph, backend or MemoryBackend()
        self.backend.build(graph, retry)
        self.told: list[Event] = []
        self._made = 0

    @classmethod
    def ready(cls, graph: Graph, retry: RetryPolicy = DEFAULT_RETRY, backend: Any = None) -> Scene:
        """The graph after everything ran once, in order."""
        scene = cls(graph, retry, backend)
        for flow in graph.flows:
            scene.run(flow.name)
        assert set(scene.statuses().values()) == {FlowStatus.READY}
        return scene

    # -- what there is -----------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return self.backend.now

    def flow(self, name: str) -> FlowState:
        return self.backend.snapshot().flows[flow_id(name)]

    def instance(self, name: str) -> InstanceState:
        return self.backend.snapshot().instances[named("instance", name)]

    def edge(self, upstream: str, downstream: str) -> EdgeState:
        pair = (flow_id(upstream), flow_id(downstream))
        edges = self.backend.snapshot().edges.values()
        return next(edge for edge in edges if (edge.upstream, edge.downstream) == pair)

    def statuses(self) -> dict[str, FlowStatus]:
        return {flow.name: self.flow(flow.name).status for flow in self.graph.flows}

    def state_of(self, name: str) -> tuple[FlowStatus, Reason]:
        return self.flow(name).status, self.flow(name).reason

    def opening(self, name: str) -> Opening | None:
        """The one that no run has taken, if any."""
        found = [
            opening
            for opening in self.backend.snapshot().openings.values()
            if opening.flow_id == flow_id(name) and opening.status in UNCLAIMED
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def opening_of(self, name: str) -> Opening:
        opening = self.opening(name)
        assert opening is not None, f"nothing waits for {name}"
        return opening

    def pending(self, name: str) -> Request | None:
        requests = self.backend.snapshot().requests.values()
        found = [
            request
            for request in requests
            if request.flow_id == flow_id(name) and request.status is RequestStatus.PENDING
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def draft(self) -> Draft:
        return Draft(live(self.backend.snapshot()), self.now)

    def blocked_by(self, name: str) -> list[str]:
        names = {flow_id(flow.name): flow.name for flow in self.graph.flows}
        return [names[b.flow_id] for b in gate.find_blockers(self.draft(), flow_id(name))]

    def openings_told(self) -> list[str]:
        """Names of the flows whose gates the last transition announced."""
        names = {str(flow_id(flow.name)): flow.name for flow in self.graph.flows}
        return [names[str(e.payload["flow_id"])] for e in self.told if e.name == ids.GATE_OPENED]

    # -- what happens ------------------------------------------------------------------------

    def start(
        self, name: str, wish: Wish | None = None, *, opening: UUID | None = None, prefect: str = ""
    ) -> Start:
        """A flow run starts, for ``opening`` or a wish of its own; or for what waits, if any."""
        waiting = self.opening(name)
        if opening is None and wish is None and waiting is not None:
            opening = waiting.id
            self.backend.now = max(self.now, waiting.not_before)
        answer = self.backend.start(
            flow_id(name), self.prefect_id(prefect), opening_id=opening, wish=wish
        )
        self._hear()
        return answer

    def prefect_id(self, name: str = "") -> UUID:
        """The id of a Prefect flow run by name; a new one without."""
        self._made += not name
        return uuid5(SPACE, f"prefect:{name or self._made}")

    def begin(self, name: str, wish: Wish | None = None) -> Run:
        """Start, which must be possible."""
        answer = self.start(name, wish)
        assert isinstance(answer, Started), answer
        return answer.run

    def finish(
        self,
        name: str,
        *,
        same: bool = False,
        delayed: bool = False,
        due_in: float | None = None,
        past: bool = False,
    ) -> None:
        """The running run succeeds, with new output unless ``same``; ``due_in`` in hours.

        A run about the ``past`` does not serve a slot.
        """
        run = self.running(name)
        due = None if due_in is None else self.now + timedelta(hours=due_in)
        late = date.max if delayed else None
        version = None if same else uuid5(run.id, "version")
        output = Output(version, str(version), None, due, due, late, not past)
        self.backend.succeed(run.id, output)
        self._hear()

    def end(self, name: str, status: RunStatus, error: str = "boom") -> None:
        """The running run fails, crashes or is cancelled."""
        self.backend.end_badly(self.running(name).id, status, error)
        self._hear()

    def running(self, name: str) -> Run:
        run_id = self.flow(name).running
        assert run_id is not None, f"{name} is not running"
        return self.backend.snapshot().runs[run_id]

    def run(self, name: str, *, same: bool = False, force: bool = False) -> Run:
        """A run from beginning to end: of what waits for the flow, else asked for by a person."""
        asked = self.opening(name) is not None and not force
        run = self.begin(name, None if asked else wish(force=force))
        self.finish(name, same=same)
        return run

    def ask(self, name: str, wish: Wish = BY_HAND) -> None:
        self.backend.ask(flow_id(name), wish)
        self._hear()

    def reconfigure(self, name: str) -> None:
        self.backend.reconfigure(flow_id(name))
        self._hear()

    def pause(self, name: str) -> None:
        """Pause the instance of that name."""
        self.backend.set_lifecycle(named("instance", name), Lifecycle.PAUSED)
        self._hear()

    def resume(self, name: str) -> None:
        self.backend.set_lifecycle(named("instance", name), Lifecycle.ACTIVE)
        self._hear()

    def pass_time(self, hours: float) -> None:
        self.backend.now += timedelta(hours=hours)
        self.backend.mark_past_due()
        self._hear()

    def announce_again(self, name: str) -> None:
        self.backend.announce_again(self.opening_of(name).id)
        self._hear()

    def evaluate(self, name: str) -> None:
        """Evaluate the gate of a flow once more than anything asks for."""
        self.backend.decide(lambda draft: gate.evaluate(draft, flow_id(name)))
        self._hear()

    def _hear(self) -> None:
        self.told = self.backend.take_events()
