"""Contracts on portfolios, judged on what an optimizer will keep."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from prefect_instances.libs.definitions.guardrails import Evidence, Gate
from prefect_instances.libs.definitions.guardrails.portfolio import (
    PortfolioLeverage,
    PortfolioWeights,
)
from prefect_instances.libs.definitions.optimizer import Constraints
from prefect_instances.libs.plugins.optimizers import (
    EqualWeight,
    HierarchicalRiskParity,
    MeanVariance,
)

NOW = datetime(2024, 2, 1, tzinfo=UTC)
SHORTS = Constraints(min_weight=-0.5)


class Neutral(MeanVariance):
    """It holds as much short as it likes unless it is told not to."""

    own_bounds = Constraints()


def told(
    rule: type[PortfolioLeverage | PortfolioWeights],
    optimizer: type[EqualWeight | HierarchicalRiskParity | MeanVariance],
    given: Constraints,
    policy: str = "keep",
    **config: Any,
) -> list[str]:
    bounds = optimizer({}).keeps(given)
    configured = {"without_solution": policy}
    evidence = Evidence(Gate.CREATE, "portfolio", "", NOW, bounds=bounds, configured=configured)
    return [broken.message for broken in rule(config).check(evidence)]


@pytest.mark.parametrize(
    ("optimizer", "given"),
    [
        (HierarchicalRiskParity, Constraints()),
        (EqualWeight, Constraints()),
        (MeanVariance, Constraints(gross_leverage=1.5)),
        (MeanVariance, Constraints(min_weight=0.1, max_weight=3.0)),
        (Neutral, Constraints(min_weight=0.0)),
    ],
)
def test_weights_without_shorts_have_a_leverage_of_one_whatever_else_is_allowed(
    optimizer: Any, given: Constraints
) -> None:
    assert told(PortfolioLeverage, optimizer, given, max_gross=1.0, min_net=1, max_net=1) == []
    assert told(PortfolioWeights, optimizer, given, min_weight=0, max_weight=1, max_sum=1) == []
    assert told(PortfolioLeverage, optimizer, given, max_gross=0.9) == [
        "the optimizer allows a gross leverage of 1, above 0.9"
    ]


@pytest.mark.parametrize(
    ("optimizer", "given", "allowed"),
    [
        (MeanVariance, SHORTS, "any gross leverage"),
        (MeanVariance, Constraints(min_weight=-0.5, gross_leverage=1.6), "a gross leverage of 1.6"),
        (Neutral, Constraints(), "any gross leverage"),
    ],
)
def test_weights_with_shorts_have_the_leverage_that_is_declared(
    optimizer: Any, given: Constraints, allowed: str
) -> None:
    assert told(PortfolioLeverage, optimizer, given, max_gross=1.5) == [
        f"the optimizer allows {allowed}, above 1.5"
    ]
    assert told(PortfolioLeverage, optimizer, given, min_net=1, max_net=1) == []


def test_bounds_of_single_weights_and_of_their_sum() -> None:
    assert told(PortfolioWeights, MeanVariance, SHORTS, min_weight=-0.4, max_weight=0.4) == [
        "the optimizer allows weights down to -0.5, below -0.4",
        "the optimizer allows weights up to 1, above 0.4",
    ]
    assert told(PortfolioWeights, Neutral, Constraints(), min_weight=-1, max_weight=2) == [
        "the optimizer allows weights of any size, below -1",
        "the optimizer allows weights of any size, above 2",
    ]
    assert told(PortfolioWeights, EqualWeight, Constraints(), "cash", min_sum=0.9, max_sum=0.9) == [
        "the weights of a date sum to 0, below 0.9",
        "the weights of a date sum to 1, above 0.9",
    ]
    assert told(PortfolioLeverage, EqualWeight, Constraints(), "cash", min_net=0.5) == [
        "net exposure comes to 0, below 0.5"
    ]
