"""Sixty days of mixed cadences through the real database code, with a clock that is turned by hand.

Prefect is a stand-in that fires the native schedules and starts what events name; everything else
(provisioning, claims, the ledger, the relay, the sweep) is real. In these days a source is late, a
source fails, an event gets lost, and the worker is away for a weekend.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from heapq import heappop, heappush
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from sqlalchemy import select

from libs.core import ids
from libs.core.errors import Unavailable
from libs.core.events import Event
from libs.core.status import Cause, RunStatus
from libs.db import Database
from libs.db.models import FlowExecutionResource, Resource, RunRecord
from libs.definitions.registry import Registry
from libs.definitions.store import StoredVersion
from libs.services.accounts import sweep
from libs.services.context import Services
from libs.services.execution import NotASession, Work, execute
from libs.services.handles import Ports
from libs.services.jobs import Job, Result, Stored
from libs.services.ledger import Ask, Ledger
from libs.services.live import Live
from libs.services.provisioning import provision
from libs.settings import load_settings
from libs.specs import (
    ScheduleSpec,
    expected_data_date,
    native_crons,
    native_zone,
    next_slot,
    parse_spec,
)

START = datetime(2026, 10, 5, 12, tzinfo=UTC)
END = START + timedelta(days=60)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SWEEP = 2 * HOUR
SLACK = timedelta(minutes=10)
"""A sweep comes after the runs that are due with it, each of which takes a minute."""

AWAY = (datetime(2026, 11, 6, 12, tzinfo=UTC), datetime(2026, 11, 10, 9, tzinfo=UTC))
"""The worker is away over a weekend, and on the Friday and Monday about it."""

LATE = {date(2026, 10, 14): 2 * HOUR, date(2026, 10, 28): 30 * HOUR, date(2026, 11, 27): 5 * HOUR}
"""Sessions whose data come so long after the slot."""

FAILING = (datetime(2026, 10, 20, 6, tzinfo=UTC), datetime(2026, 10, 21, 6, tzinfo=UTC))
"""The weekly source answers with an error."""

SOURCE = {"definition": "market_data", "config": {"source": "sp500"}}
DERIVED = {"definition": "expression", "config": {"expression": "close"}}
NEW_YORK = "America/New_York"
SPECS: list[dict[str, Any]] = [
    {
        "name": "prices",
        "schedule": {
            "type": "cron",
            "expression": "@close+30",
            "calendar": "XNYS",
            "grace_minutes": 90,
            "max_retries": 6,
            "backoff": "exponential",
            "backoff_seconds": 900,
        },
    },
    {
        "name": "macro",
        "schedule": {
            "type": "cron",
            "expression": "0 8 * * 2",
            "timezone": "Europe/London",
            "grace_minutes": 60,
            "max_retries": 3,
            "backoff_seconds": 36_000,
        },
    },
    {
        "name": "features",
        "upstream_refs": [{"resource": "prices"}, {"resource": "macro", "role": "macro"}],
    },
    {
        "name": "training",
        "upstream_refs": [{"resource": "features", "triggers": False, "require": "data"}],
        "schedule": {"type": "cron", "expression": "0 3 * * 6", "timezone": NEW_YORK},
    },
    {
        "name": "inference",
        "upstream_refs": [
            {"resource": "features"},
            {"resource": "training", "role": "model", "require": "data"},
        ],
    },
    {
        "name": "optimizer",
        "upstream_refs": [{"resource": "inference", "triggers": False}],
        "schedule": {"type": "cron", "expression": "0 18 1 * *", "timezone": NEW_YORK},
    },
    {
        "name": "heartbeat",
        "schedule": {
            "type": "interval",
            "minutes": 240,
            "window_start": "22:00",
            "window_end": "10:30",
            "timezone": "Australia/Sydney",
        },
    },
]


@dataclass(order=True)
class Fired:
    """A flow run that Prefect is to start at a moment."""

    at: datetime
    number: int
    deployment: UUID = field(compare=False)
    opening: UUID | None = field(compare=False, default=None)
    slot: datetime | None = field(compare=False, default=None)


class Scheduler:
    """The part of Prefect that matters here: deployments, events that start them, and a queue.

    Every ``lossy``-th event is lost.
    """

    def __init__(self, clock: list[datetime], lossy: int) -> None:
        self.clock, self.lossy = clock, lossy
        self.queue: list[Fired] = []
        self.keys: set[str] = set()
        self.published: list[Event] = []
        self._numbers = count()
        self._events = 0

    def ensure_deployment(self, plan: Any) -> Any:
        deployment = uuid5(NAMESPACE_OID, plan.full_name)
        for moment in fires(plan.schedule):
            self.push(moment, deployment, slot=moment)
        return SimpleNamespace(id=deployment)

    def publish(self, events: Sequence[Event]) -> None:
        if AWAY[0] <= self.clock[0] < AWAY[1]:
            raise Unavailable("Prefect API", "switched off for the weekend")
        self.published += events
        for event in events:
            if event.name != ids.GATE_OPENED:
                continue
            self._events += 1
            if self._events % self.lossy:
                name = event.related[0]["prefect.resource.id"]
                deployment = UUID(name.removeprefix("prefect.deployment."))
                opening = UUID(str(event.payload["opening"]))
                self.push(self.clock[0] + timedelta(seconds=1), deployment, opening=opening)

    def start_run(
        self,
        deployment_id: UUID,
        parameters: Mapping[str, Any],
        idempotency_key: str | None = None,
        scheduled_time: datetime | None = None,
    ) -> Any:
        from libs.adapters.prefect import RunState

        if idempotency_key not in self.keys:
            self.keys.add(str(idempotency_key))
            at = scheduled_time or self.clock[0]
            self.push(at, deployment_id, opening=UUID(parameters["opening"]))
        return SimpleNamespace(state=RunState.SCHEDULED)

    def read_runs(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, Any]:
        del flow_run_ids
        return {}

    def live_runs(self, deployments: set[UUID]) -> dict[UUID, Any]:
        del deployments
        return {}

    def push(
        self,
        at: datetime,
        deployment: UUID,
        opening: UUID | None = None,
        slot: datetime | None = None,
    ) -> None:
        heappush(self.queue, Fired(at, next(self._numbers), deployment, opening, slot))


def fires(schedule: ScheduleSpec) -> Iterator[datetime]:
    """When a scheduler without calendars fires; in autumn it shows the repeated hour twice."""
    zone = ZoneInfo(native_zone(schedule))
    for expression in native_crons(schedule):
        for wall in CronSim(expression, START.astimezone(zone).replace(tzinfo=None)):
            moments = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
            yield from sorted(moments)
            if max(moments) > END:
                break


class World:
    """The instances, the clock, and what the sources have."""

    def __init__(self, database: Database, home: Path) -> None:
        self.clock = [START]
        self.scheduler = Scheduler(self.clock, lossy=17)
        ledger = Ledger(database, lambda: self.clock[0], lease=timedelta(minutes=10))
        settings = load_settings(home=home, database_url=str(database.url))
        prefect: Any = self.scheduler
        live = Live(database, ledger.clock, lambda: None)
        self.services = Services(settings, database, prefect, Registry.discover(), ledger, live)
        self.not_sessions = 0
        self.instances: dict[UUID, tuple[UUID, ScheduleSpec]] = {}
        for document in SPECS:
            pipeline = DERIVED if "upstream_refs" in document else SOURCE
            common = {"type": "DatasetInstance", "project": "sim", "pipeline": pipeline}
            spec = parse_spec({**common, **document})
            ports = Ports({"refresh": ("flows.x.y", {})}, lambda _: uuid4(), uuid4())
            provision(self.services, spec, ports)
        with database.read() as session:
            for flow in session.scalars(select(FlowExecutionResource)):
                name = session.get_one(Resource, flow.instance_id).name
                document = next(one for one in SPECS if one["name"] == name)
                schedule = ScheduleSpec.model_validate(document.get("schedule", {}))
                assert flow.deployment_id is not None
                self.instances[flow.deployment_id] = (flow.instance_id, schedule)

    def run(self) -> None:
        """Until the end, in order of time; the sweep runs every two hours that it can."""
        swept = START
        while swept < END:
            swept += SWEEP
            while self.scheduler.queue and self.scheduler.queue[0].at <= swept:
                self.play(heappop(self.scheduler.queue))
            self.clock[0] = max(self.clock[0], swept)
            if not AWAY[0] <= swept < AWAY[1]:
                sweep(self.services)

    def play(self, fired: Fired) -> None:
        if AWAY[0] <= fired.at < AWAY[1]:
            # Prefect keeps the run; the worker finds it late.
            self.scheduler.push(AWAY[1], fired.deployment, fired.opening, fired.slot)
            return
        self.clock[0] = max(self.clock[0], fired.at)
        instance_id, _ = self.instances[fired.deployment]
        ask = None if fired.opening else Ask(Cause.SCHEDULE)
        work = Work(instance_id, uuid4(), fired.opening, ask, fired.slot)
        try:
            outcome = execute(self.services, work, self.compute)
        except ConnectionError:
            return
        self.not_sessions += isinstance(outcome, NotASession)

    def compute(self, job: Job) -> Result:
        """A minute of work; the output is a function of what was read."""
        self.clock[0] += timedelta(minutes=1)
        name = job.instance.name
        frequency, newest = None, None
        if name == "macro" and FAILING[0] <= self.clock[0] < FAILING[1]:
            raise ConnectionError("the source does not answer")
        if name == "prices":
            frequency, newest = "daily", self.newest_session(job.schedule)
        read = [str(item.version.id) for item in job.inputs]
        content = str(newest or read or self.clock[0])
        if name in ("training", "optimizer"):
            content += str(self.clock[0])
        digest = uuid5(NAMESPACE_OID, content).hex
        version = StoredVersion(digest, 1, newest, newest, digest)
        return Result(Stored(version, digest), frequency=frequency)

    def newest_session(self, schedule: ScheduleSpec) -> date | None:
        now = self.clock[0]
        newest = expected_data_date("daily", schedule, now)
        while newest in LATE and now < _slot_of(schedule, newest) + LATE[newest]:
            newest = expected_data_date("daily", schedule, _slot_of(schedule, newest) - HOUR)
        return newest


def _slot_of(schedule: ScheduleSpec, day: date) -> datetime:
    slot = next_slot(schedule, datetime.combine(day, datetime.min.time(), UTC) + 12 * HOUR)
    assert slot is not None
    return slot


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    world = World(database, tmp_path)
    world.run()
    return world


def test_sixty_days_of_mixed_cadences(world: World) -> None:
    runs, events = runs_of(world), events_of(world)
    counts: Counter[str] = Counter()
    for schedule, name in scheduled(world):
        check_slots(name, schedule, runs[name], counts)
        check_staleness(name, schedule, runs[name], events[name], counts)
    check_dependents(runs)
    assert world.not_sessions > 0
    assert counts["slots"] > 250
    assert counts["breaches"] >= 4
    assert all(status == "READY" for status in statuses(world).values()), statuses(world)
    assert reasons(events["prices"]) >= {"SourceDelayed", "RunSucceeded"}
    assert "RunFailed" in reasons(events["macro"])


def check_slots(
    name: str, schedule: ScheduleSpec, runs: Sequence[RunRecord], counts: Counter[str]
) -> None:
    """Every slot has one run, the slots of the weekend without a worker one together."""
    slots = list(_slots_between(schedule, START + HOUR, END))
    fired = [run.started_at for run in runs if run.cause is Cause.SCHEDULE]
    for slot, following in pairwise(slots):
        served = [at for at in fired if slot <= at < following]
        counts["slots"] += 1
        if following <= AWAY[1] and AWAY[0] <= slot:
            assert not served, (name, slot, served)
        elif AWAY[0] <= slot < AWAY[1]:
            assert len(served) == 1, (name, slot, served)
            assert served[0] - AWAY[1] <= SWEEP
        else:
            assert len(served) == 1, (name, slot, served)


def check_staleness(
    name: str,
    schedule: ScheduleSpec,
    runs: Sequence[RunRecord],
    events: Sequence[Event],
    counts: Counter[str],
) -> None:
    """Each deadline that passed without the slot's run is told of, once, by the next sweep."""
    told = [event for event in events if event.name == ids.SLA_BREACHED]
    delayed = {event.occurred for event in events if event.payload.get("reason") == "SourceDelayed"}
    served = [
        run.ended_at
        for run in runs
        if run.status is RunStatus.COMPLETED and run.ended_at and run.ended_at not in delayed
    ]
    expected = []
    for slot in _slots_between(schedule, START + DAY, END - DAY):
        deadline = slot + timedelta(minutes=schedule.grace_minutes)
        # A slot is owed only from the success before it on: that is what set the deadline.
        earlier = [at for at in served if at < slot]
        owed = not earlier or next_slot(schedule, max(earlier)) == slot
        if owed and not any(slot <= at <= next_sweep(deadline) + SLACK for at in served):
            expected.append(deadline)
    assert len(told) == len(expected), (name, [event.occurred for event in told], expected)
    for deadline, event in zip(expected, told, strict=True):
        assert timedelta() <= event.occurred - next_sweep(deadline) <= SLACK, (name, deadline)
        overdue = (event.occurred - deadline) / HOUR + schedule.grace_minutes / 60
        assert event.payload["overdue_hours"] == pytest.approx(overdue, abs=0.001)
    counts["breaches"] += len(told)


