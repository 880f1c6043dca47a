"""The built-in optimizers, based on skfolio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, Field

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.optimizer import (
    ALL_CONSTRAINTS,
    MAX_WEIGHT,
    MIN_WEIGHT,
    SECTOR_LIMITS,
    Constraints,
    Moments,
    PortfolioOptimizer,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-6
"""Absolute weight below which a weight is numerical noise of the solver."""


USUAL_VARIANCE = 1e-4
"""Typical variance of a stock's daily returns: a volatility of one per cent."""


class EqualWeight(PortfolioOptimizer):
    """The same weight for every asset (DeMiguel, Garlappi and Uppal, 2009)."""

    name = "equal_weight"
    version = "1.0.0"

    def optimize(self, moments: Moments, constraints: Constraints) -> Floats:
        """Return 1 / n for each asset."""
        del constraints
        import numpy as np

        return np.full(len(moments.symbols), 1.0 / len(moments.symbols))


class MeanVariance(PortfolioOptimizer):
    """Maximal expected utility: w'mu - risk_aversion * w'Sigma w (Markowitz, 1952)."""

    name = "mean_variance"
    version = "1.0.0"
    honours: ClassVar[frozenset[str]] = ALL_CONSTRAINTS
    needs_signal: ClassVar[bool] = True

    class Config(PortfolioOptimizer.Config):
        """Parameters."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        risk_aversion: float = Field(
            default=5.0,
            gt=0,
            title="Risk aversion",
            description="Factor of the variance in the utility: return - factor * variance.",
        )

    def optimize(self, moments: Moments, constraints: Constraints) -> Floats:
        """Solve one quadratic programme."""
        import numpy as np
        from skfolio import RiskMeasure
        from skfolio.optimization import MeanRisk, ObjectiveFunction

        assert isinstance(self.config, MeanVariance.Config)
        count = len(moments.symbols)
        expected = moments.expected if moments.expected is not None else np.zeros(count)
        model = MeanRisk(
            objective_function=ObjectiveFunction.MAXIMIZE_UTILITY,
            risk_measure=RiskMeasure.VARIANCE,
            risk_aversion=self.config.risk_aversion,
            prior_estimator=_given(expected, moments.covariance),
            add_constraints=_norms(moments, constraints),
            **_box(constraints),
            **_sectors(moments, constraints),
        )
        return _fitted(model, moments, self.name)


class BlackLitterman(PortfolioOptimizer):
    """Mean-variance on the posterior of equilibrium returns and views (Black-Litterman, 1992).

    The prior is what makes equal weights optimal, ``2 * risk_aversion * Sigma w``; the views are
    the expected returns that the signals give.
    """

    name = "black_litterman"
    version = "1.0.0"
    honours: ClassVar[frozenset[str]] = ALL_CONSTRAINTS
    needs_signal: ClassVar[bool] = True

    class Config(MeanVariance.Config):
        """Parameters."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        tau: float = Field(
            default=0.05,
            gt=0,
            le=1,
            title="Tau",
            description="Uncertainty of the prior mean returns: their covariance is tau * Sigma.",
        )

    def optimize(self, moments: Moments, constraints: Constraints) -> Floats:
        """Blend the prior with the views, then solve one quadratic programme."""
        import numpy as np
        from skfolio import RiskMeasure
        from skfolio.optimization import MeanRisk, ObjectiveFunction
        from skfolio.prior import BlackLitterman as Posterior

        assert isinstance(self.config, BlackLitterman.Config)
        count = len(moments.symbols)
        expected = moments.expected if moments.expected is not None else np.zeros(count)
        market = np.full(count, 1.0 / count)
        equilibrium = 2 * self.config.risk_aversion * moments.covariance @ market
        posterior = Posterior(
            views=[f"{_label(i)} == {value:.12f}" for i, value in enumerate(expected)],
            prior_estimator=_given(equilibrium, moments.covariance),
            tau=self.config.tau,
        )
        model = MeanRisk(
            objective_function=ObjectiveFunction.MAXIMIZE_UTILITY,
            risk_measure=RiskMeasure.VARIANCE,
            risk_aversion=self.config.risk_aversion,
            prior_estimator=posterior,
            add_constraints=_norms(moments, constraints),
            **_box(constraints),
            **_sectors(moments, constraints),
        )
        return _fitted(model, moments, self.name)


class RiskBudgeting(PortfolioOptimizer):
    """Weights whose contributions to the variance are equal (Maillard, Roncalli, Teiletche, 2010).

    Long only by its nature.
    """

    name = "risk_budgeting"
    version = "1.0.0"
    honours: ClassVar[frozenset[str]] = frozenset({MIN_WEIGHT, MAX_WEIGHT, SECTOR_LIMITS})

    def optimize(self, moments: Moments, constraints: Constraints) -> Floats:
        """Solve one convex programme."""
        import numpy as np
        from skfolio import RiskMeasure
        from skfolio.optimization import RiskBudgeting as Budgeting

        model = Budgeting(
            risk_measure=RiskMeasure.VARIANCE,
            prior_estimator=_given(np.zeros(len(moments.symbols)), _scaled(moments.covariance)),
            **_box(constraints),
            **_sectors(moments, constraints),
        )
        return _fitted(model, moments, self.name)


