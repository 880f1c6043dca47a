"""Runs of datasets and signals over real data, stores and databases."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.commands import Blocked, Skipped, Started
from prefect_instances.libs.core.errors import DataRejected, Interrupted
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.status import Cause, Mode, RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource
from prefect_instances.libs.definitions.store import VersionLost
from prefect_instances.libs.plugins.delta import DeltaHandle
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.runs.execution import NotASession
from prefect_instances.libs.services.runs.run_context import Work
from prefect_instances.libs.services.state.ledger import RunWish
from prefect_instances.libs.services.state.sweeping import sweep
from prefect_instances.libs.services.views import reports
from tests.databases import on_both_databases
from tests.integration.bench import NEXT_DAY, Bench, derived, make_bench, prices


@pytest.fixture
def diamond(bench: Bench, project: str) -> list[str]:
    """prices → twice, thrice → both; provisioned and READY."""
    bench.provision(prices(project))
    bench.provision(derived(project, "twice", "close * 2", "prices"))
    bench.provision(derived(project, "thrice", "close * 3", "prices"))
    bench.provision(
        derived(
            project,
            "both",
            "two + three",
            "twice",
            "thrice",
            inputs={
                "two": {"resource": "twice", "column": "value"},
                "three": {"resource": "thrice", "column": "value"},
            },
        )
    )
    return bench.drain()


def flow_of(bench: Bench, name: str) -> dict[str, Any]:
    document = reports.status(bench.services.database, bench.services.now(), name)
    flow: dict[str, Any] = document["instances"][0]["flows"][0]
    return flow


def statuses(bench: Bench) -> dict[str, str]:
    document = reports.status(bench.services.database, bench.services.now())
    return {entry["name"]: entry["status"] for entry in document["instances"]}


def runs_of(bench: Bench, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = reports.runs(bench.services.database, name)["runs"]
    return found


def test_a_diamond_runs_each_flow_once_after_provisioning(bench: Bench, diamond: list[str]) -> None:
    assert sorted(diamond) == ["both", "prices", "thrice", "twice"]
    assert diamond[0] == "prices"
    assert diamond[-1] == "both"
    assert set(statuses(bench).values()) == {"READY"}


@on_both_databases
def test_a_new_day_reaches_every_descendant_once_on_matching_inputs(
    bench: Bench, diamond: list[str]
) -> None:
    bench.run("prices", as_of=NEXT_DAY)
    stale = statuses(bench)
    ran = bench.drain()

    assert stale == {"prices": "READY", "twice": "STALE", "thrice": "STALE", "both": "STALE"}
    assert sorted(ran) == ["both", "thrice", "twice"]
    assert set(statuses(bench).values()) == {"READY"}
    newest = runs_of(bench, "both")[0]
    assert [pin["generation"] for pin in newest["inputs"]] == [2, 2]
    assert newest["cause"] == "gate"
    assert flow_of(bench, "both")["last_data_date"] == NEXT_DAY.isoformat()


def test_a_new_day_is_appended_and_is_the_same_data_as_all_read_anew(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.provision(prices(project))
    bench.drain()

    def rewrite(*_: object) -> None:
        raise AssertionError("the stored rows were written again")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaHandle, "write", rewrite)
        added = bench.run("prices", as_of=NEXT_DAY)
        again = bench.run("prices", as_of=NEXT_DAY)
    anew = bench.run("prices", mode=Mode.FULL, as_of=NEXT_DAY)

    assert (added.published, again.published, anew.published) == (True, False, False)
    assert (added.generation, anew.generation) == (2, 2)
    assert added.rows == again.rows == anew.rows
    assert added.last_data_date == NEXT_DAY


def test_a_refresh_without_news_runs_nothing_downstream(bench: Bench, diamond: list[str]) -> None:
    outcome = bench.run("prices")

    assert not outcome.published
    assert bench.drain() == []
    assert set(statuses(bench).values()) == {"READY"}
    assert flow_of(bench, "prices")["generation"] == 1


def test_force_publishes_what_is_unchanged_and_equal_results_stop_the_cascade(
    bench: Bench, diamond: list[str]
) -> None:
    outcome = bench.run("prices", force=True)
    ran = bench.drain()

    assert outcome.published
    assert sorted(ran) == ["thrice", "twice"]
    assert flow_of(bench, "both")["reason"] == "Revalidated"
    assert set(statuses(bench).values()) == {"READY"}


def test_the_rows_of_the_sink_are_those_of_its_inputs(bench: Bench, diamond: list[str]) -> None:
    version = UUID(runs_of(bench, "both")[0]["output_version"])
    source = UUID(runs_of(bench, "prices")[0]["output_version"])

    both = read_version(bench.services, version).collect().sort("date", "symbol")
    closes = read_version(bench.services, source).collect().sort("date", "symbol")

    assert both.height == closes.height > 700
    assert (both["value"] - closes["close"] * 5).abs().max() < 1e-9


def test_an_earlier_version_keeps_its_rows_after_later_refreshes(
    bench: Bench, diamond: list[str]
) -> None:
    first = UUID(runs_of(bench, "prices")[0]["output_version"])
    before = read_version(bench.services, first).collect()

    bench.run("prices", as_of=NEXT_DAY)
    bench.run("prices", mode=Mode.FULL, as_of=date(2020, 6, 30))

    assert (
        read_version(bench.services, first)
        .collect()
        .sort("date", "symbol")
        .equals(before.sort("date", "symbol"))
    )
    assert flow_of(bench, "prices")["last_data_date"] == "2020-06-30"


def test_a_later_incremental_run_keeps_the_days_that_an_as_of_run_brought(
    bench: Bench, diamond: list[str]
) -> None:
    bench.run("prices", as_of=NEXT_DAY)

    outcome = bench.run("prices")

    assert not outcome.published
    assert flow_of(bench, "prices")["last_data_date"] == NEXT_DAY.isoformat()


def test_a_downstream_started_too_early_waits_and_runs_later(
    bench: Bench, diamond: list[str]
) -> None:
    bench.run("prices", as_of=NEXT_DAY)

    early = bench.run("both")
    ran = bench.drain()

    assert isinstance(early, Blocked)
    assert {blocker.instance for blocker in early.blockers} == {"twice", "thrice"}
    assert ran.count("both") == 1


def test_a_second_event_for_the_same_opening_is_skipped(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    _, instance_id, opening_id, _ = bench._next_opening() or pytest.fail("nothing opened")

    bench.execute(Work(instance_id, uuid4(), opening_id, None))
    again = bench.execute(Work(instance_id, uuid4(), opening_id, None))

    assert isinstance(again, Skipped)
    assert len(runs_of(bench, "prices")) == 1


def test_a_signal_that_breaks_its_contract_fails_and_keeps_its_last_good_version(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    signal = {
        **derived(project, "level", "close / 100", "prices"),
        "type": "SignalInstance",
        "signal": {"min_value": 0.0, "max_value": 2.30},
    }
    bench.provision(signal)
    assert bench.drain() == ["prices", "level"]

    bench.run("prices", as_of=date(2021, 6, 30))
    with pytest.raises(DataRejected):
        bench.drain()

    flow = flow_of(bench, "level")
    failed = runs_of(bench, "level")[0]
    assert (flow["status"], flow["reason"], flow["generation"]) == ("ERROR", "RunFailed", 1)
    assert failed["status"] == "failed"
    assert failed["error"]
    assert failed["output_version"] is None


def test_the_gaps_of_a_signal_hold_its_neutral_value(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("date,symbol,score\n2020-01-02,AAA,1.0\n2020-01-03,AAA,\n")
    bench.provision(
        {
            "name": "scores",
            "project": project,
            "type": "SignalInstance",
            "pipeline": {"definition": "file", "config": {"path": str(path)}},
            "signal": {"min_value": -1, "max_value": 1, "neutral_value": 0.25},
        }
    )
    bench.drain()

    version = UUID(runs_of(bench, "scores")[0]["output_version"])
    rows = read_version(bench.services, version).collect().sort("date")
    assert rows["score"].to_list() == [1.0, 0.25]


@on_both_databases
def test_a_failure_blocks_only_its_descendants_and_one_good_run_heals_all(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    path = tmp_path / "levels.csv"
    path.write_text("date,symbol,close\n2020-01-02,AAA,1.0\n2020-01-03,AAA,2.0\n")
    source = {
        "name": "levels",
        "project": project,
        "type": "DatasetInstance",
        "pipeline": {"definition": "file", "config": {"path": str(path)}},
    }
    bench.provision(source)
    bench.provision(prices(project))
    bench.provision(derived(project, "mine", "close * 2", "levels"))
    bench.provision(derived(project, "other", "close * 2", "prices"))
    bench.drain()

    path.unlink()
    with pytest.raises(Exception, match=r"levels\.csv"):
        bench.run("levels")
    broken = statuses(bench)
    blocked = bench.run("mine")
    path.write_text("date,symbol,close\n2020-01-02,AAA,1.0\n2020-01-03,AAA,3.0\n")
    bench.run("levels")
    bench.drain()

    assert broken == {"levels": "ERROR", "mine": "READY", "other": "READY", "prices": "READY"}
    assert isinstance(blocked, Blocked)
    assert "levels.csv" in blocked.blockers[0].detail
    assert set(statuses(bench).values()) == {"READY"}


@on_both_databases
def test_a_run_without_sign_of_life_is_ended_and_its_opening_released(
    database: Database, gateway: PrefectGateway, tmp_path: Path, project: str
) -> None:
    now = [datetime(2026, 1, 5, 12, tzinfo=UTC)]
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, clock=lambda: now[0])
    bench.provision(prices(project))
    _, _, opening_id, _ = bench._next_opening() or pytest.fail("nothing opened")
    claimed = bench.services.ledger.start(bench.flow_id("prices"), uuid4(), opening_id=opening_id)
    assert isinstance(claimed, Started)

    sweep(bench.services, bench.restore)
    alive = flow_of(bench, "prices")["status"]
    now[0] += timedelta(seconds=31)
    swept = sweep(bench.services, bench.restore)

    assert alive == "RUNNING"
    assert swept.dead_runs == 1
    assert flow_of(bench, "prices")["reason"] == "RunCrashed"
    with pytest.raises(Interrupted):
        bench.services.ledger.end_badly(claimed.run.id, RunStatus.FAILED, "a zombie")
    now[0] += timedelta(seconds=60)
    assert bench.drain() == ["prices"]
    assert flow_of(bench, "prices")["status"] == "READY"


def test_a_scheduled_slot_on_a_holiday_is_no_session(bench: Bench, project: str) -> None:
    schedule = {
        "type": "cron",
        "expression": "0 6 * * 1-5",
        "timezone": "America/New_York",
        "calendar": "XNYS",
    }
    bench.provision({**prices(project), "schedule": schedule})
    slot = datetime(2026, 12, 25, 11, tzinfo=UTC)

    outcome = bench.execute(
        Work(bench.instance_id("prices"), uuid4(), None, RunWish(Cause.SCHEDULE), slot)
    )

    assert outcome == NotASession("XNYS")


@on_both_databases
def test_a_past_due_flow_is_stale_and_asked_to_catch_up(
    database: Database, gateway: PrefectGateway, tmp_path: Path, project: str
) -> None:
    now = [datetime(2026, 1, 5, 12, tzinfo=UTC)]
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, clock=lambda: now[0])
    schedule = {"type": "interval", "minutes": 60, "grace_minutes": 30}
    bench.provision({**prices(project), "schedule": schedule})
    bench.drain()

    now[0] += timedelta(minutes=80)
    within_grace = sweep(bench.services, bench.restore).past_due
    now[0] += timedelta(minutes=20)
    swept = sweep(bench.services, bench.restore)

    assert (within_grace, swept.past_due) == (0, 1)
    assert flow_of(bench, "prices")["reason"] == "PastDue"
    assert bench.drain() == ["prices"]
    assert flow_of(bench, "prices")["status"] == "READY"


@pytest.mark.parametrize("store", ["parquet", "delta"])
@pytest.mark.parametrize("gone", ["folder", "files"])
def test_a_store_whose_files_are_lost_is_rebuilt_by_a_run_in_full_mode(
    bench: Bench, project: str, store: str, gone: str
) -> None:
    bench.provision(prices(project) | {"store": {"definition": store}})
    bench.drain()
    before = read(bench)
    for root in bench.services.settings.store_root.iterdir():
        for path in [root] if gone == "folder" else list(root.rglob("*.parquet")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(VersionLost, match="run NAME --mode full"):
        bench.run("prices")
    rebuilt = bench.run("prices", mode=Mode.FULL)
    again = bench.run("prices")

    assert rebuilt.published
    assert read(bench).equals(before)
    assert not again.published


def read(bench: Bench) -> pl.DataFrame:
    """The rows of the current version."""
    with bench.services.database.read() as session:
        flow = session.get_one(FlowExecutionResource, bench.flow_id("prices"))
    assert flow.version_id is not None
    return read_version(bench.services, flow.version_id).collect().sort("date", "symbol")
