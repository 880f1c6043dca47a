"""Sixty days of the demonstration: every slot has its run, none has two, no deadline goes untold.

What is expected is written down here and in ``trading_desk`` from the calendar on the wall; nothing
of it is computed by the code that is tested.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.status import Cause, FlowStatus, RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource, Resource, RunRecord
from prefect_instances.libs.services.views.timeline import timeline
from tests.integration.trading_desk import (
    AWAY,
    END,
    GRACE,
    HOUR,
    INDEX,
    INFERENCE,
    LOST,
    MINUTE,
    OPTIMIZER,
    PRICES,
    SLOTS,
    START,
    SWEEP,
    TRAINING,
    Desk,
    Flow,
    Played,
    after_close,
)

SLACK = 30 * MINUTE
"""How much later something may be because the one worker is busy, a minute with each run."""

JOINT, BACKTEST = ("relative_momentum", "refresh"), ("out_of_sample", "backtest")
BY_INPUT = (("returns_1d", "refresh"), ("momentum_12m", "refresh"), JOINT, INFERENCE, BACKTEST)

BLOCKED_ALL_DAY = date(2026, 12, 8)
"""Without the index the joint waits; what it would have read is contained in the next day."""

WAITED = {
    (INFERENCE, date(2026, 11, 12)): "the prices come a day late",
    (INFERENCE, date(2026, 11, 27)): "they come too late for the half day's retries",
    (TRAINING, date(2026, 11, 28)): "so that there are none on Saturday either",
    (INFERENCE, date(2026, 12, 1)): "the prices come two hours late",
    (OPTIMIZER, date(2026, 12, 1)): "on the very first session of a month",
    (INFERENCE, BLOCKED_ALL_DAY): "the source of the index fails",
}
"""Slots at which a flow had to wait for its upstreams, and did.

