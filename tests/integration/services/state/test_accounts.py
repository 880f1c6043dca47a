"""Accounting for flow runs that could not tell themselves how they ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from prefect_instances.libs.adapters.prefect import PrefectGateway, RunState
from prefect_instances.libs.core.commands import Output, Started
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.ids import EXECUTION_TAG, WORK_POOL
from prefect_instances.libs.core.pairing import LAST_START, QUICK_STARTS
from prefect_instances.libs.core.status import FlowKind, RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.outbox import record_events, select_unpublished
from prefect_instances.libs.services.runs.procedures import PROCEDURES
from prefect_instances.libs.services.state import run_pairs
from prefect_instances.libs.services.state.run_recovery import recover_run
from prefect_instances.libs.services.state.sweeping import Swept, sweep
from prefect_instances.libs.services.views import reports
from tests.databases import on_both_databases
from tests.integration.bench import Bench, make_bench, prices

pytestmark = on_both_databases

GRACE_SECONDS = 2
"""What a sweep gives a silent process, at most, to write again."""


@pytest.fixture
def bench(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Iterator[Bench]:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path)
    bench.provision(prices(f"p{uuid4().hex[:8]}"))
    return bench


def started_run(bench: Bench, opening: UUID | None) -> UUID:
    """A flow run of the instance as the automation makes it."""
    deployment = UUID(flow(bench)["deployment_id"])
    parameters = {"opening": str(opening)} if opening else {}
    return bench.services.prefect.start_run(deployment, parameters).id


def end(
    person: httpx.Client,
    run_id: UUID,
    state: str,
    name: str = "",
    message: str = "told by the worker",
) -> None:
    """What a worker, or a person, says of a flow run."""
    said = {"type": state, "name": name or state.capitalize(), "message": message}
    body = {"state": said, "force": True}
    person.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()


def flow(bench: Bench, name: str = "prices") -> dict[str, Any]:
    document = reports.status(bench.services.database, bench.services.now(), name)
    found: dict[str, Any] = document["instances"][0]["flows"][0]
    return found


def opening_of(bench: Bench) -> UUID:
    found = bench._next_opening()
    assert found is not None
    return found[2]


@pytest.mark.parametrize(
    ("state", "name", "reason", "released"),
    [
        ("CRASHED", "", "RunCrashed", True),
        ("CANCELLED", "", "RunCancelled", False),
        # The database was away when it ended, or it would have told itself.
        ("FAILED", "Unavailable", "RunCrashed", True),
        ("FAILED", "", "RunFailed", False),
    ],
)
def test_a_claimed_run_that_ended_badly_is_put_on_record(
    bench: Bench, person: httpx.Client, state: str, name: str, reason: str, released: bool
) -> None:
    opening = opening_of(bench)
    run_id = started_run(bench, opening)
    started = bench.services.ledger.start(bench.flow_id("prices"), run_id, opening_id=opening)
    assert isinstance(started, Started)
    end(person, run_id, state, name)

    recover_run(bench.services, run_id)
    recover_run(bench.services, run_id)

    assert (flow(bench)["status"], flow(bench)["reason"]) == ("ERROR", reason)
    assert (bench._next_opening() is not None) is released
    assert len(reports.runs(bench.services.database, "prices")["runs"]) == 1


def test_a_failure_that_another_process_records_is_retried_as_its_schedule_says(
    database: Database, gateway: PrefectGateway, person: httpx.Client, tmp_path: Path
) -> None:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path)
    patient = {"type": "manual", "max_retries": 2, "backoff_seconds": 0}
    bench.provision({**prices(f"p{uuid4().hex[:8]}"), "schedule": patient})
    opening = opening_of(bench)
    run_id = started_run(bench, opening)
    bench.services.ledger.start(bench.flow_id("prices"), run_id, opening_id=opening)
    end(person, run_id, "FAILED", message="DataRejected: no rows")

    recover_run(bench.services, run_id)

    assert flow(bench)["reason"] == "RunFailed"
    assert opening_of(bench) != opening


def test_a_run_that_died_before_it_claimed_has_its_opening_announced_again(
    bench: Bench, person: httpx.Client
) -> None:
    opening = opening_of(bench)
    said = []
    for _ in range(QUICK_STARTS + 1):
        run_id = started_run(bench, opening)
        end(person, run_id, "CRASHED")
        said.append(recover_run(bench.services, run_id))

    again = [line for line in said if "is sent again" in line]
    assert len(again) == QUICK_STARTS - 1
    assert "the sweep tries again" in said[-1]
    assert opening_of(bench) == opening


def test_a_run_that_failed_before_it_claimed_ends_its_opening_with_the_reason(
    late: Late, person: httpx.Client
) -> None:
    """Started again, it fails again: its module cannot be imported, say."""
    bench = late.bench
    run_id = started_run(bench, opening_of(bench))
    end(person, run_id, "FAILED", message="ModuleNotFoundError: No module named 'gone'")

    recover_run(bench.services, run_id)
    swept = late.sweep(10)

    found = flow(bench)
    assert (found["status"], found["reason"]) == ("ERROR", "RunFailed")
    assert (
        "the run could not begin: ModuleNotFoundError: No module named 'gone'" in found["message"]
    )
    assert (swept.started, swept.failures) == (0, [])
    assert [run["status"] for run in reports.runs(bench.services.database, "prices")["runs"]] == [
        "failed"
    ]


def test_a_procedure_that_cannot_be_imported_is_a_failed_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROCEDURES, FlowKind.REFRESH, "gone.away:refresh")

    with pytest.raises(ModuleNotFoundError):
        bench.run("prices")

    [run] = reports.runs(bench.services.database, "prices")["runs"]
    assert run["status"] == "failed"
    assert flow(bench)["reason"] == "RunFailed"
    assert "ModuleNotFoundError: No module named 'gone'" in flow(bench)["message"]


@pytest.mark.parametrize("name", ["Unavailable", "WrongDatabase"])
def test_a_run_that_met_a_missing_service_is_started_again(
    late: Late, person: httpx.Client, name: str
) -> None:
    opening = opening_of(late.bench)
    run_id = started_run(late.bench, opening)
    end(person, run_id, "FAILED", name=name)

    said = recover_run(late.bench.services, run_id)

    assert "is sent again" in said
    assert opening_of(late.bench) == opening


def test_an_opening_is_given_up_when_every_process_of_its_runs_dies(
    late: Late, person: httpx.Client
) -> None:
    bench, started = late.bench, 0
    # A sweep announces the next attempt, and the one after it starts that, if no automation did.
    for _ in range(3 * LAST_START):
        if flow(bench)["status"] == "ERROR":
            break
        late.sweep(10)
        deployment = UUID(flow(bench)["deployment_id"])
        for run in bench.services.prefect.list_live_runs([deployment])[deployment]:
            started += 1
            end(person, run.id, "CRASHED")

    found = flow(bench)
    assert (found["status"], found["reason"]) == ("ERROR", "RunCrashed")
    assert f"{LAST_START} runs died so" in found["message"]
    assert started == LAST_START


def test_a_run_that_goes_on_is_left_alone(bench: Bench) -> None:
    run_id = started_run(bench, opening_of(bench))

    said = recover_run(bench.services, run_id)

    assert "nothing to do" in said
    assert flow(bench)["status"] == "NOT_INITIALIZED"


@dataclass
class Late:
    """Services whose clock the test moves."""

    bench: Bench
    now: list[datetime]
    pace: list[timedelta]

    def sweep(self, minutes: float = 2) -> Swept:
        """The next sweep, so much later."""
        self.now[0] += timedelta(minutes=minutes)
        return sweep(self.bench.services, self.bench.restore)


@pytest.fixture
def late(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Late:
    now, pace = [datetime.now(UTC)], [timedelta()]

    def clock() -> datetime:
        now[0] += pace[0]
        return now[0]

    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, clock=clock)
    bench.provision(prices(f"p{uuid4().hex[:8]}"))
    return Late(bench, now, pace)


def live_openings(late: Late, name: str = "prices") -> list[str]:
    """The openings that the live flow runs of an instance were started for."""
    deployment = UUID(flow(late.bench, name)["deployment_id"])
    runs = late.bench.services.prefect.list_live_runs([deployment])[deployment]
    return [run.parameters["opening"] for run in runs]


def test_the_sweep_starts_an_opening_whose_event_got_lost_once(late: Late) -> None:
    early, on_time, again = late.sweep(0).started, late.sweep().started, late.sweep(0).started

    assert (early, on_time, again) == (0, 1, 0)
    assert live_openings(late) == [str(opening_of(late.bench))]


def test_a_deployment_that_was_deleted_is_made_again_and_stops_nobody(late: Late) -> None:
    project = late.bench.instance_label("prices").split("/")[0]
    late.bench.provision(prices(project, "beside"))
    lost = UUID(flow(late.bench)["deployment_id"])
    late.bench.services.prefect.delete_deployment(lost)

    swept = late.sweep()

    assert (swept.started, swept.failures) == (2, [])
    assert UUID(flow(late.bench)["deployment_id"]) != lost
    assert len(live_openings(late)) == len(live_openings(late, "beside")) == 1


def test_a_flow_that_cannot_be_started_is_told_and_stops_nobody(late: Late) -> None:
    project = late.bench.instance_label("prices").split("/")[0]
    late.bench.provision(prices(project, "beside"))
    late.bench.services.prefect.delete_deployment(UUID(flow(late.bench)["deployment_id"]))
    late.now[0] += timedelta(minutes=2)

    def cannot(_: UUID) -> UUID:
        raise KeyError("spec")

    swept = sweep(late.bench.services, cannot)

    assert swept.started == 1
    assert swept.failures == ["start of prices.refresh: 'spec'"]
    assert len(live_openings(late, "beside")) == 1


def test_a_key_that_names_a_run_of_another_deployment_is_used_up(late: Late) -> None:
    prefect, opening = late.bench.services.prefect, opening_of(late.bench)
    lost = UUID(flow(late.bench)["deployment_id"])
    run = prefect.start_run(lost, {}, idempotency_key=f"gate:{opening}:1")
    prefect.crash_run(run.id, "its worker died")
    prefect.delete_deployment(lost)

    first = late.sweep()
    second = late.sweep()

    assert (first.failures, second.failures) == ([], [])
    assert live_openings(late) == [str(opening)]


def test_an_event_that_no_server_takes_is_told_and_stops_nobody(late: Late) -> None:
    related = tuple({"prefect.resource.id": f"x.{i}"} for i in range(3))
    resource = {"prefect.resource.id": "instances.poison"}
    poison = Event(uuid4(), "instance.poison", late.now[0], resource, related, {})
    sound = Event(uuid4(), "instance.sound", late.now[0], resource, (), {})
    database = late.bench.services.database
    database.transact(lambda session: record_events(session, [poison, sound]))

    swept = late.sweep(0)

    assert len(swept.failures) == 1
    assert "instance.poison" in swept.failures[0]
    with database.read() as session:
        assert select_unpublished(session, 10) == []


def test_published_events_are_kept_for_a_week(late: Late) -> None:
    late.sweep(0)
    days = 24 * 60

    early, on_time = late.sweep(6.9 * days).forgotten, late.sweep(0.2 * days).forgotten

    assert early == 0
    assert on_time > 0


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_flow_run_that_died_before_it_claimed_is_ended_and_started_again(
    late: Late, person: httpx.Client, state: str
) -> None:
    opening = opening_of(late.bench)
    ghost = started_run(late.bench, opening)
    end(person, ghost, state)

    while_it_may_live = late.sweep(4)
    after = late.sweep(4)

    prefect = late.bench.services.prefect
    assert (while_it_may_live.dead_runs, while_it_may_live.started) == (0, 0)
    assert (after.dead_runs, after.started) == (1, 1)
    assert prefect.read_run(ghost).state is RunState.CRASHED
    assert live_openings(late) == [str(opening)]


def test_flow_runs_of_another_database_are_left_alone(late: Late, person: httpx.Client) -> None:
    name = f"another-{uuid4().hex}"
    tags = [EXECUTION_TAG, f"instance:{uuid4()}"]
    flow_id = person.post("/flows/", json={"name": name}).raise_for_status().json()["id"]
    body = {"flow_id": flow_id, "tags": tags, "state": {"type": "RUNNING"}}
    run_id = person.post("/flow_runs/", json=body).raise_for_status().json()["id"]

    late.sweep(60)

    assert late.bench.services.prefect.read_run(UUID(run_id)).state is RunState.RUNNING
    end(person, UUID(run_id), "COMPLETED")


@pytest.mark.parametrize(
    ("status", "state"),
    [(RunStatus.COMPLETED, RunState.COMPLETED), (RunStatus.FAILED, RunState.FAILED)],
)
def test_a_run_that_ended_here_does_not_stay_running_in_prefect(
    late: Late, person: httpx.Client, status: RunStatus, state: RunState
) -> None:
    opening, ledger = opening_of(late.bench), late.bench.services.ledger
    run_id = started_run(late.bench, opening)
    end(person, run_id, "RUNNING")
    started = ledger.start(late.bench.flow_id("prices"), run_id, opening_id=opening)
    assert isinstance(started, Started)
    if status is RunStatus.COMPLETED:
        ledger.succeed(started.run.id, Output(None, "", None))
    else:
        ledger.end_badly(started.run.id, status, "boom")

    at_once = late.sweep(1)
    late.sweep(10)

    assert at_once.dead_runs == 0
    assert late.bench.services.prefect.read_run(run_id).state is state


def test_a_process_that_can_write_again_since_a_moment_is_not_declared_dead(
    late: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps that waited for the database follow each other at once, before any heartbeat."""
    bench = late.bench
    started = bench.services.ledger.start(
        bench.flow_id("prices"), uuid4(), opening_id=opening_of(bench)
    )
    assert isinstance(started, Started)
    late.now[0] += timedelta(minutes=1)  # its lease is over, and a sweep was here since

    def beat(seconds: float) -> None:
        assert seconds == GRACE_SECONDS
        bench.services.ledger.extend_lease(started.run.id)

    monkeypatch.setattr(run_pairs, "GRACE_SECONDS", GRACE_SECONDS)
    monkeypatch.setattr(run_pairs.time, "sleep", beat)
    assert late.sweep(0.1).dead_runs == 0
    assert flow(bench)["status"] == "RUNNING"

    monkeypatch.setattr(run_pairs.time, "sleep", lambda _: None)
    assert late.sweep(1).dead_runs == 1
    assert flow(bench)["status"] == "ERROR"


