"""The built-in machine learning modules, based on scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from prefect_instances.libs.definitions.ml_module import MLModule, Sample


class RidgeModule(MLModule):
    """Linear regression with a penalty on standardised coefficients (Hoerl and Kennard, 1970)."""

    name = "ridge"
    version = "1.0.0"

    class Config(MLModule.Config):
        """Parameters."""

        alpha: float = Field(
            default=1.0, gt=0, title="Penalty", description="Weight of the squared coefficients."
        )

    config: Config

    def train(self, sample: Sample) -> Any:
        """See ``MLModule.train``; scaling is learned from the sample only."""
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), Ridge(alpha=self.config.alpha, solver="cholesky"))
        return _fitted(model, sample)

    def importance(self, model: Any, sample: Sample) -> Mapping[str, float]:
        """Return the absolute standardised coefficients."""
        return dict(zip(sample.names, map(abs, map(float, model[-1].coef_)), strict=True))


class GradientBoostingModule(MLModule):
    """Histogram gradient boosting of shallow trees (Friedman, 2001); the seed is a parameter."""

    name = "gradient_boosting"
    version = "1.0.0"

    class Config(MLModule.Config):
        """Parameters."""

        trees: int = Field(
            default=100, ge=1, le=5000, title="Trees", description="Number of trees."
        )
        depth: int = Field(
            default=3, ge=1, le=12, title="Depth", description="Deepest level of a tree."
        )
        learning_rate: float = Field(
            default=0.05, gt=0, le=1, title="Learning rate", description="Shrinkage of each tree."
        )
        min_samples_leaf: int = Field(
            default=50, ge=1, title="Smallest leaf", description="Minimum number of rows in a leaf."
        )
        seed: int = Field(default=7, ge=0, title="Seed", description="Seed of all random choices.")

    config: Config

    def train(self, sample: Sample) -> Any:
        """See ``MLModule.train``; no early stopping, whose split would ignore time."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(
            max_iter=self.config.trees,
            max_depth=self.config.depth,
            learning_rate=self.config.learning_rate,
            min_samples_leaf=self.config.min_samples_leaf,
            early_stopping=False,
            random_state=self.config.seed,
        )
        return _fitted(model, sample)

    def importance(self, model: Any, sample: Sample) -> Mapping[str, float]:
        """Return the permutation importance of each feature, on at most 2,000 rows."""
        from sklearn.inspection import permutation_importance

        rows = slice(max(0, len(sample.target) - 2000), None)
        found = permutation_importance(
            model,
            sample.features[rows],
            sample.target[rows],
            n_repeats=3,
            random_state=self.config.seed,
        )
        return dict(zip(sample.names, map(float, found.importances_mean), strict=True))


def _fitted(model: Any, sample: Sample) -> Any:
    """Fit on one thread: another order of sums would change the last bits."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return model.fit(sample.features, sample.target)
