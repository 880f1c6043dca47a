"""Each kind of guardrail contract, once broken with a block and once with a warning."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.plugins.expression import ExpressionPipeline
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.runs.guardrails import GuardrailBlocked
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench, derived, prices
from tests.integration.services.procedures.test_models import model
from tests.integration.services.procedures.test_portfolios import portfolio


def contract(kind: str, mode: str, config: dict[str, Any], gate: str = "") -> dict[str, Any]:
    return {"kind": kind, "mode": mode, "config": config, "gate": gate}


def newest(bench: Bench, name: str, kind: str) -> dict[str, Any]:
    found = reports.runs(bench.services.database, name)["runs"]
    run_id = next(run["id"] for run in found if run["flow_kind"] == kind)
    document: dict[str, Any] = reports.run_info(bench.services.database, run_id)
    return document


def broken_both_ways(
    bench: Bench, document: dict[str, Any], flow: str, kind: str, gate: str, config: dict[str, Any]
) -> None:
    """The instance runs once blocked and once warned; each run has its stored report."""
    blocked = contract(kind, "block", config, gate)
    document = {**document, "run_on_provision": False}
    bench.drain()
    bench.provision({**document, "guardrail_contracts": [blocked]})

    with pytest.raises(GuardrailBlocked):
        bench.run(document["name"], flow)
    stopped = newest(bench, document["name"], flow)
    assert (stopped["status"], stopped["output_version"]) == ("failed", None)
    assert kind in stopped["error"]

    bench.update({**document, "guardrail_contracts": [{**blocked, "mode": "warn"}]})
    bench.run(document["name"], flow)
    went_on = newest(bench, document["name"], flow)
    assert went_on["status"] == "completed"
    assert went_on["output_version"] is not None
    assert "guardrails" in {page["key"] for page in went_on["artifacts"]}

    for run, mode in ((stopped, "block"), (went_on, "warn")):
        (report,) = run["guardrails"]
        assert (report["kind"], report["gate"], report["mode"]) == (kind, gate, mode)
        assert report["passed"] is False
        assert report["details"]["broken"]


@pytest.mark.parametrize(
    ("kind", "gate", "config"),
    [
        ("dataset.schema", "data.write", {"columns": {"volume": "Float64"}}),
        ("dataset.schema", "run.start", {"columns": {"close": "String"}}),
        ("dataset.freshness", "run.start", {"max_age_days": 5}),
        ("signal.bounds", "data.write", {"max_value": 0.0}),
        ("pit.policy", "run.start", {}),
        ("pit.policy", "data.write", {}),
    ],
)
def test_contracts_on_data(
    bench: Bench, project: str, kind: str, gate: str, config: dict[str, Any]
) -> None:
    bench.provision(prices(project))
    broken_both_ways(
        bench, derived(project, "twice", "close * 2", "prices"), "refresh", kind, gate, config
    )


@pytest.mark.parametrize(
    ("kind", "config"),
    [("portfolio.weights", {"max_weight": 0.05}), ("portfolio.leverage", {"max_gross": 0.5})],
)
def test_contracts_on_portfolios(
    bench: Bench, project: str, kind: str, config: dict[str, Any]
) -> None:
    bench.provision(prices(project))
    document = portfolio(
        project,
        "equal_weight",
        constraints={},
        upstream_refs=[{"resource": "prices", "role": "prices"}],
    )
    broken_both_ways(bench, document, "optimize", kind, "data.write", config)


def test_contracts_on_models(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "momentum", "close / REF(close, 10) - 1", "prices"))
    config = {"metrics": {"rmse": {"max": 0.0}}}
    broken_both_ways(bench, model(project), "training", "ml.validation", "data.write", config)


def test_what_is_wrong_with_a_contract_is_told_all_at_once(bench: Bench, project: str) -> None:
    wrong = [
        contract("dataset.freshnes", "block", {}),
        contract("dataset.freshness", "block", {"max_age": 5}),
        contract("signal.bounds", "block", {}, "run.start"),
    ]

    with pytest.raises(InvalidSpec) as caught:
        bench.provision({**prices(project), "guardrail_contracts": wrong})

    assert {problem.path for problem in caught.value.problems} == {
        "guardrail_contracts[0].kind",
        "guardrail_contracts[1].config.max_age",
        "guardrail_contracts[1].config.max_age_days",
        "guardrail_contracts[2].gate",
    }


def test_rows_that_are_appended_are_judged_and_the_good_version_stays(
    bench: Bench, project: str
) -> None:
    few = {"symbols": ["AAPL"], "end_date": "2020-01-10"}
    bench.provision(prices(project, "plain", **few))
    bench.drain()
    plain = reports.show(bench.services.database, bench.services.now(), "plain")["output"]
    stored = read_version(bench.services, UUID(plain["version"])).collect()
    highest = float(stored["close"].max())  # type: ignore[arg-type]
    bounds = contract("signal.bounds", "block", {"column": "close", "max_value": highest})
    bench.provision({**prices(project, **few), "guardrail_contracts": [bounds]})
    bench.drain()
    before = reports.show(bench.services.database, bench.services.now(), "prices")["output"]
    assert newest(bench, "prices", "refresh")["guardrails"][0]["passed"] is True

    with pytest.raises(GuardrailBlocked) as caught:
        bench.run("prices", as_of=date(2020, 2, 12))

    assert "\n" not in str(caught.value)
    after = reports.show(bench.services.database, bench.services.now(), "prices")["output"]
    assert after == before
    (report,) = newest(bench, "prices", "refresh")["guardrails"]
    assert report["passed"] is False
    assert report["details"]["broken"][0]["outside"] > 0


def test_contracts_of_a_definition_hold_when_an_instance_is_made(
    bench: Bench, project: str
) -> None:
    def guarded(name: str, mode: str) -> dict[str, Any]:
        config = {"max_age_days": 5}
        declared = contract("dataset.freshness", mode, config, "instance.create")
        body = {"name": name, "guardrail_contracts": (declared,), "__module__": __name__}
        bench.services.registry.add(type(name, (ExpressionPipeline,), body))
        document = derived(project, name, "close * 2", "prices")
        return {**document, "pipeline": {**document["pipeline"], "definition": name}}

    bench.provision(prices(project))
    bench.drain()

    with pytest.raises(InvalidSpec) as caught:
        bench.provision(guarded("blocking", "block"))
    (problem,) = caught.value.problems
    assert problem.path == "pipeline"
    assert "prices ends on 2020-12-30" in problem.message

    bench.provision(guarded("warning", "warn"))
    shown = reports.show(bench.services.database, bench.services.now(), "warning")
    (report,) = shown["guardrails"]
    assert (report["gate"], report["mode"], report["passed"]) == ("instance.create", "warn", False)
    assert report["details"]["declared_by"] == "pipeline warning"
