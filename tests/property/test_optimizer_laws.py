"""The built-in optimizers against a direct formulation in cvxpy, on random problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.installed import discover
from prefect_instances.libs.definitions.optimizer import Constraints, Moments, PortfolioOptimizer
from tests.promised import PROMISED

Floats = np.ndarray[Any, np.dtype[np.float64]]
AVERSION = 5.0
MANY = settings(max_examples=PROMISED * 2 // 5)  # each solves two problems: 10, and 200 in `ci`


@dataclass(frozen=True)
class Problem:
    """A problem with a solution: equal weights satisfy the constraints."""

    moments: Moments
    constraints: Constraints


@st.composite
def problems(draw: st.DrawFn, norms: bool = True) -> Problem:
    """Two to six assets, some of which are the same one; limits that bind or not."""
    count = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    returns = rng.normal(size=(60, count)) * draw(st.sampled_from([0.0003, 0.01, 0.05]))
    returns *= rng.uniform(0.2, 2.0, count)
    if draw(st.booleans()):
        returns[:, 0] = returns[:, 1]
    limits = Constraints(
        min_weight=draw(st.sampled_from([None, 0.0, 0.02])),
        max_weight=draw(st.sampled_from([None, 0.6, 1.0])),
        gross_leverage=draw(st.sampled_from([None, 1.2])) if norms else None,
        max_turnover=draw(st.sampled_from([None, 0.1, 0.5])) if norms else None,
    )
    held = np.full(count, 1.0 / count)
    if count > 2 and draw(st.booleans()):
        held *= 0.8  # a fifth was in what is not among the assets any more
    expected = rng.normal(size=count) * returns.std() * 0.1
    symbols = tuple(f"S{at}" for at in range(count))
    return Problem(Moments(symbols, returns, np.cov(returns.T), expected, held), limits)


def optimizer(name: str, **config: float) -> PortfolioOptimizer:
    found = discover().get(DefinitionKind.OPTIMIZER, name)(config)
    assert isinstance(found, PortfolioOptimizer)
    return found


def bounds(weights: cp.Variable, problem: Problem) -> list[Any]:
    limits, held = problem.constraints, problem.moments.previous
    assert held is not None
    found: list[Any] = [cp.sum(weights) == 1]
    found.append(weights >= (limits.min_weight or 0.0))
    found.append(weights <= (1.0 if limits.max_weight is None else limits.max_weight))
    if limits.gross_leverage is not None:
        found.append(cp.norm1(weights) <= limits.gross_leverage)
    if limits.max_turnover is not None:
        freed = abs(1.0 - held.sum())
        found.append(cp.norm1(weights - held) <= limits.max_turnover + freed)
    return found


def utility(weights: Floats, mean: Floats, covariance: Floats) -> float:
    return float(mean @ weights - AVERSION * weights @ covariance @ weights)


def best_utility(problem: Problem, mean: Floats, covariance: Floats) -> float:
    weights = cp.Variable(len(mean))
    scale = np.trace(covariance) / len(mean)
    risk = cp.quad_form(weights, cp.psd_wrap(covariance / scale))
    asked = cp.Problem(
        cp.Maximize(mean / scale @ weights - AVERSION * risk), bounds(weights, problem)
    )
    asked.solve(solver=cp.CLARABEL)
    assert weights.value is not None
    return utility(weights.value, mean, covariance)


def keeps(weights: Floats, problem: Problem) -> bool:
    variable = cp.Variable(len(weights), value=weights)
    return all(bool(np.all(bound.violation() <= 1e-5)) for bound in bounds(variable, problem))


@MANY
@given(problem=problems())
def test_mean_variance_is_the_best_utility_within_the_limits(problem: Problem) -> None:
    given_ = problem.moments
    assert given_.expected is not None
    found = optimizer("mean_variance", risk_aversion=AVERSION).optimize(given_, problem.constraints)
    best = best_utility(problem, given_.expected, given_.covariance)

    assert keeps(found, problem)
    scale = float(np.abs(given_.expected).max() + np.trace(given_.covariance))
    assert utility(found, given_.expected, given_.covariance) >= best - 1e-4 * scale


@MANY
@given(problem=problems())
def test_black_litterman_is_the_best_utility_of_its_posterior(problem: Problem) -> None:
    """The posterior by the formula of He and Litterman (1999), Omega = diag(tau P Sigma P')."""
    given_, tau = problem.moments, 0.05
    assert given_.expected is not None
    found = optimizer("black_litterman", risk_aversion=AVERSION, tau=tau).optimize(
        given_, problem.constraints
    )
    covariance, count = given_.covariance, len(given_.symbols)
    prior = 2 * AVERSION * covariance @ np.full(count, 1.0 / count)
    omega = tau * np.diag(np.diag(covariance))
    gain = tau * covariance @ np.linalg.inv(tau * covariance + omega)
    mean = prior + gain @ (given_.expected - prior)
    spread = covariance + tau * covariance - gain @ (tau * covariance)
    best = best_utility(problem, mean, spread)

    assert keeps(found, problem)
    scale = float(np.abs(mean).max() + np.trace(spread))
    assert utility(found, mean, spread) >= best - 1e-4 * scale


@MANY
@given(problem=problems(norms=False))
def test_risk_budgeting_is_the_minimum_of_its_convex_programme(problem: Problem) -> None:
    """min w'Sigma w / 2 - sum(log w) / n, scaled to 1 (Maillard, Roncalli and Teiletche, 2010)."""
    given_ = problem.moments
    found = optimizer("risk_budgeting").optimize(given_, Constraints())
    count = len(given_.symbols)
    scaled = given_.covariance / (np.trace(given_.covariance) / count)
    weights = cp.Variable(count, pos=True)
    aim = cp.quad_form(weights, cp.psd_wrap(scaled)) / 2 - cp.sum(cp.log(weights)) / count
    cp.Problem(cp.Minimize(aim)).solve(solver=cp.CLARABEL)
    direct = weights.value / weights.value.sum()

    assert found == pytest.approx(direct, abs=2e-3)


@MANY
@given(problem=problems(norms=False))
def test_hierarchical_risk_parity_of_two_assets_is_inverse_variance(problem: Problem) -> None:
    given_ = problem.moments
    pair = Moments(given_.symbols[-2:], given_.returns[:, -2:], given_.covariance[-2:, -2:])
    found = optimizer("hrp").optimize(pair, Constraints())
    inverse = 1.0 / np.diag(pair.covariance)

    assert found == pytest.approx(inverse / inverse.sum(), abs=1e-9)
    whole = optimizer("hrp").optimize(given_, Constraints())
    assert whole.sum() == pytest.approx(1.0, abs=1e-6)
    assert (whole >= 0).all()
