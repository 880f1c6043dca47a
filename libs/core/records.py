"""The records that decisions read and write: flows, edges, openings, requests and runs.

A ``Region`` holds the records that one decision needs. A repository loads it, a function of
``libs.core.transitions`` decides how it changes, and the repository writes the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from prefect_instances.libs.core.aggregation import AggregationContract
from prefect_instances.libs.core.dates import as_of_fault, day_fault, future_fault
from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.status import (
    Cause,
    FlowStatus,
    Lifecycle,
    Mode,
    Reason,
    Require,
    RunStatus,
)


@dataclass(frozen=True, slots=True)
class InstanceState:
    """An instance as the gate sees it; gates open only while it is ACTIVE."""

    id: UUID
    name: str
    project_id: UUID
    project: str
    type: str
    lifecycle: Lifecycle
    status: FlowStatus
    contract: AggregationContract = AggregationContract()


@dataclass(frozen=True, slots=True)
class FlowState:
    """One flow execution resource: its status and its output.

    ``generation`` counts the published outputs. ``config_version`` is the newest configuration that
    affects the output, ``consumed_config_version`` the one that the last success used (0 before the
    first). ``opened_key`` is the cause key of the newest inputs that the gate opened for.
    ``overtaken`` counts the successes in a row that ended STALE. ``detail`` is the error's text.
    ``breached`` is True once the deadline has passed and the breach is published. ``aggregated``
    says whether the status counts in the instance's status.
    """

    id: UUID
    instance_id: UUID
    kind: str
    status: FlowStatus = FlowStatus.NOT_INITIALIZED
    reason: Reason = Reason.NEVER_RAN
    since: datetime | None = None
    detail: str = ""
    deployment_id: UUID | None = None
    generation: int = 0
    version_id: UUID | None = None
    content_hash: str = ""
    config_version: int = 1
    consumed_config_version: int = 0
    running: UUID | None = None
    opened_key: str = ""
    overtaken: int = 0
    last_run_id: UUID | None = None
    last_ready_at: datetime | None = None
    last_data_date: date | None = None
    next_due_at: datetime | None = None
    due_deadline: datetime | None = None
    breached: bool = False
    aggregated: bool = True


@dataclass(frozen=True, slots=True)
class EdgeState:
    """A dependency between two flows, with the upstream generation that was last read over it."""

    id: UUID
    upstream: UUID
    downstream: UUID
    role: str = "input"
    require: Require = Require.READY
    triggers: bool = True
    consumed: int = 0


class OpeningStatus(StrEnum):
    """State of an opening: announced, handed back (waiting), claimed, done, or superseded."""

    OPEN = "open"
    WAITING = "waiting"
    CLAIMED = "claimed"
    DONE = "done"
    SUPERSEDED = "superseded"


UNCLAIMED = frozenset({OpeningStatus.OPEN, OpeningStatus.WAITING})


@dataclass(frozen=True, slots=True)
class Opening:
    """One opening of a flow's gate, unique by (flow, cause key).

    ``attempt`` counts its announcements and is part of the idempotency key of the run that the
    sweep starts. ``crashes`` counts its runs whose process died.
    """

    id: UUID
    flow_id: UUID
    cause_key: str
    status: OpeningStatus
    opened_at: datetime
    announced_at: datetime
    not_before: datetime
    config_version: int
    vector: Mapping[str, int]
    request_id: UUID | None = None
    attempt: int = 1
    crashes: int = 0
    claimed_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class RunParameters:
    """The parameters of one run, chosen by a person or a schedule.

    ``start`` and ``end`` (both inclusive) are the dates to read again even if they are stored.
    ``end`` None means up to the newest; ``start`` None reads only what is new. ``recursive`` first
    refreshes stale ancestors. ``smart`` skips the run if the output is already fresh.
    ``accept_loss`` publishes a version even if it has lost data, columns or types.
    """

    mode: Mode = Mode.INCREMENTAL
    as_of: date | None = None
    force: bool = False
    recursive: bool = False
    smart: bool = False
    start: date | None = None
    end: date | None = None
    accept_loss: bool = False

    def problems(self, now: datetime | None = None) -> list[Problem]:
        """List the contradictions among the parameters; empty if there are none.

        With ``now`` (aware), a day that has not begun is one too.
        """
        given = {"as_of": self.as_of, "start": self.start, "end": self.end}
        found = [
            Problem(name, f"{day} {fault}")
            for name, day in given.items()
            if day and (fault := day_fault(day))
        ]
        found += self._future_problems(now) if now and not found else []
        if self.end is not None and self.start is None:
            found.append(Problem("end", "needs a start: the first day to read again"))
        if self.start and self.end and self.end < self.start:
            found.append(Problem("end", f"{self.end} is before the start {self.start}"))
        if self.start is not None and self.mode is Mode.FULL:
            found.append(Problem("start", "mode full reads every day; leave out start and end"))
        return found

    def _future_problems(self, now: datetime) -> Iterator[Problem]:
        if self.as_of and (fault := as_of_fault(self.as_of, now)):
            yield Problem("as_of", fault)
        if self.start and (fault := future_fault(self.start, now)):
            yield Problem("start", f"{fault}: there is nothing to read yet")

    @property
    def about_the_past(self) -> bool:
        """True if the run reads only up to a given day, and so serves no slot."""
        return self.as_of is not None or self.end is not None

    def covers(self, start: date, end: date) -> bool:
        """Return True if a run with these parameters reads ``start`` to ``end`` again."""
        if self.as_of is not None and self.as_of < end:
            return False
        if self.mode is Mode.FULL:
            return True
        return self.start is not None and self.start <= start and (self.end or end) >= end

    def merged(self, newer: RunParameters) -> RunParameters:
        """Merge two requests' parameters into one that fulfils both, in either order.

        The result reads as far as the one that reads further. No ``as_of`` or ``end`` means the
        newest day, so a slot that is due is served too. Full wins over incremental.
        """
        full = Mode.FULL in (self.mode, newer.mode)
        starts = [asked.start for asked in (self, newer) if asked.start]
        ends = _both(self.end, newer.end)
        return RunParameters(
            mode=Mode.FULL if full else Mode.INCREMENTAL,
            as_of=max(_both(self.as_of, newer.as_of), default=None),
            force=self.force or newer.force,
            recursive=self.recursive or newer.recursive,
            smart=self.smart and newer.smart,
            accept_loss=self.accept_loss or newer.accept_loss,
            start=None if full else min(starts, default=None),
            end=None if full else max(ends, default=None),
        )

    def replaced_by(self, other: RunParameters) -> list[str]:
        """List, in words, the days requested here that are different in ``other``."""
        words = (("as_of", self.as_of, other.as_of), ("end", self.end, other.end))
        return [
            f"{name} {mine} gives way to {theirs or 'the newest day'}"
            for name, mine, theirs in words
            if mine is not None and mine != theirs
        ]


def _both(one: date | None, other: date | None) -> list[date]:
    """Return both days; empty if one of them is None, which means the newest."""
    return [] if one is None or other is None else [one, other]


class RequestStatus(StrEnum):
    """State of a request: pending, served by a run (claimed), or done."""

    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Request:
    """A stored demand that a flow runs; a flow has at most one pending.

    ``retries`` counts the automatic retries after failures that led to it.
    """

    id: UUID
    flow_id: UUID
    cause: Cause
    parameters: RunParameters
    created_at: datetime
    not_before: datetime
    status: RequestStatus = RequestStatus.PENDING
    retries: int = 0
    claimed_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """The version and generation of one upstream that a run reads over one edge."""

    edge_id: UUID
    upstream: UUID
    role: str
    generation: int
    version_id: UUID | None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a flow; immutable once ended."""

    id: UUID
    flow_id: UUID
    prefect_flow_run_id: UUID
    status: RunStatus
    cause: Cause
    config_version: int
    started_at: datetime
    pins: tuple[Pin, ...] = ()
    parameters: RunParameters = RunParameters()
    opening_id: UUID | None = None
    request_id: UUID | None = None
    retries: int = 0
    lease_until: datetime | None = None
    ended_at: datetime | None = None
    output_version: UUID | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """The part of the graph that one decision reads; it is complete for that decision.

    ``openings`` holds the unclaimed and claimed ones of the flows that may be evaluated,
    ``requests`` the pending and claimed ones, ``runs`` the running ones. All mappings are keyed by
    id.
    """

    instances: Mapping[UUID, InstanceState] = field(default_factory=dict)
    flows: Mapping[UUID, FlowState] = field(default_factory=dict)
    edges: Mapping[UUID, EdgeState] = field(default_factory=dict)
    openings: Mapping[UUID, Opening] = field(default_factory=dict)
    requests: Mapping[UUID, Request] = field(default_factory=dict)
    runs: Mapping[UUID, Run] = field(default_factory=dict)
