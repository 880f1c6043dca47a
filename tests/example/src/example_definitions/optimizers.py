"""A portfolio optimizer."""

import numpy as np

from prefect_instances import Constraints, Moments, PortfolioOptimizer


class InverseVolatility(PortfolioOptimizer):
    """Weights in proportion to one over the volatility; it honours no constraints."""

    name, version = "inverse_volatility", "1.0.0"

    def optimize(self, moments: Moments, constraints: Constraints) -> np.ndarray:
        """Positive, and 1 in sum."""
        inverse = 1 / np.sqrt(np.diag(moments.covariance))
        return inverse / inverse.sum()