@pytest.mark.parametrize(("away", "dead"), [(60, 0), (1, 1)], ids=["database-away", "usual"])
def test_a_lease_that_ran_out_while_nobody_could_write_gets_one_more(
    late: Late, away: float, dead: int
) -> None:
    """The sweep after an hour without any finds the lease over, and the process alive."""
    opening, ledger = opening_of(late.bench), late.bench.services.ledger
    late.sweep(0)
    ledger.start(late.bench.flow_id("prices"), uuid4(), opening_id=opening)

    first = late.sweep(away).dead_runs
    beaten = late.sweep(1).dead_runs

    assert (first, first + beaten) == (dead, 1)


def test_a_run_is_not_declared_dead_by_a_sweep_that_had_to_wait_for_its_write(
    late: Late, person: httpx.Client
) -> None:
    """Its process waits then too; the clock goes on by two seconds at each look."""
    opening = opening_of(late.bench)
    run_id = started_run(late.bench, opening)
    end(person, run_id, "RUNNING")
    late.sweep(0)
    late.bench.services.ledger.start(late.bench.flow_id("prices"), run_id, opening_id=opening)

    late.pace[0] = timedelta(seconds=2)
    waited = late.sweep(1)
    seen = late.bench.services.prefect.read_run(run_id).state, flow(late.bench)["status"]
    late.pace[0] = timedelta()
    next_one = late.sweep(1)

    assert (waited.dead_runs, *seen) == (0, RunState.RUNNING, "RUNNING")
    assert next_one.dead_runs == 1
    assert late.bench.services.prefect.read_run(run_id).state is RunState.CRASHED


def test_a_process_that_beats_after_the_database_came_back_goes_on(late: Late) -> None:
    opening, ledger = opening_of(late.bench), late.bench.services.ledger
    late.sweep(0)
    started = ledger.start(late.bench.flow_id("prices"), uuid4(), opening_id=opening)
    assert isinstance(started, Started)

    first = late.sweep(60).dead_runs
    ledger.extend_lease(started.run.id)
    second = late.sweep(0.2).dead_runs

    assert (first, second) == (0, 0)
    assert flow(late.bench)["status"] == "RUNNING"
