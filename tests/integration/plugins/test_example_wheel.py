"""Definitions of an installed wheel, one of each kind, used by instances and taken away again."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from sqlalchemy import func, select

from prefect_instances.libs.adapters.prefect import DeploymentView, PrefectGateway
from prefect_instances.libs.core.errors import DefinitionUnavailable, InvalidSpec
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.status import FlowStatus, Reason
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource, RunRecord
from prefect_instances.libs.definitions import DefinitionKind, Registry
from prefect_instances.libs.definitions.installed import discover, load_installed
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import parse_manifest, spec_document
from tests.example_wheel import SOURCE, installed_wheel
from tests.integration.bench import Bench, derived, make_bench, prices

PAGE = Path(__file__).parents[3] / "docs" / "writing-a-definition.md"


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The wheel on the path; what was known of it is forgotten afterwards."""
    folder = installed_wheel()
    monkeypatch.syspath_prepend(folder)
    load_installed.cache_clear()
    yield folder
    load_installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("example_definitions")]:
        del sys.modules[name]


@pytest.fixture
def bench(wheel: Path, database: Database, gateway: PrefectGateway, tmp_path: Path) -> Bench:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    return make_bench(database, gateway, tmp_path)


def walk(project: str, name: str, version: str = "", **parts: Any) -> dict[str, Any]:
    config = {"symbols": ["A", "B", "C"], "start": "2020-01-01", "end": "2020-12-31"}
    pipeline = {"definition": "random_walk", "version": version, "config": config}
    return {
        "name": name,
        "project": project,
        "type": "DatasetInstance",
        "pipeline": pipeline,
        "store": {"definition": "arrow"},
        **parts,
    }


def flow(bench: Bench, name: str, kind: str = "") -> FlowExecutionResource:
    with bench.services.database.read() as session:
        found = session.get_one(FlowExecutionResource, bench.flow_id(name, kind))
        session.expunge(found)
        return found


def output(bench: Bench, name: str, kind: str = "") -> pl.DataFrame:
    version = flow(bench, name, kind).version_id
    assert version is not None
    return read_version(bench.services, version).sort("date", "symbol").collect()


def shown(bench: Bench, name: str) -> dict[str, Any]:
    document = reports.show(bench.services.database, bench.services.now(), name)
    components: dict[str, Any] = document["components"]
    return components


def deployment(bench: Bench, full_name: str) -> DeploymentView:
    found = bench.services.prefect.find_deployment_by_name(full_name)
    assert found is not None
    return found


def without_the_wheel(bench: Bench) -> Bench:
    """The same home after the wheel was uninstalled."""
    kept = [each for each in bench.services.registry.list() if "example" not in each.__module__]
    return Bench(replace(bench.services, registry=Registry(kept)))


def runs_of(bench: Bench, name: str) -> int:
    query = select(func.count()).where(RunRecord.flow_id == bench.flow_id(name))
    with bench.services.database.read() as session:
        return session.scalar(query) or 0


def test_the_wheel_brings_a_definition_of_each_kind(wheel: Path) -> None:
    registry = discover()
    brought = [each for each in registry.list() if "example" in each.__module__]
    assert {each.kind for each in brought} == set(DefinitionKind)
    assert registry.broken == []


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_code_of_the_page_is_that_of_the_wheel(wheel: Path) -> None:
    package = SOURCE / "src" / "example_definitions"
    assert blocks("toml")
    assert all(block in (SOURCE / "pyproject.toml").read_text() for block in blocks("toml"))
    kinds = set()
    for block in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)
        if name is None:
            exec(compile(block, PAGE.name, "exec"), {})
            continue
        assert block[name.end() :] in (package / name[1]).read_text(), block
        kinds.add(name[1])
    named = {path.name for path in package.glob("[a-z]*.py")} - {"held.py"}
    assert kinds == named


def test_the_manifests_of_the_page_become_ready(bench: Bench) -> None:
    specs = [spec for text in blocks("yaml") for spec in parse_manifest(text).instances]
    for spec in specs:
        bench.provision(spec_document(spec))
        bench.drain()
    listed = reports.status(bench.services.database, bench.services.now(), project="tutorial")
    statuses = {each["name"]: each["status"] for each in listed["instances"]}
    assert statuses == {spec.name: "READY" for spec in specs}
    # Two versions side by side: the older one is pinned, the newest is taken where none is named.
    assert shown(bench, "walk")["pipeline"]["version"] == "2.0.0"
    assert shown(bench, "old_walk")["pipeline"]["version"] == "1.0.0"
    assert not output(bench, "walk").equals(output(bench, "old_walk"))
    assert output(bench, "monthly").height == 3 * 12
    quality = output(bench, "checked", "quality")
    assert quality.select("symbol", "days").rows() == [("A", 366), ("B", 366), ("C", 366)]
    assert "0 9 * * *" in str(deployment(bench, "run-definition-flow/tutorial.checked.quality"))
    assert output(bench, "relative").height == 3 * 365
    assert output(bench, "drawdown_idea")["value"].max() == 0.0
    assert output(bench, "model", "inference").height > 0
    weights = output(bench, "portfolio").group_by("date").agg(pl.col("weight").sum())
    assert weights["weight"].to_list() == pytest.approx([1.0] * weights.height)
    # What an expression calls is recorded, through the macro; the macro is its expression.
    called = ("CLIP", "SHARPE", "MEAN", "STD", "DELTA", "REF")
    assert shown(bench, "sharpe")["pipeline"]["calls"] == dict.fromkeys(called, "1.0.0")
    assert shown(bench, "drawdown_idea")["calls"]["DRAWDOWN"] == "1.0.0"
    by_hand = "MEAN(DELTA(close, 1) / REF(close, 1), 20) / STD(DELTA(close, 1) / REF(close, 1), 20)"
    clipped = f"IF({by_hand} > 2, 2, IF({by_hand} < -2, -2, {by_hand}))"
    bench.provision(derived("tutorial", "by_hand", clipped, "walk"))
    bench.drain()
    assert output(bench, "sharpe").equals(output(bench, "by_hand"))
    with bench.services.database.read() as session:
        run = select(RunRecord.id).where(RunRecord.flow_id == bench.flow_id("sharpe"))
        assert rerun(bench.services, session.scalars(run).one(), uuid4()).identical
    deprovision(bench.services, "walk", cascade=True, purge=True)