def next_sweep(moment: datetime) -> datetime:
    """When the first sweep after a moment runs."""
    swept = START + ((moment - START) // SWEEP + 1) * SWEEP
    return START - (START - AWAY[1]) // SWEEP * SWEEP if AWAY[0] <= swept < AWAY[1] else swept


def check_dependents(runs: Mapping[str, Sequence[RunRecord]]) -> None:
    """What follows from inputs ran once for each of them, and never without."""
    for name in ("features", "inference"):
        vectors = [
            tuple((pin["resource"], pin["generation"]) for pin in run.pins)
            for run in runs[name]
            if run.status is RunStatus.COMPLETED
        ]
        assert len(set(vectors)) == len(vectors), name
        published = len({generation for vector in vectors for _, generation in vector[:1]})
        assert published > 30, name


def _slots_between(schedule: ScheduleSpec, start: datetime, end: datetime) -> Iterator[datetime]:
    slot = next_slot(schedule, start)
    while slot is not None and slot < end:
        yield slot
        slot = next_slot(schedule, slot)


def scheduled(world: World) -> list[tuple[ScheduleSpec, str]]:
    names = names_of(world)
    return [
        (schedule, names[instance_id])
        for instance_id, schedule in world.instances.values()
        if schedule.type != "manual"
    ]


def names_of(world: World) -> dict[UUID, str]:
    with world.services.database.read() as session:
        return {row.id: row.name for row in session.execute(select(Resource.id, Resource.name))}


def runs_of(world: World) -> dict[str, list[RunRecord]]:
    names, found = names_of(world), defaultdict(list)
    flow = FlowExecutionResource
    query = (
        select(RunRecord, flow.instance_id)
        .join(flow, flow.id == RunRecord.flow_id)
        .order_by(RunRecord.started_at)
    )
    with world.services.database.read() as session:
        for run, instance_id in session.execute(query):
            found[names[instance_id]].append(run)
    return found


def events_of(world: World) -> dict[str, list[Event]]:
    """Every event that was published, by the name of the instance; the oldest first."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in world.scheduler.published:
        found[str(event.payload.get("instance"))].append(event)
    return found


def reasons(events: Sequence[Event]) -> set[str]:
    return {str(event.payload["reason"]) for event in events if "reason" in event.payload}


def statuses(world: World) -> dict[str, str]:
    names, flow = names_of(world), FlowExecutionResource
    with world.services.database.read() as session:
        query = select(flow.instance_id, flow.status)
        return {names[row.instance_id]: str(row.status) for row in session.execute(query)}
