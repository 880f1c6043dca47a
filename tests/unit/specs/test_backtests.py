"""Costs that no trade can satisfy are told before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.specs import BacktestSpec, parse_spec


def document(**config: Any) -> dict[str, Any]:
    return {
        "name": "b",
        "project": "p",
        "type": "BacktestInstance",
        "assets": {"prices": "prices"},
        "signals": {"primary": "momentum"},
        "date_range": {"start": "2024-01-01"},
        "config": config,
    }


@pytest.mark.parametrize(
    ("commission", "model", "rate"),
    [(0.6, "fixed", 0.4), (0.5, "linear", 0.25), (0.0, "linear", 0.5), (0.3, "sqrt", 0.5)],
)
def test_costs_that_eat_what_they_trade_are_refused(
    commission: float, model: str, rate: float
) -> None:
    costs = {"slippage_model": model, "slippage_rate": rate}

    with pytest.raises(InvalidSpec) as caught:
        parse_spec(document(transaction_costs=commission, **costs))

    assert [problem.path for problem in caught.value.problems] == ["config.slippage_rate"]
    parse_spec(document(transaction_costs=commission * 0.9, **{**costs, "slippage_rate": rate / 2}))


def test_a_slippage_that_is_not_used_is_no_fault() -> None:
    parse_spec(document(transaction_costs=0.5, slippage_rate=0.9))


def test_an_unknown_calendar_and_a_negative_expiry_are_told_together() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(document(calendar="NYSE2", order_expiry=-1))

    assert {problem.path for problem in caught.value.problems} == {
        "config.calendar",
        "config.order_expiry",
    }
    spec = parse_spec(document(calendar="XNYS", order_expiry=0))
    assert isinstance(spec, BacktestSpec)
    assert (spec.config.calendar, spec.config.order_expiry) == ("XNYS", 0)