def test_a_missing_definition_stops_only_the_instances_that_use_it(
    bench: Bench, project: str
) -> None:
    bench.provision(walk(project, "walk", store={"definition": "delta"}))
    bench.provision(derived(project, "reader", "MEAN(close, 5)", "walk"))
    bench.provision(derived(project, "caller", "DRAWDOWN(close, 5)", "walk"))
    bench.provision(prices(project))
    bench.drain()
    before = {name: flow(bench, name) for name in ("walk", "reader", "caller", "prices")}
    assert {each.status for each in before.values()} == {FlowStatus.READY}

    gone = without_the_wheel(bench)
    for name, kind, label in (
        ("walk", "PipelineDef", "random_walk 2.0.0"),
        ("caller", "OpDef", "DRAWDOWN 1.0.0"),
    ):
        with pytest.raises(DefinitionUnavailable) as caught:
            gone.run(name, force=True)
        said = str(caught.value)
        assert said.startswith(f"{kind} definition '{label}' cannot be used")
        assert "install the package that contains it" in said
        assert "\n" not in said
        stopped = flow(gone, name)
        assert (stopped.status, stopped.reason) == (FlowStatus.ERROR, Reason.DEFINITION_UNAVAILABLE)
        assert stopped.detail == said
        # No run began, none is on its way, and the output stays.
        assert runs_of(gone, name) == 1
        assert stopped.version_id == before[name].version_id
    assert gone.drain() == []
    # What reads the output of such an instance, and everything else, goes on.
    gone.run("reader", force=True)
    gone.run("prices", force=True)
    assert (runs_of(gone, "reader"), flow(gone, "reader").reason) == (2, Reason.UPSTREAM_ADVANCED)
    assert flow(gone, "prices").status is FlowStatus.READY
    assert output(gone, "walk").equals(output(bench, "walk"))

    # Installed again, it runs when it is asked.
    bench.run("walk")
    bench.drain()
    bench.run("caller")
    assert {flow(bench, name).status for name in before} == {FlowStatus.READY}


def test_a_wrong_composition_is_refused_with_its_paths(bench: Bench, project: str) -> None:
    bench.provision(walk(project, "walk"))
    wrong = walk(project, "wrong", upstream_refs=[{"resource": "walk"}])
    wrong |= {"pipeline": {"definition": "relative"}, "flow_schedules": {"quality": {}}}
    rows = bench.rows()
    with pytest.raises(InvalidSpec) as caught:
        bench.provision(wrong)
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["flow_schedules.quality", "upstream_refs"]
    assert bench.rows() == rows


def test_a_version_that_is_kept_is_not_replaced_by_a_newer_one(bench: Bench, project: str) -> None:
    from example_definitions.ops import Drawdown  # type: ignore[import-not-found]

    class Newer(Drawdown):  # type: ignore[misc]  # a class that mypy does not see
        version = "2.0.0"

        def build(self, x: pl.Expr, d: int) -> pl.Expr:
            return x * 0 + 7

    older = bench.services.registry.list()
    with_newer = Bench(replace(bench.services, registry=Registry([*older, Newer])))
    bench.provision(walk(project, "walk"))
    bench.provision(derived(project, "kept", "DRAWDOWN(close, 5)", "walk"))
    bench.drain()
    before = output(bench, "kept")

    with_newer.run("kept", force=True)
    with_newer.provision(derived(project, "newest", "DRAWDOWN(close, 5)", "walk"))
    pinned = derived(project, "pinned", "DRAWDOWN(close, 5)", "walk", ops={"DRAWDOWN": "1.0.0"})
    with_newer.provision(pinned)
    with_newer.drain()

    assert output(with_newer, "kept").equals(before)
    assert output(with_newer, "pinned").equals(before)
    assert set(output(with_newer, "newest")["value"]) == {7.0}
    wrong = derived(project, "wrong", "DRAWDOWN(close, 5)", "walk", ops={"DRAWDOWN": "3.0.0"})
    with pytest.raises(InvalidSpec) as caught:
        with_newer.provision(wrong)
    assert [problem.path for problem in caught.value.problems] == ["pipeline.config.ops.DRAWDOWN"]
    # A changed configuration takes the newest again.
    with_newer.update(derived(project, "kept", "DRAWDOWN(close, 5) + 0", "walk"))
    assert shown(with_newer, "kept")["pipeline"]["calls"] == {"DRAWDOWN": "2.0.0"}
