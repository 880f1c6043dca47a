"""A machine learning module; tracking and reports are the flows' concern."""

from typing import Any

from pydantic import Field

from prefect_instances import MLModule, Sample


class Huber(MLModule):
    """Linear regression that large errors do not pull (Huber, 1964)."""

    name, version = "huber", "1.0.0"

    class Config(MLModule.Config):
        """Parameters."""

        epsilon: float = Field(default=1.35, ge=1, description="Errors beyond count linearly.")

    config: Config

    def train(self, sample: Sample) -> Any:
        """The fitted model, which has ``predict``."""
        from sklearn.linear_model import HuberRegressor

        model = HuberRegressor(epsilon=self.config.epsilon, max_iter=1000)
        return model.fit(sample.features, sample.target)
