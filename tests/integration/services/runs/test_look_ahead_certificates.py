"""``instances audit``: certificates of published versions, and promotions that require one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, ClassVar
from uuid import UUID

import polars as pl
import pytest
from sqlalchemy.orm import Session

import prefect_instances
from prefect_instances.cli.app import main
from prefect_instances.libs import wiring
from prefect_instances.libs.core.errors import InvalidSpec, NotFound
from prefect_instances.libs.db.models import FlowExecutionResource
from prefect_instances.libs.definitions.base import CompatibilityRules
from prefect_instances.libs.definitions.look_ahead import Leak
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.plugins.ml_modules import RidgeModule
from prefect_instances.libs.quant.backtest import Floats, History, simulate
from prefect_instances.libs.services.composition.certificates import NotCertified
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.lifecycle.external_resources import create_external
from prefect_instances.libs.services.lifecycle.promotion import build_promoted_spec
from prefect_instances.libs.services.procedures import backtesting, optimization
from prefect_instances.libs.services.runs.look_ahead import NotAuditable, audit_instance
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import parse_spec
from tests.integration.bench import NEXT_DAY, Bench, derived, prices, write_instance


class Smoother(Pipeline):
    """A definition as a wheel would bring it: a mean of the closes around each date."""

    name, version = "smoother", "1.0.0"
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules(min_upstreams=1)

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        rows = inputs[0].frame.sort("symbol", "date")
        value = pl.col("close").rolling_mean(3, center=True).over("symbol")
        return Extract(rows.select("date", "symbol", value=value).collect(), complete=True)


@pytest.fixture
def desk(bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Prices, an honest signal with tight bounds, and a smoother that knows tomorrow."""
    settings = bench.services.settings
    monkeypatch.setenv("INSTANCES_HOME", str(settings.home))
    monkeypatch.setenv("INSTANCES_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("PREFECT_API_URL", bench.services.prefect.api_url)
    registry = bench.services.registry.extended([Smoother])
    monkeypatch.setattr(wiring, "load_installed", lambda: registry)
    made = Bench(replace(bench.services, registry=registry))
    momentum = derived(project, "momentum", "DELTA(close, 5) / REF(close, 5)", "prices")
    bounds = {"type": "SignalInstance", "signal": {"min_value": -1, "max_value": 1}}
    smooth = {**momentum, "name": "smooth", "pipeline": {"definition": "smoother"}}
    for document in (
        prices(project),
        momentum,
        {**momentum, "name": "bounded", **bounds},
        smooth,
        {
            "name": "idea",
            "project": project,
            "type": "ExperimentInstance",
            "expression": "ZSCORE(DELTA(close, 5))",
            "upstream_refs": [{"resource": "prices"}],
        },
    ):
        write_instance(made, document)
    for name in ("prices", "momentum", "bounded", "smooth"):
        made.run(name)
    return made


def certificates(bench: Bench, name: str) -> list[tuple[bool, int]]:
    """The stored certificates of an instance's newest run: passed, and the version's number."""
    run = reports.runs(bench.services.database, name)["runs"][0]["id"]
    info = reports.run_info(bench.services.database, run)["guardrails"]
    return [
        (entry["passed"], entry["details"]["generation"])
        for entry in info
        if (entry["kind"], entry["gate"]) == ("look_ahead", "version.audit")
    ]


def test_a_certificate_is_stored_with_the_version_and_a_promotion_can_require_it(
    desk: Bench, project: str
) -> None:
    services, before = desk.services, desk.rows()

    def promote(name: str) -> str:
        return build_promoted_spec(services, name, "alpha", {"allow_nan": True}, audited=True).name

    for name in ("momentum", "smooth"):
        with pytest.raises(NotCertified, match=f"`instances audit {project}/{name}`") as refused:
            promote(name)
        assert "\n" not in str(refused.value)
    assert desk.rows() == before

    honest = audit_instance(services, "momentum", seed=1, points=2)
    leaky = audit_instance(services, "smooth", seed=1, points=1)

    assert (honest.passed, len(honest.audit.comparisons)) == (True, 6)
    assert not leaky.passed
    found = leaky.audit.leaks[0]
    assert found.leak is not None
    assert (found.leak.date, found.leak.column) == (found.day, "value")
    assert desk.rows() == {**before, "guardrail_reports": before["guardrail_reports"] + 2}
    assert certificates(desk, "momentum") == [(True, 1)]
    assert certificates(desk, "smooth") == [(False, 1)]
    assert promote("momentum") == "alpha"
    with pytest.raises(NotCertified, match="looks ahead: inputs truncated after"):
        promote("smooth")

    # Another version, and another configuration of the same one, needs its own certificate.
    desk.run("prices", as_of=NEXT_DAY)
    desk.run("momentum")
    with pytest.raises(NotCertified, match="not audited"):
        promote("momentum")
    assert audit_instance(services, "momentum", points=1).generation == 2
    assert promote("momentum") == "alpha"

    def reconfigure(session: Session) -> None:
        session.get_one(FlowExecutionResource, desk.flow_id("momentum")).consumed_config_version = 2

    services.database.transact(reconfigure)
    with pytest.raises(NotCertified, match="not audited"):
        promote("momentum")


def test_python_and_the_command_line_audit_and_say_where_it_leaks(
    desk: Bench, project: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = prefect_instances.audit(f"{project}/bounded", seed=3, points=1)
    assert found.passed, found.audit.verdict

    def audit(*words: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(["audit", *words, "--seed", "3", "--points", "1"])
        return ended.value.code or 0, capsys.readouterr().out

    code, printed = audit("bounded", "--json")
    told = json.loads(printed)
    assert (code, told["passed"], told["seed"], told["generation"]) == (0, True, 3, 1)
    assert (told["instance"], told["leaks"], told["probes"]) == (f"{project}/bounded", [], 3)
    code, printed = audit("momentum")
    assert code == 0
    assert f"{project}/momentum version 1: no look-ahead in 3 comparisons on 1 dates" in printed
    assert "repeat it with --seed 3" in printed
    code, printed = audit("smooth", "--json")
    told = json.loads(printed)
    assert (code, told["probes"]) == (1, 3)
    assert {leak["definition"] for leak in told["leaks"]} == {"smoother"}
    assert told["leaks"][0]["how"].startswith("truncated: 2020-")
    assert told["leaks"][0]["symbol"] in told["leaks"][0]["how"]
    code, printed = audit("smooth")
    assert code == 1
    assert f"{project}/smooth version 1: looks ahead: inputs truncated after 2020-" in printed

    with pytest.raises(NotAuditable, match="nothing yet"):
        prefect_instances.audit("idea")
    desk.run("idea", kind="preview")
    assert prefect_instances.audit("idea", points=1).passed

    for name, options, error, line in REFUSED:
        with pytest.raises(error, match=line) as raised:
            prefect_instances.audit(name, **options)
        assert "\n" not in str(raised.value)


REFUSED: list[tuple[str, dict[str, int], type[Exception], str]] = [
    ("prices", {}, NotAuditable, "it reads no rows of other instances"),
    ("no_such", {}, NotFound, "no_such"),
    ("momentum", {"points": 0, "seed": -1}, InvalidSpec, "2 problems: points.*; seed"),
]


class PeekingModule(RidgeModule):
    """A definition as a wheel would bring it: it scales the features by all rows it is shown."""

    name = "peeking"

    def predict(self, model: Any, features: Floats) -> Floats:
        """See ``MLModule.predict``."""
        return super().predict(model, (features - features.mean(0)) / features.std(0))


UNIVERSE = ["AAPL", "JPM", "KO", "MSFT", "XOM"]


@pytest.fixture
def market(bench: Bench) -> Bench:
    """Prices of five stocks and a signal on them."""
    registry = bench.services.registry.extended([PeekingModule])
    made = Bench(replace(bench.services, registry=registry))
    momentum = derived("desk", "momentum", "DELTA(close, 5) / REF(close, 5)", "prices")
    for document in (prices("desk", symbols=UNIVERSE), momentum):
        write_instance(made, document)
        made.run(document["name"])
    return made


def write_and_run(bench: Bench, name: str, kind: str, **document: Any) -> None:
    refs = [{"resource": one, "role": one} for one in ("prices", "momentum")]
    whole = {"name": name, "project": "desk", "upstream_refs": refs, **document}
    spec, id_ = parse_spec(whole), UUID(write_instance(bench, whole))
    for external in TYPE_DESCRIPTIONS[spec.type].externals:
        if external.name == "mlflow":
            create_external(bench.services, id_, spec, external)
            bench.run(name, "training")
    bench.run(name, kind)


def find_leak(bench: Bench, name: str, seed: int = 1) -> tuple[bool, Leak | None]:
    """Audit an instance; return whether it passed, and the first leak."""
    found = audit_instance(bench.services, name, seed=seed, points=3)
    assert [one.error for one in found.audit.comparisons if one.error] == []
    assert (found.passed, 1) in certificates(bench, name)
    return found.passed, found.audit.leaks[0].leak if found.audit.leaks else None


def test_a_model_is_certified_and_one_that_scales_by_later_rows_is_not(market: Bench) -> None:
    features = [{"role": "momentum", "column": "value", "lags": [0, 5]}]
    for name, definition in (("honest", "ridge"), ("peeking", "peeking")):
        write_and_run(
            market, name, "inference",
            type="ModelInstance", module={"definition": definition}, features=features,
        )  # fmt: skip
    assert find_leak(market, "honest") == (True, None)
    passed, leak = find_leak(market, "peeking")
    assert (passed, leak and leak.column) == (False, "prediction")


def test_an_optimizer_is_certified_and_one_that_sees_the_next_day_is_not(
    market: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [{"resource": "momentum", "role": "signal"}, {"resource": "prices", "role": "prices"}]
    for name, rebalance in (("monthly", "monthly"), ("weekly", "weekly")):
        write_and_run(
            market, name, "optimize", type="PortfolioOptimizerInstance", upstream_refs=refs,
            optimizer={"definition": "hrp"}, lookback_days=40, rebalance=rebalance,
        )  # fmt: skip
    # Two dates of this seed, July 31 and September 30, are the last sessions of their months.
    assert find_leak(market, "monthly", seed=5) == (True, None)
    assert find_leak(market, "weekly") == (True, None)

    def peek(known: optimization.OptimizationInputs, bar: int) -> Floats:
        return known.prices.values[bar + 1 - known.spec.lookback_days : bar + 2]

    monkeypatch.setattr(optimization, "_window", peek)
    passed, leak = find_leak(market, "monthly", seed=5)
    assert (passed, leak and leak.column) == (False, "weight")


def test_a_backtest_is_certified_and_one_that_fills_on_the_same_bar_is_not(
    market: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_and_run(
        market, "tested", "backtest", type="BacktestInstance", upstream_refs=[],
        assets={"prices": "prices"}, signals={"primary": "momentum"},
        date_range={"start": "2020-02-03"},
        config={"rebalance_frequency": "daily", "slippage_model": "linear"},
    )  # fmt: skip
    assert find_leak(market, "tested") == (True, None)

    def fill_at_once(prices: Floats, targets: Mapping[int, Floats], *rest: Any) -> History:
        return simulate(prices, {bar - 1: row for bar, row in targets.items()}, *rest)

    monkeypatch.setattr(backtesting, "simulate", fill_at_once)
    passed, leak = find_leak(market, "tested")
    assert (passed, leak and leak.symbol) == (False, "PORTFOLIO")
