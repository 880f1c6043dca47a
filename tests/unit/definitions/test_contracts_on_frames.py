"""Contracts judge frames: what is just allowed passes, and what is beyond is told."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from prefect_instances.libs.definitions.guardrails import Evidence, Gate
from prefect_instances.libs.definitions.guardrails.contract import Guardrail
from prefect_instances.libs.definitions.guardrails.data import (
    DatasetFreshness,
    PointInTimePolicy,
    SignalBounds,
)
from prefect_instances.libs.definitions.guardrails.portfolio import (
    PortfolioLeverage,
    PortfolioWeights,
)

DAY = date(2024, 1, 2)
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def told(rule: Guardrail, frame: pl.DataFrame, now: datetime = NOON) -> list[str]:
    flow = rule.flows[0] if rule.flows else "refresh"
    evidence = Evidence(Gate.WRITE, "it", flow, now, frame=frame)
    assert rule.judges(evidence)
    return [broken.message for broken in rule.check(evidence)]


def day(**columns: Any) -> pl.DataFrame:
    """One date; a row for each value."""
    count = len(next(iter(columns.values())))
    symbols = [chr(ord("A") + at) for at in range(count)]
    return pl.DataFrame({"date": [DAY] * count, "symbol": symbols, **columns})


def test_data_may_be_as_old_as_the_limit_and_no_older() -> None:
    rule = DatasetFreshness({"max_age_days": 3})
    assert told(rule, day(value=[1.0]), NOON + timedelta(days=3)) == []
    assert told(rule, day(value=[1.0]), NOON + timedelta(days=4)) == [
        "it ends on 2024-01-02, 4 days before 2024-01-06; at most 3 are allowed"
    ]
    assert told(rule, day(value=[1.0]).clear()) == ["it has no dated rows"]


@pytest.mark.parametrize(
    ("config", "values", "messages"),
    [
        ({"min_value": -1, "max_value": 1}, [-1.0, 1.0, None], []),
        ({"max_share_missing": 0.5}, [1.0, None], []),
        ({"max_share_missing": 0.4}, [1.0, float("nan")], ["1 of 2 values are missing"]),
        ({"max_value": 1}, [1.5, 0.0], ["1 of 2 values lie outside [, 1]"]),
        ({"max_value": 1, "max_share_outside": 0.5}, [1.5, 0.0], []),
        ({"column": "score"}, [1.0], ["there is no column score"]),
    ],
)
def test_a_signal_keeps_its_bounds(
    config: dict[str, Any], values: list[float | None], messages: list[str]
) -> None:
    assert told(SignalBounds(config), day(value=values)) == messages


@pytest.mark.parametrize(
    ("hours", "messages"),
    [
        (0, []),
        (1, ["1 rows were not known yet"]),
        (-13, ["1 rows were known before their own date"]),
    ],
)
def test_rows_are_known_from_their_date_on_and_not_after_the_run(
    hours: int, messages: list[str]
) -> None:
    frame = day(value=[1.0], knowledge_time=[NOON + timedelta(hours=hours)])
    assert told(PointInTimePolicy(), frame) == messages


def test_rows_of_the_future_and_without_a_time_are_told() -> None:
    frame = day(value=[1.0])
    yesterday = NOON - timedelta(days=1)
    assert told(PointInTimePolicy({"require_knowledge_time": False}), frame) == []
    assert told(PointInTimePolicy(), frame, yesterday) == [
        "1 rows are dated after 2024-01-01",
        "there is no knowledge_time",
    ]


@pytest.mark.parametrize(
    ("config", "weights", "messages"),
    [
        ({"min_weight": 0, "max_weight": 0.5}, [0.5 + 1e-7, 0.5, -1e-7], []),
        ({"max_weight": 0.5}, [0.6, 0.4], ["a weight of 0.6 is above 0.5"]),
        ({"min_weight": 0}, [-0.1, 1.1], ["a weight of -0.1 is below 0"]),
        ({"min_sum": 1}, [0.5, 0.4], ["the weights of a date sum to 0.9, below 1"]),
        ({"max_sum": 1}, [0.5, 0.6], ["the weights of a date sum to 1.1, above 1"]),
        ({"min_assets": 2}, [1.0, 1e-9], ["only 1 assets are held on a date, fewer than 2"]),
    ],
)
def test_weights_keep_their_bounds_but_for_a_solvers_rounding(
    config: dict[str, Any], weights: list[float], messages: list[str]
) -> None:
    assert told(PortfolioWeights(config), day(weight=weights)) == messages


@pytest.mark.parametrize(
    ("config", "messages"),
    [
        ({"max_gross": 1.6, "min_net": 0.4, "max_net": 0.4}, []),
        ({"max_gross": 1.5}, ["gross leverage reaches 1.6, above 1.5"]),
        ({"max_net": 0.3}, ["net exposure reaches 0.4, above 0.3"]),
        ({"min_net": 0.5}, ["net exposure falls to 0.4, below 0.5"]),
    ],
)
def test_short_weights_count_towards_the_gross_exposure(
    config: dict[str, Any], messages: list[str]
) -> None:
    assert told(PortfolioLeverage(config), day(weight=[1.0, -0.6])) == messages
