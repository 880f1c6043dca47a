"""Statistics of signals against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from prefect_instances.libs.quant.statistics import (
    distribution,
    forward_returns,
    rank_correlations,
    ranks,
)

RNG = np.random.default_rng(11)


def test_a_distribution_is_that_of_scipy() -> None:
    values = RNG.gamma(2.0, size=(50, 4))
    values[3, 1] = math.nan
    known = values[np.isfinite(values)]

    found = distribution(values)

    assert found["rows"] == 200
    assert found["nan_share"] == pytest.approx(1 / 200)
    assert found["mean"] == pytest.approx(known.mean())
    assert found["std"] == pytest.approx(known.std(ddof=1))
    assert found["skew"] == pytest.approx(stats.skew(known))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(known))


def test_rank_correlations_are_those_of_scipy_with_ties_and_gaps() -> None:
    values = np.round(RNG.normal(size=(30, 8)), 1)
    outcomes = np.round(values + RNG.normal(size=(30, 8)), 1)
    outcomes[4, 2] = math.nan

    found = rank_correlations(values, outcomes)

    for row in range(30):
        both = np.isfinite(outcomes[row])
        expected = stats.spearmanr(values[row][both], outcomes[row][both]).statistic
        assert found[row] == pytest.approx(expected)


def test_forward_returns_look_ahead_by_the_horizon_only() -> None:
    prices = np.array([[1.0], [2.0], [4.0], [4.0]])

    assert forward_returns(prices, 1)[:, 0].tolist()[:3] == [1.0, 1.0, 0.0]
    assert forward_returns(prices, 2)[:, 0].tolist()[:2] == [3.0, 1.0]
    assert np.isnan(forward_returns(prices, 2)[2:]).all()
    assert forward_returns(prices, 3)[0, 0] == 3.0
    assert np.isnan(forward_returns(prices, 9)).all()


def test_a_signal_that_knows_the_future_has_a_coefficient_of_one() -> None:
    prices = np.cumprod(1 + RNG.normal(0, 0.01, size=(40, 6)), axis=0)
    oracle = forward_returns(prices, 5)

    found = rank_correlations(oracle, forward_returns(prices, 5))

    assert np.nanmin(found) == pytest.approx(1.0)


def test_two_assets_are_too_few_for_a_rank_correlation() -> None:
    assert np.isnan(rank_correlations(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]]))).all()


def test_equal_values_share_their_mean_rank() -> None:
    assert ranks(np.array([3.0, 1.0, 1.0, 2.0])).tolist() == [3.0, 0.5, 0.5, 2.0]
