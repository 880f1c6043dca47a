"""Experiments saved as macros: kept in the database, called like those that are installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import polars as pl
import pytest
from sqlalchemy import select

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import InvalidSpec, NotFound
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import OpMacroDef, Resource, ResourceVersion
from prefect_instances.libs.definitions import Argument, Axis, DefinitionKind, Op
from prefect_instances.libs.services.composition.catalog import (
    add_saved_macros,
    read_recorded_calls,
)
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.lifecycle.macros import (
    MacroRequest,
    Saved,
    plan_macro,
    save_macro,
)
from prefect_instances.libs.services.lifecycle.manifests import plan_one
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import parse_spec
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, make_bench, prices

MACRO = DefinitionKind.OP_MACRO


@dataclass
class Lab:
    """A process's view of a project with prices."""

    bench: Bench
    project: str

    @property
    def services(self) -> Services:
        return self.bench.services

    def wish(self, experiment: str, name: str, **more: Any) -> MacroRequest:
        return MacroRequest(f"{self.project}/{experiment}", name, **more)

    def save(self, experiment: str, name: str, **more: Any) -> Saved:
        return save_macro(self.services, self.wish(experiment, name, **more))

    def idea(self, name: str, expression: str, **more: Any) -> None:
        """An experiment."""
        document = {
            "name": name,
            "project": self.project,
            "type": "ExperimentInstance",
            "expression": expression,
            "upstream_refs": [{"resource": "prices"}],
        }
        self.bench.provision({**document, **more})

    def derived(self, name: str, expression: str, **more: Any) -> dict[str, Any]:
        return derived(self.project, name, expression, "prices", **more)

    def output(self, name: str) -> pl.DataFrame:
        label = f"{self.project}/{name}"
        document = reports.show(self.services.database, self.services.now(), label)
        rows = read_version(self.services, UUID(document["output"]["version"]))
        return rows.sort("symbol", "date").collect()


@pytest.fixture
def lab(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Lab:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    found = Lab(make_bench(database, gateway, tmp_path), f"p{uuid4().hex[:8]}")
    found.bench.provision(prices(found.project))
    return found


@pytest.fixture
def elsewhere(database: Database, gateway: PrefectGateway, tmp_path: Path, lab: Lab) -> Lab:
    """What another process has: everything of its own but the database and the home."""
    return Lab(make_bench(database, gateway, tmp_path), lab.project)


def calls_of(lab: Lab, name: str) -> dict[tuple[DefinitionKind, str], str]:
    with lab.services.database.read() as session:
        query = select(Resource.id).where(Resource.name == f"{name}.pipeline")
        return read_recorded_calls(session, session.scalars(query).one())


@on_both_databases
def test_a_saved_macro_computes_what_the_experiment_does_in_another_process(
    lab: Lab, elsewhere: Lab
) -> None:
    lab.idea("idea", "MEAN(close, 21) / REF(close, 5) * 2")

    saved = lab.save("idea", "TREND")
    document = elsewhere.derived("trend", "trend(close)")
    assert not plan_one(elsewhere.services, parse_spec(document)).is_empty
    elsewhere.bench.provision(document)
    elsewhere.bench.provision(elsewhere.derived("plain", "MEAN(close, 21) / REF(close, 5) * 2"))
    elsewhere.bench.drain()

    assert (saved.action, saved.macro.usage()) == ("create", "TREND(close: series)")
    assert elsewhere.output("trend").equals(elsewhere.output("plain"))
    assert calls_of(elsewhere, "trend")[MACRO, "TREND"] == "1.0.0"
    assert (DefinitionKind.OP, "MEAN") in calls_of(elsewhere, "trend")
    with lab.services.database.read() as session:
        row = session.scalars(select(OpMacroDef).join(Resource).where(Resource.name == "TREND"))
        assert row.one().compatibility_rules["min_upstreams"] == 0
        registry = add_saved_macros(session, elsewhere.services.registry)
    assert registry.get(MACRO, "TREND").describe()["description"].startswith("Saved from")
    assert registry.broken == elsewhere.services.registry.broken


def test_constants_become_arguments_with_defaults(lab: Lab, elsewhere: Lab) -> None:
    lab.idea("idea", "(close - MEAN(close, 21)) / STD(close, 21) * 0.5")

    saved = lab.save("idea", "BAND", parameters={"d": 21.0, "scale": 0.5}).macro
    for name, expression in {
        "same": "BAND(close)",
        "other": "BAND(close, 10, 2)",
        "written": "(close - MEAN(close, 10)) / STD(close, 10) * 2",
    }.items():
        elsewhere.bench.provision(elsewhere.derived(name, expression))
    elsewhere.bench.drain()

    assert saved.usage() == "BAND(close: series, d: window = 21, scale: number = 0.5)"
    assert elsewhere.output("same").equals(elsewhere.output("idea"))
    assert elsewhere.output("other").equals(elsewhere.output("written"))


def test_another_expression_is_another_version_and_what_exists_keeps_to_its_own(
    lab: Lab, elsewhere: Lab
) -> None:
    lab.idea("first", "close * 2")
    lab.idea("second", "close * 3")
    saved = [lab.save("first", "TIMES")]
    lab.bench.provision(lab.derived("old", "TIMES(close)"))
    lab.bench.drain()
    before = lab.output("old")
    run = reports.runs(lab.services.database, f"{lab.project}/old")["runs"][0]["id"]

    saved += [lab.save(name, "TIMES") for name in ("first", "second", "second", "first")]
    elsewhere.bench.provision(elsewhere.derived("new", "TIMES(close)"))
    elsewhere.bench.provision(elsewhere.derived("pinned", "TIMES(close)", ops={"TIMES": "2.0.0"}))
    elsewhere.bench.run("old", mode=Mode.FULL)
    elsewhere.bench.drain()

    assert [(one.action, one.macro.version) for one in saved] == [
        ("create", "1.0.0"),
        ("unchanged", "1.0.0"),
        ("create", "2.0.0"),
        ("unchanged", "2.0.0"),
        ("create", "3.0.0"),
    ]
    assert elsewhere.output("old").equals(before)
    assert elsewhere.output("new").equals(before)
    assert not elsewhere.output("pinned").equals(before)
    assert calls_of(elsewhere, "old")[MACRO, "TIMES"] == "1.0.0"
    assert calls_of(elsewhere, "new")[MACRO, "TIMES"] == "3.0.0"
    assert rerun(elsewhere.services, UUID(run), uuid4()).identical


def test_planning_saves_nothing(lab: Lab) -> None:
    lab.idea("idea", "close * 2")
    before = lab.bench.rows()

    planned = plan_macro(lab.services, lab.wish("idea", "TWICE", version="0.3.0"))

    assert planned.document() == {
        "name": "TWICE",
        "version": "0.3.0",
        "action": "create",
        "usage": "TWICE(close: series)",
        "expression": "close * 2",
    }
    assert lab.bench.rows() == before


WRONG: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no_name": ({"name": "trend-1"}, {"name"}),
    "too_long": ({"name": "T" * 81}, {"name"}),
    "an_op": ({"name": "MEAN"}, {"name"}),
    "an_alias": ({"name": "TS_MEAN"}, {"name"}),
    "no_version": ({"version": "one"}, {"version"}),
    "a_dataset": ({"experiment": "prices"}, {"experiment"}),
    "no_constant": ({"parameters": {"d": 7}}, {"parameters.d"}),
    "a_field": ({"parameters": {"close": 21}}, {"parameters.close"}),
    "a_keyword": ({"parameters": {"if": 21}}, {"parameters.if"}),
    "twice": ({"parameters": {"d": 21, "e": 21}}, {"parameters.e"}),
    "everything": (
        {"name": "MEAN", "version": "x", "parameters": {"d": 7, "1": 21}},
        {"name", "version", "parameters.d", "parameters.1"},
    ),
}


