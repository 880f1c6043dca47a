"""The demonstration's project over sixty simulated days, with a clock that is turned by hand.

The manifest is the one that ships, and provisioning, claims, the ledger, the relay and the sweep
are the real ones over a real database. Prefect is a stand-in that fires the native schedules and
starts what events name; what a run computes is a stand-in too: a digest of what it read.

The sixty days have a change of the clock, a holiday, two half days, and trouble: data come late, a
source fails, events get lost, so does a scheduled run, and the worker is away for a weekend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5
from zoneinfo import ZoneInfo

from cronsim import CronSim
from sqlalchemy import select

from prefect_instances import cli
from prefect_instances.flows.execution_flows import EXECUTION
from prefect_instances.libs.adapters.prefect import RunState
from prefect_instances.libs.core import ids
from prefect_instances.libs.core.commands import Blocked, Skipped
from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource, Resource
from prefect_instances.libs.definitions.installed import discover
from prefect_instances.libs.definitions.store import StoredVersion
from prefect_instances.libs.services.lifecycle.external_resources import Ports
from prefect_instances.libs.services.lifecycle.provisioning import provision
from prefect_instances.libs.services.runs.execution import NotASession, execute
from prefect_instances.libs.services.runs.run_context import Job, Result, Stored, Work
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import Ledger, RunWish
from prefect_instances.libs.services.state.subscriber_relay import SubscriberRelay
from prefect_instances.libs.services.state.sweeping import sweep
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.specs import ScheduleSpec, load_manifest, native_crons, native_zone

MANIFEST = Path(str(cli.__file__)).with_name("demo.yaml")

START = datetime(2026, 10, 30, 12, 10, tzinfo=UTC)
"""Ten past, so that no deadline falls on a sweep."""
END = START + timedelta(days=60)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SWEEP = 2 * HOUR

Flow = tuple[str, str]
"""Name of an instance and kind of its flow."""

PRICES, INDEX = ("sp500_prices", "refresh"), ("sp500_index", "refresh")
TRAINING, INFERENCE = ("return_model", "training"), ("return_model", "inference")
OPTIMIZER = ("max_utility", "optimize")
SOURCES = (PRICES, INDEX)

# --- New York, from the published holidays of the exchange alone -------------------------------

NEW_YORK = ZoneInfo("America/New_York")
HOLIDAYS = {date(2026, 11, 26), date(2026, 12, 25), date(2027, 1, 1)}
HALF_DAYS = {date(2026, 11, 27), date(2026, 12, 24)}
DAYS = [date(2026, 10, 1) + DAY * at for at in range(100)]
SESSIONS = [day for day in DAYS if day.weekday() < 5 and day not in HOLIDAYS]


def at_new_york(day: date, hour: int, minutes: int = 0) -> datetime:
    """A local time as an instant."""
    local = datetime.combine(day, time(hour), NEW_YORK)
    return local.astimezone(UTC) + MINUTE * minutes


def after_close(day: date, minutes: int = 0) -> datetime:
    """So many minutes after the close of a session."""
    return at_new_york(day, 13 if day in HALF_DAYS else 16, minutes)


def first_of_month(day: date) -> bool:
    """Whether a session is the first one of its month."""
    return not any(other < day and other.month == day.month for other in SESSIONS)


SLOTS: Mapping[Flow, Sequence[datetime]] = {
    PRICES: [after_close(day, 30) for day in SESSIONS],
    INDEX: [after_close(day, 30) for day in SESSIONS],
    INFERENCE: [after_close(day, 60) for day in SESSIONS],
    TRAINING: [at_new_york(day, 8) for day in DAYS if day.weekday() == 5],
    OPTIMIZER: [after_close(day, 90) for day in SESSIONS if first_of_month(day)],
}
"""What the demonstration promises: when each of its flows is due by the clock."""

GRACE = {
    PRICES: 90 * MINUTE,
    INDEX: 90 * MINUTE,
    INFERENCE: HOUR,
    TRAINING: 4 * HOUR,
    OPTIMIZER: 2 * HOUR,
}

# --- trouble -----------------------------------------------------------------------------------

AWAY = (datetime(2026, 11, 6, 12, tzinfo=UTC), datetime(2026, 11, 10, 9, tzinfo=UTC))
"""The worker is away over a weekend, and on the Friday and Monday about it."""

LATE = {
    date(2026, 11, 12): 30 * HOUR,
    date(2026, 11, 27): 6 * HOUR,
    date(2026, 12, 1): 2 * HOUR,
}
"""Sessions whose prices come so long after the close."""

FAILING = (datetime(2026, 12, 8, 20, tzinfo=UTC), datetime(2026, 12, 9, 12, tzinfo=UTC))
"""The source of the index answers with an error, to every attempt."""

LOST = (PRICES, after_close(date(2026, 12, 15), 30))
"""The scheduled run that Prefect never starts."""

LOSSY = 17
"""Every event of this number that opens a gate is lost."""


@dataclass(order=True)
class Fired:
    """A flow run that Prefect is to start at a moment."""

    at: datetime
    number: int
    deployment: UUID = field(compare=False)
    opening: UUID | None = field(compare=False, default=None)
    slot: datetime | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Played:
    """A flow run that the worker took up: when, and how it ended.

    ``outcome`` is ``ran`` (whether it succeeded or not), or the name of what it ended as instead.
    """

    flow: Flow
    flow_run_id: UUID
    slot: datetime | None
    at: datetime
    outcome: str


class Scheduler:
    """The part of Prefect that matters here: deployments, events that start them, and a queue."""

    def __init__(self, clock: list[datetime]) -> None:
        self.clock = clock
        self.queue: list[Fired] = []
        self.keys: set[str] = set()
        self.published: list[Event] = []
        self.lost: list[Fired] = []
        self.dropped: list[datetime] = []
        self._numbers, self._openings = count(), 0

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
            if event.name == ids.GATE_OPENED:
                self._openings += 1
                if self._openings % LOSSY == 0:
                    self.dropped.append(self.clock[0])
                else:
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
        name: str = "",
    ) -> Any:
        del name
        if idempotency_key not in self.keys:
            self.keys.add(str(idempotency_key))
            at = scheduled_time or self.clock[0]
            self.push(at, deployment_id, opening=UUID(parameters["opening"]))
        return SimpleNamespace(state=RunState.SCHEDULED)

    def read_runs(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, Any]:
        del flow_run_ids
        return {}

    def list_started_runs(self, tag: str) -> list[Any]:
        del tag
        return []

    def list_live_runs(self, deployments: set[UUID]) -> dict[UUID, Any]:
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


def no_deployment_is_lost(flow_id: UUID) -> UUID:
    raise AssertionError(f"the deployment of {flow_id} was there all the time")


def fires(schedule: ScheduleSpec) -> Iterator[datetime]:
    """When a scheduler without calendars fires; in autumn it shows the repeated hour twice."""
    zone = ZoneInfo(native_zone(schedule))
    for cron in native_crons(schedule):
        for wall in CronSim(cron.expression, START.astimezone(zone).replace(tzinfo=None)):
            moments = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
            yield from sorted(moments)
            if max(moments) > END:
                break


class Desk:
    """The project, the clock, and what the sources have."""

    def __init__(self, database: Database, home: Path) -> None:
        self.clock = [START]
        self.scheduler = Scheduler(self.clock)
        self.played: list[Played] = []
        self.swept: list[datetime] = []
        ledger = Ledger(database, lambda: self.clock[0], lease=timedelta(minutes=10))
        seconds = round(SWEEP.total_seconds())
        settings = load_settings(home=home, database_url=str(database.url), sweep_seconds=seconds)
        prefect: Any = self.scheduler
        live = SubscriberRelay(database, ledger.clock, lambda: None)
        self.services = Services(settings, database, prefect, discover(), ledger, live)
        self.specs = load_manifest(MANIFEST).instances
        execution = {name: (path, {}) for name, (path, _) in EXECUTION.items()}
        for spec in self.specs:
            provision(self.services, spec, Ports(execution, lambda _: uuid4(), uuid4()))
        self.flows = dict(self._read_flows())

    def _read_flows(self) -> Iterator[tuple[UUID, tuple[Flow, UUID]]]:
        """By its deployment each flow, and the id of its instance."""
        with self.services.database.read() as session:
            query = select(FlowExecutionResource, Resource.name).join(
                Resource, Resource.id == FlowExecutionResource.instance_id
            )
            for flow, name in session.execute(query):
                yield flow.deployment_id, ((name, flow.kind), flow.instance_id)

    def schedules(self) -> dict[Flow, ScheduleSpec]:
        """The schedule of each flow that has one."""
        specs = {spec.name: spec for spec in self.specs}
        found = {flow: specs[flow[0]].schedule_of(flow[1]) for flow, _ in self.flows.values()}
        return {flow: schedule for flow, schedule in found.items() if schedule.type != "manual"}

    def run(self) -> None:
        """Until the end, in order of time; the sweep runs every two hours that it can."""
        swept = START
        while swept < END:
            swept += SWEEP
            while self.scheduler.queue and self.scheduler.queue[0].at <= swept:
                self._play(heappop(self.scheduler.queue))
            self.clock[0] = max(self.clock[0], swept)
            if not AWAY[0] <= swept < AWAY[1]:
                self.swept.append(self.clock[0])
                assert sweep(self.services, no_deployment_is_lost).failures == []

    def _play(self, fired: Fired) -> None:
        flow, instance_id = self.flows[fired.deployment]
        if (flow, fired.slot) == LOST:
            self.scheduler.lost.append(fired)
            return
        if AWAY[0] <= fired.at < AWAY[1]:
            # Prefect keeps the run; the worker finds it late.
            self.scheduler.push(AWAY[1], fired.deployment, fired.opening, fired.slot)
            return
        self.clock[0] = max(self.clock[0], fired.at)
        ask = None if fired.opening else RunWish(Cause.SCHEDULE)
        work = Work(instance_id, uuid4(), fired.opening, ask, fired.slot, flow[1])
        at = self.clock[0]
        self.played.append(Played(flow, work.flow_run_id, fired.slot, at, self._outcome(work)))

    def _outcome(self, work: Work) -> str:
        try:
            outcome = execute(self.services, work, self._compute)
        except ConnectionError:
            return "ran"
        declined = isinstance(outcome, NotASession | Skipped | Blocked)
        return type(outcome).__name__ if declined else "ran"

    def _compute(self, job: Job) -> Result:
        """A minute of work; the output is a function of what was read, a new model is another."""
        self.clock[0] += MINUTE
        flow: Flow = (job.instance.name, job.kind)
        if job.kind == "monitoring":
            return Result(None)
        if flow == INDEX and FAILING[0] <= self.clock[0] < FAILING[1]:
            raise ConnectionError("the source does not answer")
        newest = self._newest() if flow in SOURCES else None
        read = [str(item.version.id) for item in job.inputs]
        content = [str(newest), *read, str(self.clock[0]) if flow == TRAINING else ""]
        digest = uuid5(NAMESPACE_OID, " ".join(content)).hex
        version = StoredVersion(digest, 1, newest, newest, digest)
        return Result(Stored(version, digest), frequency="daily" if newest else None)

    def _newest(self) -> date:
        """The newest session that the sources have the prices of."""
        now = self.clock[0]
        return max(d for d in SESSIONS if after_close(d) + LATE.get(d, timedelta()) <= now)
