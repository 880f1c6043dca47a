"""A pipeline in two versions, which live side by side."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from pydantic import Field

from prefect_instances import Extract, ExtractContext, Input, Pipeline


class RandomWalk(Pipeline):
    """Closes that wander: each day adds a normal step, the same one for the same seed."""

    name, version = "random_walk", "1.0.0"

    class Config(Pipeline.Config):
        """Parameters."""

        symbols: list[str] = Field(min_length=1, description="What the series are called.")
        start: date = Field(description="First day.")
        end: date = Field(description="Last day.")
        seed: int = Field(default=0, description="Of every random choice.")

    config: Config

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        """Every day of every symbol; all of them each time."""
        last = min(self.config.end, context.as_of or self.config.end)
        days = pl.date_range(self.config.start, self.config.end, eager=True)
        walks = [
            pl.DataFrame({"date": days, "symbol": symbol, "close": self.walk(at, len(days))})
            for at, symbol in enumerate(self.config.symbols)
        ]
        return Extract(pl.concat(walks).filter(pl.col("date") <= last), complete=True)

    def walk(self, at: int, days: int) -> np.ndarray:
        """The closes of the symbol in place ``at``."""
        steps = np.random.default_rng([self.config.seed, at]).normal(size=days)
        return 100 + steps.cumsum()


class GeometricWalk(RandomWalk):
    """Closes that wander without ever falling below zero, extracted day by day."""

    version = "2.0.0"

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        """The days from ``since`` on, where there is something to add to."""
        frame = super().extract(context, inputs, since).frame
        if since is None:
            return Extract(frame, complete=True)
        return Extract(frame.filter(pl.col("date") >= since), complete=False)

    def walk(self, at: int, days: int) -> np.ndarray:
        """The closes of the symbol in place ``at``."""
        steps = np.random.default_rng([self.config.seed, at]).normal(size=days)
        return 100 * np.exp(0.01 * steps.cumsum())
