"""Recursive and smart runs on a real database and the real server."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect_instances.libs.core.commands import Blocked, Skipped
from prefect_instances.libs.services.runs.publishing import Finished
from prefect_instances.libs.services.views import reports
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, prices

pytestmark = on_both_databases


def chain(bench: Bench, project: str) -> None:
    """prices → returns → smooth, all READY."""
    bench.provision(prices(project, end_date="2020-06-30"))
    bench.provision(derived(project, "returns", "close / REF(close, 1) - 1", "prices"))
    bench.provision(derived(project, "smooth", "MEAN(value, 5)", "returns"))
    bench.drain()


def statuses(bench: Bench) -> dict[str, str]:
    document = reports.status(bench.services.database, bench.services.now())
    return {entry["name"]: entry["status"] for entry in document["instances"]}


def causes(bench: Bench, name: str) -> list[str]:
    """The causes of an instance's runs, newest first."""
    document: dict[str, Any] = reports.runs(bench.services.database, name)
    return [run["cause"] for run in document["runs"]]


def make_stale(bench: Bench, name: str) -> UUID:
    """Its configuration counts as changed, and the run that follows is nobody's yet."""
    flow_id = bench.flow_id(name)
    bench.services.ledger.reconfigure(flow_id)
    return flow_id


def test_a_recursive_run_refreshes_what_is_stale_and_then_comes_by_itself(
    bench: Bench, project: str
) -> None:
    chain(bench, project)
    make_stale(bench, "prices")
    blocked = bench.run("smooth", recursive=True)
    assert isinstance(blocked, Blocked)
    assert [str(b.instance) for b in blocked.blockers] == ["returns"]
    assert bench.drain() == ["prices", "smooth"]
    assert set(statuses(bench).values()) == {"READY"}
    assert causes(bench, "smooth")[0] == "manual"
    assert len(causes(bench, "returns")) == 1, "it turned out to be fresh"


def test_a_smart_run_is_skipped_where_the_output_is_fresh(bench: Bench, project: str) -> None:
    chain(bench, project)
    skipped = bench.run("returns", smart=True)
    assert isinstance(skipped, Skipped)
    assert "fresh" in skipped.why
    assert bench.drain() == []
    assert len(causes(bench, "returns")) == 1
    assert isinstance(bench.run("returns"), Finished)
