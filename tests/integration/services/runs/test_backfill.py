"""Backfills over real data, stores and databases: what is read, published and told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.backfill import Chunk
from prefect_instances.libs.core.errors import InvalidSpec, NotFound, Unavailable, WrongLifecycle
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.status import Cause, Lifecycle
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.lifecycle.pausing import pause
from prefect_instances.libs.services.runs.backfilling import (
    BackfillRequest,
    NotBackfilled,
    backfill,
    downstream,
    read_progress,
)
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.views import reports
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, make_bench, prices

JANUARY, MARCH = (date(2020, 1, 1), date(2020, 1, 31)), (date(2020, 3, 1), date(2020, 3, 31))
FIRST_QUARTER = BackfillRequest(JANUARY[0], MARCH[1])


class Source:
    """A file of one price a day, whose history can be revised."""

    def __init__(self, path: Path) -> None:
        self.path = path
        days = [date(2020, 1, 1) + timedelta(days=n) for n in range(150)]
        self.frame = pl.DataFrame({"date": days, "symbol": "A", "close": 1.0})
        self.write()

    def write(self) -> None:
        self.frame.write_csv(self.path)

    def revise(self, first: date, last: date, close: float) -> None:
        within = pl.col("date").is_between(first, last)
        changed = pl.when(within).then(close).otherwise(pl.col("close"))
        self.frame = self.frame.with_columns(close=changed)
        self.write()

    def spec(self, project: str, name: str = "source", **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "project": project,
            "type": "DatasetInstance",
            "pipeline": {"definition": "file", "config": {"path": str(self.path)}},
            **more,
        }


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source.csv")


def fill(
    bench: Bench, name: str, asked: BackfillRequest, wait: Callable[[float], Any] | None = None
) -> Any:
    """The backfill, with a worker that runs whatever opens while it waits."""
    return backfill(bench.services, name, asked, wait=wait or (lambda _: bench.drain()))


def drain_whatever_fails(bench: Bench) -> bool:
    """Run what opens; whether a run failed, whose error a worker would only log."""
    try:
        bench.drain()
    except Unavailable:
        return True
    return False


def closes(bench: Bench, name: str, column: str = "close") -> dict[date, float]:
    """What is published now."""
    rows = runs_of(bench, name)
    newest = next(run["output_version"] for run in rows if run["output_version"])
    frame = read_version(bench.services, UUID(newest)).collect()
    return dict(zip(frame["date"], frame[column], strict=True))


def runs_of(bench: Bench, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = reports.runs(bench.services.database, name)["runs"]
    return found


def flow_of(bench: Bench, name: str) -> dict[str, Any]:
    document = reports.status(bench.services.database, bench.services.now(), name)
    flow: dict[str, Any] = document["instances"][0]["flows"][0]
    return flow


@on_both_databases
def test_a_revised_history_is_published_piece_by_piece_and_only_in_the_range(
    bench: Bench, project: str, source: Source
) -> None:
    bench.provision(source.spec(project))
    bench.provision(derived(project, "twice", "close * 2", "source"))
    bench.drain()
    source.revise(date(2020, 2, 10), date(2020, 4, 20), 5.0)

    found = fill(bench, "source", FIRST_QUARTER)

    assert [(row["start"], row["end"]) for row in found] == [
        ("2020-01-01", "2020-01-31"),
        ("2020-02-01", "2020-02-29"),
        ("2020-03-01", "2020-03-31"),
    ]
    assert [row["generation"] for row in found] == [None, 2, 3]
    assert [row["changed_from"] for row in found] == [None, "2020-02-10", "2020-03-01"]
    stored = closes(bench, "source")
    assert stored[date(2020, 2, 9)] == 1.0
    assert {stored[date(2020, 2, 10)], stored[date(2020, 3, 31)]} == {5.0}
    assert stored[date(2020, 4, 1)] == 1.0, "what is after the range stays"
    assert len(stored) == 150
    mine = runs_of(bench, "source")
    assert [run["cause"] for run in mine] == ["backfill"] * 3 + ["provision"]
    assert flow_of(bench, "twice")["status"] == "READY"
    assert closes(bench, "twice", "value")[date(2020, 3, 31)] == 10.0


def test_descendants_know_from_which_date_their_inputs_changed(
    bench: Bench, project: str, source: Source
) -> None:
    bench.provision(source.spec(project))
    bench.provision(derived(project, "twice", "close * 2", "source"))
    bench.provision(derived(project, "more", "value + 1", "twice"))
    bench.drain()
    source.revise(date(2020, 2, 10), date(2020, 3, 20), 5.0)
    # The pieces follow so quickly that nothing below runs before the last one.
    fill(bench, "source", FIRST_QUARTER, lambda _: bench.drain(only="source"))
    bench.drain()

    for name in ("twice", "more"):
        run = runs_of(bench, name)[0]
        assert run["metrics"]["inputs_changed_from"] == "2020-02-10", name
        assert flow_of(bench, name)["status"] == "READY"
    assert "inputs_changed_from" not in runs_of(bench, "twice")[-1]["metrics"]


def test_a_source_without_revisions_publishes_nothing_and_wakes_nobody(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "twice", "close * 2", "prices"))
    bench.drain()
    found = fill(
        bench, "prices", BackfillRequest(date(2020, 5, 1), date(2020, 8, 15), Chunk.QUARTER, True)
    )
    assert [row["generation"] for row in found] == [None, None]
    assert flow_of(bench, "prices")["generation"] == 1
    assert len(runs_of(bench, "twice")) == 1
    assert flow_of(bench, "twice")["status"] == "READY"


@on_both_databases
def test_one_that_died_goes_on_where_it_was(bench: Bench, project: str, source: Source) -> None:
    bench.provision(source.spec(project))
    bench.drain()
    source.revise(date(2020, 1, 1), date(2020, 5, 1), 7.0)
    waits = iter(range(100))

    def killed_in_the_second(_: float) -> None:
        if next(waits) == 1:
            raise KeyboardInterrupt
        bench.drain()

    with pytest.raises(KeyboardInterrupt):
        fill(bench, "source", FIRST_QUARTER, killed_in_the_second)
    far = read_progress(bench.services.database, "source", FIRST_QUARTER)
    assert far is not None
    assert (far.done, far.total, str(far.piece)) == (1, 3, "2020-02-01 to 2020-02-29")
    found = fill(bench, "source", FIRST_QUARTER)
    assert [row["generation"] for row in found] == [2, 3, 4]
    assert len(runs_of(bench, "source")) == 4, "each piece ran once"
    again = fill(bench, "source", FIRST_QUARTER)
    assert [row["generation"] for row in again] == [None] * 3, "a finished one begins anew"


def test_a_piece_that_fails_stops_it_and_says_why(
    bench: Bench, project: str, source: Source
) -> None:
    bench.provision(source.spec(project))
    bench.drain()
    source.path.unlink()
    with pytest.raises(NotBackfilled, match=r"stopped at 2020-01-01 to 2020-01-31: .*source\.csv"):
        fill(bench, "source", FIRST_QUARTER, lambda _: drain_whatever_fails(bench))
    assert flow_of(bench, "source")["status"] == "ERROR"
    source.revise(date(2020, 3, 5), date(2020, 3, 5), 3.0)
    found = fill(bench, "source", FIRST_QUARTER)
    assert [row["generation"] for row in found] == [None, None, 2]
    assert flow_of(bench, "source")["status"] == "READY"


def test_it_waits_for_the_retries_of_a_piece(bench: Bench, project: str, source: Source) -> None:
    schedule = {"type": "manual", "max_retries": 1, "backoff_seconds": 0}
    bench.provision(source.spec(project, schedule=schedule))
    bench.drain()
    hidden = source.path.rename(source.path.with_suffix(".hidden"))

    def heal_after_the_first(_: float) -> None:
        if drain_whatever_fails(bench):
            hidden.rename(source.path)

    found = fill(bench, "source", BackfillRequest(*JANUARY), heal_after_the_first)
    assert [run["status"] for run in runs_of(bench, "source")][:2] == ["completed", "failed"]
    assert runs_of(bench, "source")[0]["cause"] == "retry"
    assert found[0]["generation"] is None


def test_a_dataset_that_never_ran_is_filled_piece_by_piece(
    bench: Bench, project: str, source: Source
) -> None:
    bench.provision(source.spec(project, run_on_provision=False))
    found = fill(bench, "source", FIRST_QUARTER)
    assert [row["generation"] for row in found] == [1, 2, 3]
    assert [row["changed_from"] for row in found] == [None, "2020-02-01", "2020-03-01"]
    assert max(closes(bench, "source")) == MARCH[1]


def test_a_range_beyond_what_is_stored_leaves_no_hole(bench: Bench, project: str) -> None:
    bench.provision(prices(project, end_date="2020-02-14"))
    bench.drain()
    fill(bench, "prices", BackfillRequest(date(2020, 3, 10), date(2020, 3, 20)))
    run = runs_of(bench, "prices")[0]
    frame = read_version(bench.services, UUID(run["output_version"])).collect()
    whole = prices(project, "whole", start_date="2020-01-01", end_date="2020-03-20")
    bench.provision(whole)
    bench.drain()
    expected = read_version(
        bench.services, UUID(runs_of(bench, "whole")[0]["output_version"])
    ).collect()
    assert frame.sort("date", "symbol").equals(expected.sort("date", "symbol"))


def test_a_changed_configuration_is_read_in_full_and_not_mixed(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.drain()
    bench.update(prices(project, symbols=["AAPL", "XOM"]))
    fill(bench, "prices", BackfillRequest(date(2020, 6, 1), date(2020, 6, 30)))
    rows = runs_of(bench, "prices")
    frame = read_version(bench.services, UUID(rows[0]["output_version"])).collect()
    assert set(frame["symbol"]) == {"AAPL", "XOM"}
    assert frame["date"].min() == date(2020, 1, 2)
    assert flow_of(bench, "prices")["status"] == "READY"


@on_both_databases
def test_what_no_upstream_triggers_runs_again_downstream(
    bench: Bench, project: str, source: Source
) -> None:
    bench.provision(source.spec(project))
    untriggered = derived(project, "monthly", "close * 3", "source")
    untriggered["upstream_refs"][0]["triggers"] = False
    bench.provision(untriggered)
    bench.drain()
    source.revise(*JANUARY, 9.0)
    fill(bench, "source", BackfillRequest(*JANUARY))
    assert len(runs_of(bench, "monthly")) == 1
    source.revise(*JANUARY, 10.0)
    fill(bench, "source", BackfillRequest(*JANUARY, downstream=True))
    bench.drain()
    assert [run["cause"] for run in runs_of(bench, "monthly")] == ["backfill", "provision"]
    assert closes(bench, "monthly", "value")[JANUARY[0]] == 30.0
    assert sorted(downstream(bench.services.database, "source")) == [
        f"{project}/monthly",
        f"{project}/source",
    ]


def test_the_schedule_goes_on_as_if_nothing_had_run(
    database: Database, gateway: PrefectGateway, tmp_path: Path, project: str, source: Source
) -> None:
    now = [datetime(2020, 6, 1, 12, tzinfo=UTC)]
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, lambda: now[0])
    daily = {"type": "cron", "expression": "0 18 * * *", "grace_minutes": 60}
    bench.provision(source.spec(project, schedule=daily))
    bench.drain()
    due = flow_of(bench, "source")["next_due_at"]
    assert datetime.fromisoformat(due) == datetime(2020, 6, 1, 18, tzinfo=UTC)

    now[0] = datetime(2020, 6, 1, 18, 10, tzinfo=UTC)
    fill(bench, "source", BackfillRequest(*JANUARY))
    assert flow_of(bench, "source")["next_due_at"] == due

    now[0] = datetime(2020, 6, 1, 19, 10, tzinfo=UTC)
    bench.services.ledger.mark_past_due()
    assert flow_of(bench, "source")["reason"] == "PastDue"
    source.revise(*JANUARY, 4.0)
    # What the deadline asked for waits; a person's piece joins it, and both are read at once.
    fill(bench, "source", BackfillRequest(*JANUARY))
    assert flow_of(bench, "source")["status"] == "READY"
    assert runs_of(bench, "source")[0]["cause"] == "backfill"
    assert datetime.fromisoformat(flow_of(bench, "source")["next_due_at"]) == datetime(
        2020, 6, 2, 18, tzinfo=UTC
    )


def test_a_backfill_waits_for_its_upstreams(bench: Bench, project: str, source: Source) -> None:
    bench.provision(source.spec(project))
    bench.provision(derived(project, "twice", "close * 2", "source"))
    bench.drain()
    source.path.rename(source.path.with_suffix(".hidden"))
    with pytest.raises(Exception, match=r"source\.csv"):
        bench.run("source")
    waited = []

    def heal(_: float) -> None:
        waited.append(flow_of(bench, "twice")["status"])
        if len(waited) == 3:
            source.write()
            bench.run("source")
        bench.drain()

    fill(bench, "twice", BackfillRequest(*JANUARY), heal)
    assert waited[:3] == ["READY"] * 3
    assert runs_of(bench, "twice")[0]["cause"] == "backfill"


def test_a_run_of_a_backfill_can_be_repeated(bench: Bench, project: str, source: Source) -> None:
    bench.provision(source.spec(project))
    bench.drain()
    source.revise(*JANUARY, 9.0)
    (row,) = fill(bench, "source", BackfillRequest(*JANUARY))
    comparison = rerun(bench.services, UUID(row["run"]), uuid4())
    assert comparison.identical, comparison.differences


def test_what_cannot_be_filled_is_refused_and_nothing_is_asked(
    bench: Bench, project: str, source: Source
) -> None:
    bench.provision(source.spec(project))
    bench.drain()
    before = bench.rows()
    with pytest.raises(NotFound):
        fill(bench, "nobody", FIRST_QUARTER)
    with pytest.raises(InvalidSpec) as caught:
        fill(bench, "source", BackfillRequest(MARCH[0], JANUARY[0]))
    assert [problem.path for problem in caught.value.problems] == ["end"]
    with pytest.raises(InvalidSpec, match="choose a longer chunk"):
        fill(bench, "source", BackfillRequest(date(1900, 1, 1), date(2020, 1, 1), Chunk.DAY))
    pause(bench.services, "source")
    with pytest.raises(WrongLifecycle):
        fill(bench, "source", FIRST_QUARTER)
    assert bench.rows()["backfills"] == before["backfills"]
    assert bench.rows()["run_requests"] == before["run_requests"]


def test_one_that_is_paused_meanwhile_stops_and_says_so(
    bench: Bench, project: str, source: Source
) -> None:
    bench.provision(source.spec(project))
    bench.drain()
    with pytest.raises(NotBackfilled, match="the instance is PAUSED"):
        fill(bench, "source", FIRST_QUARTER, lambda _: pause(bench.services, "source"))
    with bench.services.database.read() as session:
        from prefect_instances.libs.db.repositories.resources import get_instance

        assert get_instance(session, "source").lifecycle is Lifecycle.PAUSED
    assert runs_of(bench, "source")[0]["cause"] == Cause.PROVISION