It has to as well where nobody was there, and where an event got lost before it.
"""


@dataclass(frozen=True)
class Ran:
    """A run as it is on record."""

    flow: Flow
    id: UUID
    flow_run_id: UUID
    cause: Cause
    status: RunStatus
    started: datetime
    ended: datetime
    by_request: bool
    pins: tuple[tuple[str, str, int, str], ...]
    """Instance, kind, generation and version of each upstream."""

    @property
    def completed(self) -> bool:
        return self.status is RunStatus.COMPLETED


@dataclass(frozen=True)
class Seen:
    """What happened in the sixty days, oldest first."""

    runs: tuple[Ran, ...]
    played: tuple[Played, ...]
    events: tuple[Event, ...]
    swept: tuple[datetime, ...]
    dropped: tuple[datetime, ...]

    def runs_of(self, flow: Flow) -> list[Ran]:
        return [run for run in self.runs if run.flow == flow]

    def events_of(self, flow: Flow, name: str, reason: str = "") -> list[Event]:
        return [
            event
            for event in self.events
            if (event.payload.get("instance"), event.payload.get("flow_kind")) == flow
            and event.name == name
            and reason in ("", event.payload["reason"])
        ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the stores beside the database: making them takes longer than the days."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def desk(database: Database, home: Path) -> Desk:
    desk = Desk(database, home)
    desk.run()
    return desk


@pytest.mark.thorough
def test_sixty_days_of_the_demonstration(desk: Desk) -> None:
    assert desk.schedules().keys() == SLOTS.keys()
    seen = observe(desk)

    check(seen)

    assert len(desk.scheduler.lost) == 1
    assert set(statuses(desk).values()) == {"READY"}
    check_timeline(desk)
    assert [fault.__name__ for fault in FAULTS if not is_noticed(fault(seen))] == []


def check(seen: Seen) -> None:
    """Everything that is promised of the sixty days."""
    waited = set()
    for flow, slots in SLOTS.items():
        waited |= check_slots(seen, flow, [slot for slot in slots if START < slot < END])
        check_staleness(seen, flow)
    assert waited >= WAITED.keys()
    dropped = {moment.date() for moment in seen.dropped}
    assert {day for _, day in waited - WAITED.keys()} <= dropped
    check_inputs(seen)
    check_wall_clock(seen)
    assert {reason for flow in SLOTS for reason in reasons_of(seen, flow)} == {
        "PastDue",
        "RunFailed",
        "RunStarted",
        "RunSucceeded",
        "SourceDelayed",
        "UpstreamAdvanced",
    }


def reasons_of(seen: Seen, flow: Flow) -> set[str]:
    """Why the flow had the statuses that it had."""
    named = (ids.flow_event(status) for status in FlowStatus if status != "NOT_INITIALIZED")
    return {str(e.payload["reason"]) for name in named for e in seen.events_of(flow, name)}


def is_noticed(seen: Seen) -> bool:
    """Whether a check fails."""
    try:
        check(seen)
    except (AssertionError, StopIteration, ValueError):
        return True
    return False


def check_slots(seen: Seen, flow: Flow, slots: Sequence[datetime]) -> set[tuple[Flow, date]]:
    """Every slot has its run, and no other run is a slot's; returns the slots that had to wait.

    Those of the weekend without a worker have one together.
    """
    runs, waited, owners = seen.runs_of(flow), set(), set()
    late: set[Ran] = set()
    fired: dict[datetime, list[Played]] = defaultdict(list)
    for one in seen.played:
        if one.flow == flow and one.slot is not None:
            fired[one.slot].append(one)
    for moment in fired.keys() - set(slots):
        assert [one.outcome for one in fired[moment]] == ["NotASession"], (flow, moment)
    for slot, following in pairwise([*slots, END]):
        if (flow, slot) == LOST:
            assert slot not in fired
            owner = next(run for run in runs if run.started >= slot)
            swept = next_sweep(seen, slot + GRACE[flow])
            assert swept is not None
            assert swept <= owner.started <= swept + SLACK, owner
        else:
            (firing,) = fired[slot]
            owner = owner_of(firing, runs)
            if firing.outcome == "Blocked" and not away(slot):
                waited.add((flow, slot.date()))
            elif not away(slot):
                assert owner.started - slot <= SLACK, (flow, slot, owner)
        assert away(slot) or (flow, slot.date()) in WAITED or owner.started < following, slot
        owners.add(owner)
        late |= {owner} if away(slot) else set()
    assert len(late) <= 1, (flow, late)
    assert {run for run in runs if run.cause is Cause.SCHEDULE} <= owners, flow
    alone = [slot for slot in slots if not away(slot) and (flow, slot.date()) not in WAITED]
    assert len(owners) >= len(alone), flow
    return waited


def owner_of(firing: Played, runs: Sequence[Ran]) -> Ran:
    """The run of a slot: the one it started, or of a slot that came late or early another."""
    if firing.outcome == "ran":
        (own,) = (run for run in runs if run.flow_run_id == firing.flow_run_id)
        assert own.cause is Cause.SCHEDULE or away(firing.slot), own
        return own
    assert firing.slot is not None
    if firing.outcome == "Skipped":
        assert away(firing.slot), firing
        return next(run for run in runs if firing.slot <= run.started <= firing.at)
    assert firing.outcome == "Blocked", firing
    later = next(run for run in runs if run.started >= firing.at)
    assert later.by_request, (firing, later)
    return later


def check_staleness(seen: Seen, flow: Flow) -> None:
    """Each deadline that passes without a success is told of once, by the next sweep."""
    told = seen.events_of(flow, ids.SLA_BREACHED)
    stale = ids.flow_event(FlowStatus.STALE)
    delayed = {event.occurred for event in seen.events_of(flow, stale, "SourceDelayed")}
    served = [run for run in seen.runs_of(flow) if run.completed and run.ended not in delayed]
    expected = []
    for run, later in zip(served, [*served[1:], None], strict=True):
        due = next(slot for slot in SLOTS[flow] if slot > run.started)
        swept = next_sweep(seen, due + GRACE[flow])
        if swept is not None and (later is None or later.ended > swept):
            expected.append((due, swept))
    assert len(told) == len(expected), (flow, [event.occurred for event in told], expected)
    for (due, swept), event in zip(expected, told, strict=True):
        assert event.occurred == swept, (flow, due, event)
        assert event.payload["expected_refresh_at"] == due.isoformat(), (flow, event)
        overdue = (event.occurred - due) / HOUR
        assert event.payload["overdue_hours"] == pytest.approx(overdue, abs=0.001)
    past_due = {event.occurred for event in seen.events_of(flow, stale, "PastDue")}
    assert past_due <= {event.occurred for event in told}, flow
    assert told, flow


def next_sweep(seen: Seen, moment: datetime) -> datetime | None:
    """When the first sweep after a moment ran; None where there was none any more."""
    return next((swept for swept in seen.swept if swept > moment), None)


def away(slot: datetime | None) -> bool:
    """Whether nobody was there at the slot."""
    return slot is not None and AWAY[0] <= slot < AWAY[1]


def check_inputs(seen: Seen) -> None:
    """What follows from inputs ran once for each of them, and never on a mix of two sessions."""
    made = {str(run.id): run for run in seen.runs}
    for flow in BY_INPUT:
        runs = [r for r in seen.runs_of(flow) if r.completed and r.cause is Cause.GATE]
        assert len({run.pins for run in runs}) == len(runs) > 35, flow
    read = []
    for run in seen.runs_of(JOINT):
        halves = [made[pin[3]] for pin in run.pins if pin[0] != INDEX[0]]
        sessions = {pin[2] for half in halves for pin in half.pins}
        assert len(sessions) == 1, run
        read += sessions
    published = {pin[2] for run in seen.runs for pin in run.pins if pin[0] == PRICES[0]}
    assert published == set(range(1, max(published) + 1))
    (overtaken,) = published - set(read)
    (half,) = (run for run in seen.runs_of(BY_INPUT[0]) if run.started.date() == BLOCKED_ALL_DAY)
    assert half.pins[0][2] == overtaken


def check_wall_clock(seen: Seen) -> None:
    """What everybody who looks at the clock expects of some days, in UTC."""
    begun = {run.started.date(): run.started for run in reversed(seen.runs_of(PRICES))}
    clock = {day: f"{begun[day]:%H:%M}" for day in begun}
    assert clock[date(2026, 11, 2)] == "21:30"  # the first Monday of winter time
    assert clock[date(2026, 11, 25)] == "21:30"
    assert date(2026, 11, 26) not in clock  # Thanksgiving
    assert clock[date(2026, 11, 27)] == "18:30"  # a half day
    assert clock[date(2026, 12, 24)] == "18:30"
    assert date(2026, 12, 25) not in clock
    assert Counter(clock.values()).most_common(1)[0][0] == "21:30"
    optimized = [run.started.date() for run in seen.runs_of(OPTIMIZER)]
    assert [f"{day:%m-%d}" for day in optimized[1:]] == ["11-02", "12-02"]


def check_timeline(desk: Desk) -> None:
    """People read the same from the timeline."""
    database = desk.services.database
    (flow,) = timeline(database, END, PRICES[0], 60)["flows"]
    days = {day["date"]: day for day in flow["days"]}
    past = {day: [slot["state"] for slot in one["slots"]] for day, one in days.items()}
    missed = [day for day, states in past.items() if states == ["missed"]]
    assert missed == ["2026-11-06"]  # one run for Friday and Monday
    assert days["2026-11-26"]["closed"] == "holiday"
    assert days["2026-11-27"]["early"]
    assert days["2026-11-27"]["slots"][0]["at"] == "2026-11-27T13:30:00-05:00"
    assert days["2026-10-30"]["slots"][0]["at"] == "2026-10-30T16:30:00-04:00"


# --- faults of which one at a time is put into what was seen ------------------------------------


def a_run_is_missing(seen: Seen) -> Seen:
    lost = next(run for run in seen.runs_of(TRAINING) if run.cause is Cause.SCHEDULE)
    return replace(seen, runs=tuple(run for run in seen.runs if run != lost))


def a_slot_has_two_runs(seen: Seen) -> Seen:
    twice = next(run for run in seen.runs_of(OPTIMIZER) if run.cause is Cause.SCHEDULE)
    return replace(seen, runs=(*seen.runs, replace(twice, id=uuid4(), flow_run_id=uuid4())))


def a_holiday_has_a_run(seen: Seen) -> Seen:
    holiday = Played(PRICES, uuid4(), after_close(date(2026, 11, 26), 30), END, "ran")
    return replace(seen, played=(*seen.played, holiday))


def a_deadline_is_not_told(seen: Seen) -> Seen:
    first = seen.events_of(PRICES, ids.SLA_BREACHED)[0]
    return replace(seen, events=tuple(event for event in seen.events if event != first))


def a_deadline_is_told_two_sweeps_late(seen: Seen) -> Seen:
    first = seen.events_of(INFERENCE, ids.SLA_BREACHED)[0]
    late = replace(first, occurred=first.occurred + SWEEP)
    return replace(seen, events=tuple(late if one == first else one for one in seen.events))


def the_joint_reads_two_sessions(seen: Seen) -> Seen:
    before, after = seen.runs_of(JOINT)[4:6]
    mixed = replace(after, pins=(before.pins[0], *after.pins[1:]))
    return replace(seen, runs=tuple(mixed if run == after else run for run in seen.runs))


FAULTS: Sequence[Callable[[Seen], Seen]] = (
    a_run_is_missing,
    a_slot_has_two_runs,
    a_holiday_has_a_run,
    a_deadline_is_not_told,
    a_deadline_is_told_two_sweeps_late,
    the_joint_reads_two_sessions,
)


# --- reading what happened ---------------------------------------------------------------------


def observe(desk: Desk) -> Seen:
    flow = FlowExecutionResource
    query = (
        select(RunRecord, Resource.name, flow.kind)
        .join(flow, flow.id == RunRecord.flow_id)
        .join(Resource, Resource.id == flow.instance_id)
        .order_by(RunRecord.started_at)
    )
    with desk.services.database.read() as session:
        runs = [_ran(row[0], (row[1], row[2])) for row in session.execute(query)]
    scheduler = desk.scheduler
    return Seen(
        tuple(runs),
        tuple(desk.played),
        tuple(scheduler.published),
        tuple(desk.swept),
        tuple(scheduler.dropped),
    )


def _ran(run: RunRecord, flow: Flow) -> Ran:
    assert run.ended_at is not None
    return Ran(
        flow=flow,
        id=run.id,
        flow_run_id=run.prefect_flow_run_id,
        cause=run.cause,
        status=run.status,
        started=run.started_at,
        ended=run.ended_at,
        by_request=run.request_id is not None,
        pins=tuple(_pin(pin) for pin in run.pins),
    )


def _pin(pin: Mapping[str, Any]) -> tuple[str, str, int, str]:
    return pin["resource"], pin["flow_kind"], pin["generation"], pin["version"]


def statuses(desk: Desk) -> dict[Flow, str]:
    flow = FlowExecutionResource
    query = select(Resource.name, flow.kind, flow.status).join(
        Resource, Resource.id == flow.instance_id
    )
    with desk.services.database.read() as session:
        return {(name, kind): str(status) for name, kind, status in session.execute(query)}
