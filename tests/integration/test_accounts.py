"""Accounting for flow runs that could not tell themselves how they ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.commands import Started
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.state.run_recovery import QUICK_ATTEMPTS, account_for, sweep
from prefect_instances.libs.services.views import reports
from tests.databases import on_both_databases
from tests.integration.bench import Bench, make_bench, prices

pytestmark = on_both_databases


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


def end(person: httpx.Client, run_id: UUID, state: str) -> None:
    """What a worker, or a person, says of a flow run."""
    body = {"state": {"type": state, "message": "told by the worker"}, "force": True}
    person.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()


def flow(bench: Bench) -> dict[str, Any]:
    document = reports.status(bench.services.database, bench.services.now(), "prices")
    found: dict[str, Any] = document["instances"][0]["flows"][0]
    return found


def opening_of(bench: Bench) -> UUID:
    found = bench._next_opening()
    assert found is not None
    return found[2]


@pytest.mark.parametrize(
    ("state", "reason", "released"),
    [("CRASHED", "RunCrashed", True), ("CANCELLED", "RunCancelled", False)],
)
def test_a_claimed_run_that_ended_badly_is_put_on_record(
    bench: Bench, person: httpx.Client, state: str, reason: str, released: bool
) -> None:
    opening = opening_of(bench)
    run_id = started_run(bench, opening)
    started = bench.services.ledger.start(bench.flow_id("prices"), run_id, opening_id=opening)
    assert isinstance(started, Started)
    end(person, run_id, state)

    account_for(bench.services, run_id)
    account_for(bench.services, run_id)

    assert (flow(bench)["status"], flow(bench)["reason"]) == ("ERROR", reason)
    assert (bench._next_opening() is not None) is released
    assert len(reports.runs(bench.services.database, "prices")["runs"]) == 1


def test_a_run_that_died_before_it_claimed_has_its_opening_announced_again(
    bench: Bench, person: httpx.Client
) -> None:
    opening = opening_of(bench)
    said = []
    for _ in range(QUICK_ATTEMPTS + 1):
        run_id = started_run(bench, opening)
        end(person, run_id, "CRASHED")
        said.append(account_for(bench.services, run_id))

    again = [line for line in said if "is sent again" in line]
    assert len(again) == QUICK_ATTEMPTS - 1
    assert "the sweep tries again" in said[-1]
    assert opening_of(bench) == opening


def test_a_run_that_goes_on_is_left_alone(bench: Bench) -> None:
    run_id = started_run(bench, opening_of(bench))

    said = account_for(bench.services, run_id)

    assert "nothing to do" in said
    assert flow(bench)["status"] == "NOT_INITIALIZED"


def test_the_sweep_starts_an_opening_whose_event_got_lost_once(
    database: Database, gateway: PrefectGateway, tmp_path: Path
) -> None:
    from datetime import UTC, datetime, timedelta

    now = [datetime.now(UTC)]
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, clock=lambda: now[0])
    bench.provision(prices(f"p{uuid4().hex[:8]}"))

    early = sweep(bench.services).started
    now[0] += timedelta(minutes=2)
    late = sweep(bench.services).started
    again = sweep(bench.services).started
    live = gateway.live_runs([UUID(flow(bench)["deployment_id"])])

    assert (early, late, again) == (0, 1, 0)
    assert [len(runs) for runs in live.values()] == [1]