class HierarchicalRiskParity(PortfolioOptimizer):
    """Inverse-variance weights down a tree of correlations (Lopez de Prado, 2016). Long only."""

    name = "hrp"
    version = "1.0.0"
    honours: ClassVar[frozenset[str]] = frozenset({MIN_WEIGHT, MAX_WEIGHT})

    def optimize(self, moments: Moments, constraints: Constraints) -> Floats:
        """Cluster the assets, then allocate in one pass down the tree."""
        import numpy as np
        from skfolio import RiskMeasure
        from skfolio.optimization import HierarchicalRiskParity as Tree

        model = Tree(
            risk_measure=RiskMeasure.VARIANCE,
            prior_estimator=_given(np.zeros(len(moments.symbols)), moments.covariance),
            **_box(constraints),
        )
        return _fitted(model, moments, self.name)


def _scaled(covariance: Floats) -> Floats:
    """Scale the covariance to the mean variance of a stock: solvers stop at absolute errors.

    Weights that only balance risks do not depend on its scale.
    """
    import numpy as np

    return covariance * (USUAL_VARIANCE / float(np.trace(covariance) / len(covariance)))


def _label(index: int) -> str:
    """Return a name that skfolio's expressions accept, independent of the symbol."""
    return f"asset{index}"


def _given(expected: Floats, covariance: Floats) -> Any:
    """Return a prior that holds the given moments instead of estimating them."""
    from skfolio.prior import BasePrior, ReturnDistribution

    class Given(BasePrior):  # type: ignore[misc]  # skfolio ships no types
        def __init__(self, mu: Any = None, covariance: Any = None) -> None:
            self.mu, self.covariance = mu, covariance

        def fit(self, X: Any, y: Any = None, **_: Any) -> Any:  # noqa: N803  # sklearn's name
            del y
            import numpy as np

            returns = np.asarray(X, dtype=np.float64)
            self.n_features_in_ = returns.shape[1]
            if hasattr(X, "columns"):
                self.feature_names_in_ = np.asarray(X.columns, dtype=object)
            self.return_distribution_ = ReturnDistribution(
                mu=self.mu, covariance=self.covariance, returns=returns
            )
            return self

    return Given(expected, covariance)


def _box(constraints: Constraints) -> dict[str, Any]:
    low, high = constraints.min_weight, constraints.max_weight
    return {
        "min_weights": 0.0 if low is None else low,
        "max_weights": 1.0 if high is None else high,
    }


def _sectors(moments: Moments, constraints: Constraints) -> dict[str, Any]:
    limits = constraints.sector_limits
    if not limits:
        return {}
    sector_of = {symbol: name for name, held in constraints.sectors.items() for symbol in held}
    names = sorted(limits)
    labels = {name: f"sector{i}" for i, name in enumerate(names)}
    groups = [[labels.get(sector_of.get(symbol, ""), "other") for symbol in moments.symbols]]
    present = {label for label in groups[0] if label != "other"}
    bounds = []
    for name in names:
        if labels[name] in present:
            low, high = limits[name]
            bounds += [f"{labels[name]} >= {low}", f"{labels[name]} <= {high}"]
    return {"groups": groups, "linear_constraints": bounds} if bounds else {}


def _norms(moments: Moments, constraints: Constraints) -> Any:
    """Return bounds on the gross leverage and on the turnover, or None.

    If assets that were held are not among ``symbols``, they are sold whatever the limit:
    reinvesting the proceeds does not count towards it.
    """
    gross, turnover = constraints.gross_leverage, constraints.max_turnover
    if gross is None and (turnover is None or moments.previous is None):
        return None

    def bounds(weights: Any) -> list[Any]:
        from cvxpy.atoms.norm1 import norm1

        found = [norm1(weights) <= gross] if gross is not None else []
        if turnover is not None and moments.previous is not None:
            freed = abs(1.0 - float(moments.previous.sum()))
            found.append(norm1(weights - moments.previous) <= turnover + freed)
        return found

    return bounds


def _fitted(model: Any, moments: Moments, name: str) -> Floats:
    """Return the weights of a fitted model; raise DataRejected if it has no solution."""
    import numpy as np
    import pandas as pd

    columns: Sequence[str] = [_label(i) for i in range(len(moments.symbols))]
    try:
        model.fit(pd.DataFrame(moments.returns, columns=list(columns)))
    except Exception as error:  # skfolio and its solvers raise exceptions of many types
        text = str(error).strip().splitlines()
        raise DataRejected(
            f"{name} found no weights that satisfy the constraints: {text[0] if text else error}",
            {"optimizer": name, "assets": len(columns)},
        ) from error
    weights = np.asarray(model.weights_, dtype=np.float64)
    if not np.isfinite(weights).all() or not math.isclose(weights.sum(), 1.0, abs_tol=1e-4):
        raise DataRejected(f"{name} returned no usable weights", {"sum": float(weights.sum())})
    return np.where(np.abs(weights) < NEGLIGIBLE, 0.0, weights)