@pytest.mark.parametrize(("change", "paths"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_saved_is_refused_with_every_problem(
    lab: Lab, change: dict[str, Any], paths: set[str]
) -> None:
    lab.idea("idea", "MEAN(close, 21)")
    before = lab.bench.rows()

    with pytest.raises(InvalidSpec) as caught:
        lab.save(**{"experiment": "idea", "name": "TREND", **change})

    assert {problem.path for problem in caught.value.problems} == paths
    assert lab.bench.rows() == before


def test_an_experiment_that_is_not_there_is_not_found(lab: Lab) -> None:
    with pytest.raises(NotFound):
        lab.save("nothing", "TREND")


@on_both_databases
def test_a_cycle_and_a_change_that_breaks_a_caller_are_refused(lab: Lab) -> None:
    lab.idea("one", "close * 2")
    lab.save("one", "INNER")
    lab.idea("two", "INNER(close) + 1")
    lab.save("two", "OUTER")
    lab.idea("loop", "OUTER(close) * 3")
    lab.idea("wider", "close * volume", inputs={"volume": {"column": "close"}})
    refused = {"loop": "cannot call itself", "wider": "OUTER 1.0.0 calls it"}

    for experiment, words in refused.items():
        with pytest.raises(InvalidSpec) as caught:
            lab.save(experiment, "INNER")
        assert words in str(caught.value)
    with pytest.raises(InvalidSpec) as caught:
        lab.save("wider", "OUTER", version="1.0.0")
    assert [problem.path for problem in caught.value.problems] == ["version"]
    with lab.services.database.read() as session:
        macros = select(Resource.id).where(Resource.name.in_(["INNER", "OUTER"]))
        query = select(ResourceVersion.label).where(ResourceVersion.resource_id.in_(macros))
        assert session.scalars(query).all() == ["1.0.0", "1.0.0"]


class Later(Op):
    """A newer way to compute a mean."""

    name, version, axis = "MEAN", "9.0.0", Axis.SYMBOL
    arguments: ClassVar[dict[str, Argument]] = {"x": Argument.SERIES, "d": Argument.WINDOW}

    def build(self, *given: Any, **_: Any) -> pl.Expr:
        mean: pl.Expr = given[0].rolling_mean(given[1])
        return mean


def test_a_macro_that_would_mean_something_else_than_the_experiment_is_refused(
    lab: Lab, elsewhere: Lab
) -> None:
    lab.idea("idea", "MEAN(close, 21)")
    elsewhere.services.registry.add(Later)

    with pytest.raises(InvalidSpec, match="it uses MEAN"):
        elsewhere.save("idea", "TREND")
