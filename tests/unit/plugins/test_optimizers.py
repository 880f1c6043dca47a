"""The built-in optimizers against what theory says of them."""

from __future__ import annotations

import numpy as np
import pytest

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.installed import discover
from prefect_instances.libs.definitions.optimizer import Constraints, Moments, PortfolioOptimizer

NAMES = ("equal_weight", "mean_variance", "risk_budgeting", "hrp", "black_litterman")
SYMBOLS = ("AAA", "BRK.B", "C C", "4D", "a-b", "F")


def optimizer(name: str, **config: float) -> PortfolioOptimizer:
    found = discover().get(DefinitionKind.OPTIMIZER, name)(config)
    assert isinstance(found, PortfolioOptimizer)
    return found


def moments(previous: bool = False) -> Moments:
    rng = np.random.default_rng(7)
    count = len(SYMBOLS)
    mixing = rng.normal(size=(count, count)) / 10
    returns = rng.normal(scale=0.01, size=(500, count)) @ (np.eye(count) + mixing)
    return Moments(
        symbols=SYMBOLS,
        returns=returns,
        covariance=np.cov(returns.T),
        expected=np.array([4.0, 2.0, 0.0, 0.0, -1.0, -3.0]) * 1e-4,
        previous=np.full(count, 1 / count) if previous else None,
    )


@pytest.mark.parametrize("name", NAMES)
def test_weights_sum_to_one_and_are_the_same_every_time(name: str) -> None:
    first = optimizer(name).optimize(moments(), Constraints())
    again = optimizer(name).optimize(moments(), Constraints())

    assert first.sum() == pytest.approx(1.0, abs=1e-6)
    assert first.min() >= -1e-9
    assert (first == again).all()


@pytest.mark.parametrize("name", ["mean_variance", "risk_budgeting", "hrp", "black_litterman"])
def test_weight_bounds_are_kept(name: str) -> None:
    found = optimizer(name).optimize(moments(), Constraints(min_weight=0.05, max_weight=0.25))

    assert found.min() >= 0.05 - 1e-6
    assert found.max() <= 0.25 + 1e-6


def test_risk_budgeting_gives_every_asset_the_same_part_of_the_variance() -> None:
    given = moments()
    weights = optimizer("risk_budgeting").optimize(given, Constraints())
    parts = weights * (given.covariance @ weights) / (weights @ given.covariance @ weights)

    assert parts == pytest.approx(np.full(len(SYMBOLS), 1 / len(SYMBOLS)), abs=1e-3)


def test_mean_variance_solves_the_first_order_conditions_where_nothing_binds() -> None:
    given = moments()
    aversion = 40.0
    found = optimizer("mean_variance", risk_aversion=aversion).optimize(
        given, Constraints(min_weight=-5.0, max_weight=5.0)
    )
    assert given.expected is not None
    inverse = np.linalg.inv(given.covariance)
    ones = np.ones(len(SYMBOLS))
    multiplier = (ones @ inverse @ given.expected - 2 * aversion) / (ones @ inverse @ ones)
    exact = inverse @ (given.expected - multiplier * ones) / (2 * aversion)

    assert found == pytest.approx(exact, abs=1e-4)


def test_black_litterman_without_views_of_its_own_keeps_equal_weights() -> None:
    given = moments()
    aversion = 5.0
    equal = np.full(len(SYMBOLS), 1 / len(SYMBOLS))
    neutral = 2 * aversion * given.covariance @ equal
    found = optimizer("black_litterman", risk_aversion=aversion).optimize(
        Moments(SYMBOLS, given.returns, given.covariance, neutral), Constraints(min_weight=-1.0)
    )

    assert found == pytest.approx(equal, abs=5e-3)


def test_sector_leverage_and_turnover_limits_are_kept() -> None:
    limits = Constraints(
        min_weight=-0.5,
        max_weight=0.8,
        sectors={"one": ("AAA", "BRK.B"), "two": ("4D",)},
        sector_limits={"one": (0.0, 0.3), "two": (0.1, 0.2)},
        gross_leverage=1.4,
        max_turnover=0.6,
    )
    given = moments(previous=True)
    found = optimizer("mean_variance").optimize(given, limits)

    assert given.previous is not None
    assert found[:2].sum() <= 0.3 + 1e-5
    assert 0.1 - 1e-5 <= found[3] <= 0.2 + 1e-5
    assert np.abs(found).sum() <= 1.4 + 1e-5
    assert np.abs(found - given.previous).sum() <= 0.6 + 1e-5


def test_impossible_constraints_are_told_in_one_line() -> None:
    with pytest.raises(DataRejected) as caught:
        optimizer("mean_variance").optimize(moments(), Constraints(max_weight=0.1))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("equal_weight", {"max_weight", "sector_limits", "gross_leverage"}),
        ("hrp", {"sector_limits", "gross_leverage"}),
        ("risk_budgeting", {"gross_leverage"}),
        ("mean_variance", set()),
    ],
)
def test_what_an_optimizer_cannot_honour_is_refused(name: str, refused: set[str]) -> None:
    asked = Constraints(
        max_weight=0.5,
        sectors={"one": ("AAA",)},
        sector_limits={"one": (0.0, 0.3)},
        gross_leverage=1.5,
    )

    assert {problem.path for problem in optimizer(name).check(asked)} == {
        f"constraints.{constraint}" for constraint in refused
    }
