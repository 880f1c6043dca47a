"""Model specs: what is refused, what decides which flow, and the rule of promotion."""

from __future__ import annotations

import math
from typing import Any

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.services.procedures.training import is_better
from prefect_instances.libs.specs import (
    ModelSpec,
    PromotionSpec,
    flow_fingerprint,
    output_fingerprint,
    parse_spec,
    spec_document,
)


def model(**more: Any) -> dict[str, Any]:
    return {
        "name": "m",
        "project": "p",
        "type": "ModelInstance",
        "module": {"definition": "ridge"},
        "features": [{"role": "momentum", "column": "value", "lags": [0, 5]}],
        "upstream_refs": [
            {"resource": "prices", "role": "prices"},
            {"resource": "momentum", "role": "momentum"},
        ],
        **more,
    }


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"features": []}, "features"),
        ({"features": [{"lags": []}]}, "features[0].lags"),
        ({"features": [{"lags": [-1]}]}, "features[0].lags"),
        ({"features": [{"lags": [3, 3]}]}, "features[0].lags"),
        ({"target": {"horizon": 0}}, "target.horizon"),
        ({"split": {"validation": 1}}, "split.validation"),
        ({"split": {"validation": 0}}, "split.validation"),
        ({"split": {"embargo": -1}}, "split.embargo"),
        ({"promotion": {"rule": "never"}}, "promotion.rule"),
        ({"promotion": {"metric": "sharpe"}}, "promotion.metric"),
        ({"promotion": {"min_improvement": -0.1}}, "promotion.min_improvement"),
        ({"monitoring": {"drift_threshold": 1.5}}, "monitoring.drift_threshold"),
        ({"monitoring": {"on_drift": "panic"}}, "monitoring.on_drift"),
        ({"monitoring": {"current_days": 1}}, "monitoring.current_days"),
        ({"modul": {"definition": "ridge"}}, "modul"),
    ],
)
def test_what_cannot_be_right_is_told_with_its_place(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(model(**change))
    assert path in [problem.path for problem in caught.value.problems]


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(model(features=[], split={"validation": 2}, target={"horizon": 0}))
    paths = {problem.path for problem in caught.value.problems}
    assert {"features", "split.validation", "target.horizon"} <= paths


def test_the_definition_may_be_written_at_the_top_and_all_comes_back() -> None:
    document = model()
    del document["module"]
    spec = parse_spec({**document, "definition": "ridge", "config": {"alpha": 2.0}})
    assert isinstance(spec, ModelSpec)
    assert (spec.module.definition, dict(spec.module.config)) == ("ridge", {"alpha": 2.0})
    assert parse_spec(spec_document(spec)) == spec


@pytest.mark.parametrize(
    ("change", "flows"),
    [
        ({"monitoring": {"on_drift": "retrain"}}, {"monitoring"}),
        ({"module": {"definition": "gradient_boosting"}}, {"training"}),
        ({"split": {"validation": 0.4}}, {"training"}),
        ({"promotion": {"rule": "always"}}, {"training"}),
        ({"target": {"horizon": 10}}, {"training", "monitoring"}),
        ({"description": "another one"}, set()),
        ({"schedule": {"training": {"type": "cron", "expression": "0 6 1 * *"}}}, set()),
    ],
)
def test_a_change_counts_for_the_flows_whose_output_it_decides(
    change: dict[str, Any], flows: set[str]
) -> None:
    before, after = parse_spec(model()), parse_spec(model(**change))
    kinds = ("training", "inference", "monitoring")
    changed = {k for k in kinds if flow_fingerprint(before, k) != flow_fingerprint(after, k)}
    assert changed == flows
    assert (output_fingerprint(before) != output_fingerprint(after)) is bool(flows)


@pytest.mark.parametrize(
    ("rule", "new", "old", "expected"),
    [
        ({"metric": "ic"}, 0.2, 0.1, True),
        ({"metric": "ic"}, 0.1, 0.1, False),
        ({"metric": "ic"}, 0.1, 0.2, False),
        ({"metric": "ic", "min_improvement": 0.1}, 0.15, 0.1, False),
        ({"metric": "ic", "min_improvement": 0.1}, 0.25, 0.1, True),
        ({"metric": "ic"}, math.nan, 0.1, False),
        ({"metric": "ic"}, 0.1, math.nan, True),
        ({"metric": "ic"}, math.nan, math.nan, False),
        ({"metric": "rmse"}, 0.1, 0.2, True),
        ({"metric": "rmse"}, 0.2, 0.1, False),
        ({"metric": "rmse", "min_improvement": 0.2}, 0.1, 0.2, False),
        ({"metric": "r2"}, -1.0, -2.0, True),
        ({"metric": "ic", "rule": "always"}, 0.0, 1.0, True),
    ],
)
def test_a_challenger_takes_the_place_by_the_rule(
    rule: dict[str, Any], new: float, old: float, expected: bool
) -> None:
    promotion = PromotionSpec(**rule)
    others = dict.fromkeys(("ic", "rmse", "r2", "hit_rate"), 0.5)
    scores = others | {promotion.metric: new}, others | {promotion.metric: old}
    assert is_better(promotion, *scores) is expected
