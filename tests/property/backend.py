"""What a keeper of the state must offer to the tests, and the one that keeps it in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid5

from prefect_instances.libs.core import requests as asking
from prefect_instances.libs.core import starting, transitions
from prefect_instances.libs.core.commands import BadEnd, Output, RetryPolicy, Start, StartCommand
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.records import (
    OpeningStatus,
    Region,
    Request,
    RequestStatus,
    RunParameters,
)
from prefect_instances.libs.core.status import Cause, Lifecycle, RunStatus
from prefect_instances.libs.core.unit_of_work import Changes, Draft
from tests.property.graphs import SPACE, Graph, region_of

Answer = TypeVar("Answer")

EPOCH = datetime(2026, 1, 5, 9, tzinfo=UTC)
TICK = timedelta(seconds=1)
DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True)
class Wish:
    """What a person, a schedule or a provisioning asks of a flow."""

    cause: Cause = Cause.MANUAL
    parameters: RunParameters = RunParameters()


class Backend(Protocol):
    """State that is changed by one serial transaction a call.

    Every transaction happens at an instant of its own. ``snapshot`` is the whole state with
    everything that has ended; ``take_events`` is what was put into the outbox since it was last
    asked, in order.
    """

    now: datetime

    def build(self, graph: Graph, retry: RetryPolicy) -> None:
        """Forget everything and hold this graph, as just provisioned."""

    def start(
        self,
        flow_id: UUID,
        prefect_id: UUID,
        *,
        opening_id: UUID | None = None,
        wish: Wish | None = None,
    ) -> Start:
        """A flow run wants to work."""

    def succeed(self, run_id: UUID, output: Output) -> None:
        """A run publishes, or is cut off; Interrupted where it is not the running one."""

    def end_badly(self, run_id: UUID, status: RunStatus, error: str) -> None:
        """A run failed, crashed or was cancelled; Interrupted where it is not the running one."""

    def ask(self, flow_id: UUID, wish: Wish) -> None:
        """A request is made."""

    def reconfigure(self, flow_id: UUID) -> None:
        """The configuration of a flow changed."""

    def set_lifecycle(self, instance_id: UUID, lifecycle: Lifecycle) -> None:
        """An instance is paused or resumed."""

    def mark_past_due(self) -> None:
        """Flows whose deadline passed become stale."""

    def announce_again(self, opening_id: UUID) -> None:
        """Announce an opening that nobody claimed."""

    def take_events(self) -> list[Event]:
        """The outbox since the last call."""

    def snapshot(self) -> Region:
        """Everything there is."""

    def close(self) -> None:
        """Give all resources back."""


class MemoryBackend:
    """The whole graph in dictionaries, changed by ``libs.core.transitions`` alone."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.state = Region()
        self.retry = RetryPolicy()
        self._outbox: list[Event] = []
        self._made = 0

    def build(self, graph: Graph, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self.now, self.state, self.retry = EPOCH, region_of(graph), retry
        self._outbox = []

    def start(
        self,
        flow_id: UUID,
        prefect_id: UUID,
        *,
        opening_id: UUID | None = None,
        wish: Wish | None = None,
    ) -> Start:
        command = StartCommand(
            run_id=self._new_id(),
            prefect_flow_run_id=prefect_id,
            flow_id=flow_id,
            opening_id=opening_id,
            request=self._request(flow_id, wish) if wish else None,
        )
        return self.decide(lambda draft: starting.start(draft, command), prefect_id)

    def succeed(self, run_id: UUID, output: Output) -> None:
        self.decide(
            lambda draft: transitions.succeed(draft, run_id, output, self.retry, self._new_id())
        )

    def end_badly(self, run_id: UUID, status: RunStatus, error: str) -> None:
        end = BadEnd(run_id, status, error, self._new_id())
        self.decide(lambda draft: transitions.end_badly(draft, end, self.retry))

    def ask(self, flow_id: UUID, wish: Wish) -> None:
        request = self._request(flow_id, wish)
        self.decide(lambda draft: asking.request_run(draft, request))

    def reconfigure(self, flow_id: UUID) -> None:
        version = self.state.flows[flow_id].config_version + 1
        self.decide(lambda draft: transitions.mark_reconfigured(draft, flow_id, version))

    def set_lifecycle(self, instance_id: UUID, lifecycle: Lifecycle) -> None:
        self.decide(lambda draft: transitions.set_lifecycle(draft, instance_id, lifecycle))

    def mark_past_due(self) -> None:
        # Downstreams first: whoever decides must not rely on the order.
        late = [
            self._request(flow.id, Wish(Cause.SCHEDULE))
            for flow in reversed(self.state.flows.values())
            if not flow.breached and flow.due_deadline and flow.due_deadline < self.now
        ]
        self.decide(lambda draft: transitions.mark_past_due(draft, late))

    def announce_again(self, opening_id: UUID) -> None:
        self.decide(lambda draft: transitions.announce_again(draft, opening_id))

    def take_events(self) -> list[Event]:
        events, self._outbox = self._outbox, []
        return events

    def snapshot(self) -> Region:
        return self.state

    def close(self) -> None:
        return None

    def decide(self, decide: Callable[[Draft], Answer], prefect_id: UUID | None = None) -> Answer:
        """One transaction: decide on what is live, keep the outcome; an error changes nothing."""
        self.now += TICK
        draft = Draft(live(self.state, prefect_id), self.now)
        answer = decide(draft)
        changes = draft.changes()
        self.state = _merged(self.state, changes)
        self._outbox.extend(changes.events)
        return answer

    def _request(self, flow_id: UUID, wish: Wish) -> Request:
        return Request(
            id=self._new_id(),
            flow_id=flow_id,
            cause=wish.cause,
            parameters=wish.parameters,
            created_at=self.now,
            not_before=self.now,
        )

    def _new_id(self) -> UUID:
        self._made += 1
        return uuid5(SPACE, f"made:{self._made}")


def live(state: Region, prefect_id: UUID | None = None) -> Region:
    """The part of the state that a decision may read: what ended is not loaded."""
    return Region(
        instances=state.instances,
        flows=state.flows,
        edges=state.edges,
        openings={
            key: opening
            for key, opening in state.openings.items()
            if opening.status not in (OpeningStatus.DONE, OpeningStatus.SUPERSEDED)
        },
        requests={
            key: request
            for key, request in state.requests.items()
            if request.status is not RequestStatus.DONE
        },
        runs={
            key: run
            for key, run in state.runs.items()
            if run.status is RunStatus.RUNNING or run.prefect_flow_run_id == prefect_id
        },
    )


def _merged(state: Region, changes: Changes) -> Region:
    """The state after a transaction; the one before stays as it was."""
    after: dict[str, Any] = {}
    for field in fields(Region):
        changed = getattr(changes, field.name)
        known = getattr(state, field.name)
        after[field.name] = {**known, **{r.id: r for r in changed}} if changed else known
    return Region(**after)
