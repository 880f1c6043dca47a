"""A flow that a definition adds is provisioned, run, aggregated, changed and removed like any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest
from sqlalchemy import select

from prefect_instances.libs.adapters.prefect import DeploymentView, PrefectGateway
from prefect_instances.libs.core.divergence import Divergence
from prefect_instances.libs.core.errors import DataRejected, InvalidSpec, NotFound
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.status import FlowStatus, Require
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource, RunRecord
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.definitions import (
    Extract,
    ExtractContext,
    FlowContext,
    FlowResult,
    FlowSpec,
    Input,
    LineageContract,
    Page,
    Pipeline,
    Registry,
)
from prefect_instances.libs.plugins.optimizers import EqualWeight
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.lifecycle.manifests import plan
from prefect_instances.libs.services.lifecycle.pausing import pause, resume
from prefect_instances.libs.services.lifecycle.reconciling import Outcome, reconcile
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.runs.guardrails import GuardrailBlocked
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.views import explaining, reports
from prefect_instances.libs.services.views.timeline import timeline
from prefect_instances.libs.specs import survey_manifest
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, make_bench, prices
from tests.integration.services.lifecycle.test_reconcile import ports_of

WEEKLY = {"type": "cron", "expression": "0 8 * * 1"}
ALL = ["prices", "prices.audit", "prices.quality"]
DAYS = [date(2024, 1, day) for day in range(1, 6)]


class Plain(Pipeline):
    """A source without added flows."""

    name, version = "source", "1.0.0"

    class Config(Pipeline.Config):
        """Parameters."""

        scale: float = 1.0

    config: Config

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        closes = [self.config.scale * day.day for day in DAYS]
        return Extract(pl.DataFrame({"date": DAYS, "symbol": "A", "close": closes}), True)


class Checked(Plain):
    """One with a flow that counts, and one that only looks."""

    version = "2.0.0"
    flow_specs = (
        FlowSpec("refresh", schedule={"type": "cron", "expression": "0 6 * * *"}),
        FlowSpec("quality", runs="look", schedule=WEEKLY),
        FlowSpec("audit", runs="audit", publishes=False, aggregated=False),
    )

    def look(self, context: FlowContext, inputs: Sequence[Input]) -> FlowResult:
        [own] = inputs
        assert (own.role, context.kind) == ("output", "quality")
        table = own.frame.group_by("symbol").agg(pl.col("date").max(), days=pl.len()).collect()
        page = Page("table", "table", [{"days": 5}], "What there is")
        return FlowResult(table, {"symbols": table.height}, [page])

    def audit(self, context: FlowContext, inputs: Sequence[Input]) -> FlowResult:
        return FlowResult(metrics={"rows": inputs[0].frame.collect().height})


class Joined(Plain):
    """A computation that says what its upstreams are."""

    name = "joined"
    lineage_contracts = (
        LineageContract("benchmark", "quality", Require.DATA, triggers=False, required=True),
    )

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        return Extract(inputs[0].frame.collect(), True)


class Watched(EqualWeight):
    """An optimizer with a flow that reads its weights and what they were made of."""

    name = "watched"
    flow_specs = (FlowSpec("exposure", "expose", reads=("output", "upstreams"), publishes=False),)

    def expose(self, context: FlowContext, inputs: Sequence[Input]) -> FlowResult:
        columns = {item.role: item.frame.collect_schema().names()[-1] for item in inputs}
        return FlowResult(metrics=columns)


@pytest.fixture
def bench(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Bench:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    made = make_bench(database, gateway, tmp_path)
    registry = Registry([*made.services.registry.list(), Plain, Checked, Joined, Watched])
    return Bench(replace(made.services, registry=registry))


def source(project: str, version: str = "2.0.0", **parts: Any) -> dict[str, Any]:
    pipeline = {"definition": "source", "version": version}
    return {
        "name": "prices",
        "project": project,
        "type": "DatasetInstance",
        "pipeline": pipeline,
        **parts,
    }


def joined(project: str, *upstreams: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "joined",
        "project": project,
        "type": "DatasetInstance",
        "pipeline": {"definition": "joined"},
        "upstream_refs": list(upstreams),
    }


def status(bench: Bench, name: str = "prices") -> tuple[str, dict[str, str]]:
    """Of the instance, and of its flows."""
    document = reports.status(bench.services.database, bench.services.now(), name)
    [entry] = document["instances"]
    return entry["status"], {flow["kind"]: flow["status"] for flow in entry["flows"]}


def deployment(bench: Bench, project: str, kind: str) -> DeploymentView | None:
    name = f"run-definition-flow/{project}.prices.{kind}"
    return bench.services.prefect.find_deployment_by_name(name)


def deployments(bench: Bench, project: str) -> set[str]:
    found = bench.services.prefect.list_deployments_tagged(f"project:{project}")
    return {view.full_name for view in found}


def ran(bench: Bench) -> list[str]:
    """What ran until nothing more is to run; the two that read the output in the order of names."""
    first, *then = bench.drain()
    return [first, *sorted(then)]


def row(bench: Bench, kind: str) -> FlowExecutionResource:
    with bench.services.database.read() as session:
        return session.get_one(FlowExecutionResource, bench.flow_id("prices", kind))


def problems(caught: pytest.ExceptionInfo[InvalidSpec]) -> list[str]:
    return [problem.path for problem in caught.value.problems]


@on_both_databases
def test_added_flows_are_provisioned_run_and_aggregated(bench: Bench, project: str) -> None:
    bench.provision(source(project))

    assert deployments(bench, project) == {
        f"refresh-dataset/{project}.prices",
        f"run-definition-flow/{project}.prices.quality",
        f"run-definition-flow/{project}.prices.audit",
    }
    view = deployment(bench, project, "quality")
    assert view is not None
    assert view.parameters == {"instance": str(bench.instance_id("prices")), "kind": "quality"}
    assert {"type:DatasetInstance", "flow-kind:quality", "instances-execution"} <= {*view.tags}
    assert view.entrypoint == "prefect_instances.flows.run_definition_flow.run_definition_flow"
    [schedule] = view.schedules
    assert "0 8 * * 1" in str(schedule)
    assert row(bench, "quality").deployment_id == view.id

    assert ran(bench) == ALL
    ready = {"refresh": "READY", "quality": "READY", "audit": "READY"}
    assert status(bench) == ("READY", ready)
    flow = row(bench, "quality")
    assert flow.version_id is not None
    assert flow.next_due_at is not None
    assert flow.next_due_at.weekday() == 0
    written = read_version(bench.services, flow.version_id).collect()
    assert written.to_dicts() == [{"date": DAYS[-1], "symbol": "A", "days": 5}]
    assert row(bench, "audit").generation == 0
    assert row(bench, "refresh").next_due_at is not None


@on_both_databases
def test_it_is_told_of_as_of_any_flow(bench: Bench, project: str) -> None:
    bench.provision(source(project))
    bench.drain()
    database, now = bench.services.database, bench.services.now()

    listed = reports.runs(database, "prices")["runs"]
    [quality] = [run for run in listed if run["flow_kind"] == "quality"]
    assert (quality["type"], quality["status"]) == ("DefinitionRun", "completed")
    [read] = quality["inputs"]
    assert (read["resource"], read["flow_kind"], read["generation"]) == ("prices", "refresh", 1)
    assert quality["metrics"]["symbols"] == 1
    info = reports.run_info(database, quality["id"])
    assert {"key": "table", "kind": "table"} in info["artifacts"]
    edges = reports.lineage(database, "prices")["edges"]
    assert len(edges) == 2
    assert len(explaining.why(database, now, "prices", "quality")["flows"]) == 1
    slots = timeline(database, now, "prices", 7)["flows"]
    assert {flow["flow_kind"] for flow in slots if flow["next_slot"]} == {"refresh", "quality"}
    for run in listed:
        assert rerun(bench.services, UUID(run["id"]), uuid4()).identical


def test_one_that_fails_makes_the_instance_fail_if_it_counts(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.provision(source(project))
    bench.drain()

    def fail(*_: object) -> FlowResult:
        raise DataRejected("too few days")

    monkeypatch.setattr(Checked, "audit", fail)
    with pytest.raises(DataRejected):
        bench.run("prices", "audit", force=True)
    assert status(bench)[0] == "READY"
    assert status(bench)[1]["audit"] == "ERROR"

    monkeypatch.setattr(Checked, "look", fail)
    with pytest.raises(DataRejected):
        bench.run("prices", "quality", force=True)
    assert status(bench)[0] == "ERROR"
    assert "too few days" in row(bench, "quality").detail
    # Its failure blocks nobody who reads the output.
    bench.provision(derived(project, "reader", "close * 2", "prices"))
    assert bench.drain() == ["reader"]
    assert row(bench, "refresh").status is FlowStatus.READY

    monkeypatch.undo()
    bench.run("prices", "quality")
    assert status(bench)[0] == "READY"


@pytest.mark.parametrize(
    ("method", "made", "said"),
    [
        pytest.param("look", None, "must return a FlowResult", id="nothing"),
        pytest.param("look", FlowResult(), "must return a frame", id="no frame"),
        pytest.param("audit", FlowResult(pl.DataFrame()), "must return no frame", id="a frame"),
    ],
)
def test_what_it_returns_has_to_be_what_it_declares(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch, method: str, made: Any, said: str
) -> None:
    bench.provision(source(project))
    monkeypatch.setattr(Checked, method, lambda *_: made)
    with pytest.raises(DataRejected, match=said):
        bench.drain()


def test_it_may_read_the_upstreams_too_and_be_an_optimizers(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    weights = {
        "name": "weights",
        "project": project,
        "type": "PortfolioOptimizerInstance",
        "definition": "watched",
        "lookback_days": 60,
        "upstream_refs": [{"resource": "prices", "role": "prices"}],
    }
    bench.provision(weights)
    assert bench.drain() == ["prices", "weights.optimize", "weights.exposure"]
    assert status(bench, "weights") == ("READY", {"optimize": "READY", "exposure": "READY"})
    [run, _] = reports.runs(bench.services.database, "weights")["runs"]
    assert run["metrics"] | {"output": "weight", "prices": "close"} == run["metrics"]


def test_guardrails_judge_it_where_they_name_it(bench: Bench, project: str) -> None:
    """It writes no closes: that breaks the contract only where it is meant."""
    contract = {"kind": "dataset.schema", "config": {"columns": {"close": "Float64"}}}
    bench.provision(source(project, guardrail_contracts=[contract]))
    bench.drain()
    assert status(bench)[0] == "READY"
    named = {**contract, "flow": "quality"}
    bench.update(source(project, guardrail_contracts=[named]))
    with pytest.raises(GuardrailBlocked):
        bench.run("prices", "quality", force=True)


def test_an_upstream_that_advances_makes_it_due(bench: Bench, project: str) -> None:
    bench.provision(source(project))
    bench.drain()
    changed = {"definition": "source", "version": "2.0.0", "config": {"scale": 2.0}}
    bench.update(source(project, pipeline=changed))
    assert status(bench)[1] == {"refresh": "STALE", "quality": "STALE", "audit": "STALE"}
    assert ran(bench) == ALL
    # The same days: the look at them is what it was, and publishes nothing.
    assert (row(bench, "refresh").generation, row(bench, "quality").generation) == (2, 1)


def test_a_schedule_of_the_spec_takes_the_place_of_the_usual_one(
    bench: Bench, project: str
) -> None:
    asked = {"type": "cron", "expression": "30 9 * * *"}
    bench.provision(source(project, flow_schedules={"quality": asked}))
    bench.drain()
    view = deployment(bench, project, "quality")
    assert view is not None
    assert "30 9 * * *" in str(view.schedules)
    bench.update(source(project, flow_schedules={"quality": {"enabled": False}}))
    view = deployment(bench, project, "quality")
    assert view is not None
    assert view.schedules == ()
    assert row(bench, "quality").next_due_at is None
    bench.update(source(project))
    view = deployment(bench, project, "quality")
    assert view is not None
    assert "0 8 * * 1" in str(view.schedules)
    due = row(bench, "quality").next_due_at
    assert due is not None
    assert due > datetime.now(UTC)


def test_schedules_and_references_of_no_flow_are_refused_together(
    bench: Bench, project: str
) -> None:
    wrong = source(project, flow_schedules={"qualty": WEEKLY})
    reader = joined(project, {"resource": "prices", "flow": "qualty"})
    document = {"project": project, "instances": [wrong, reader]}
    with pytest.raises(InvalidSpec) as caught:
        plan(bench.services, survey_manifest(document))
    assert problems(caught) == [
        "instances[0].flow_schedules.qualty",
        "instances[1].upstream_refs",
        "instances[1].upstream_refs[0].flow",
    ]
    rows = bench.rows()
    with pytest.raises(InvalidSpec) as caught:
        bench.provision(wrong)
    assert problems(caught) == ["flow_schedules.qualty"]
    assert bench.rows() == rows


def test_a_lineage_contract_gives_the_edge_what_the_spec_leaves_open(
    bench: Bench, project: str
) -> None:
    reader = joined(project, {"resource": "prices", "role": "benchmark"})
    document = {"project": project, "instances": [source(project), reader]}
    assert len(plan(bench.services, survey_manifest(document)).steps) == 2
    bench.provision(source(project))
    bench.provision(reader)
    edges = reports.lineage(bench.services.database, "joined")["edges"]
    [edge] = [edge for edge in edges if edge["role"] == "benchmark"]
    assert (edge["require"], edge["triggers"]) == ("data", False)
    bench.drain()
    [run] = reports.runs(bench.services.database, "joined")["runs"]
    assert [read["flow_kind"] for read in run["inputs"]] == ["quality"]

    # While it is read, no version without it can take over.
    without = source(project, version="1.0.0")
    document = {"project": project, "instances": [without, reader]}
    with pytest.raises(InvalidSpec) as caught:
        plan(bench.services, survey_manifest(document))
    assert "instances[0].pipeline.definition" in problems(caught)
    with pytest.raises(InvalidSpec) as caught:
        bench.update(without)
    assert problems(caught) == ["pipeline.definition"]


@on_both_databases
def test_another_version_adds_flows_and_takes_them_away(bench: Bench, project: str) -> None:
    bench.provision(source(project, version="1.0.0"))
    bench.drain()
    assert status(bench) == ("READY", {"refresh": "READY"})

    bench.update(source(project))
    assert status(bench)[0] == "STALE"
    assert ran(bench) == ALL
    assert status(bench)[0] == "READY"
    listed = reports.runs(bench.services.database, "prices")["runs"]
    [run] = [run for run in listed if run["flow_kind"] == "quality"]
    assert rerun(bench.services, UUID(run["id"]), uuid4()).identical

    flow_id = bench.flow_id("prices", "quality")
    bench.update(source(project, version="1.0.0"))
    assert deployments(bench, project) == {f"refresh-dataset/{project}.prices"}
    bench.drain()
    assert status(bench) == ("READY", {"refresh": "READY"})
    with bench.services.database.read() as session:
        assert session.scalars(select(RunRecord).where(RunRecord.flow_id == flow_id)).all() == []
    outputs = bench.services.settings.store_root / "outputs" / str(bench.instance_id("prices"))
    assert not any(path.is_file() for path in outputs.rglob("*"))


def test_it_is_paused_repaired_and_removed_with_its_instance(bench: Bench, project: str) -> None:
    bench.provision(source(project))
    bench.drain()
    pause(bench.services, "prices")
    view = deployment(bench, project, "quality")
    assert view is not None
    assert view.paused
    resume(bench.services, "prices")

    bench.services.prefect.delete_deployment(view.id)
    found = reconcile(bench.services, ports_of(bench))
    mine = [item for item in found.items if item.diverged.instance_id]
    assert [(item.diverged.kind, item.diverged.part, item.outcome) for item in mine] == [
        (Divergence.DEPLOYMENT_MISSING, "quality", Outcome.REPAIRED)
    ]
    again = deployment(bench, project, "quality")
    assert again is not None
    assert row(bench, "quality").deployment_id == again.id
    settled = reconcile(bench.services, ports_of(bench))
    assert not [item for item in settled.items if item.diverged.instance_id]

    deprovision(bench.services, "prices", purge=True)
    assert deployments(bench, project) == set()
    with bench.services.database.read() as session, pytest.raises(NotFound):
        get_instance(session, "prices")
