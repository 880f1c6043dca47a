"""An executor: threads of the run's own process."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pydantic import Field

from prefect_instances import Executor


class Threads(Executor):
    """Runs the parts in threads, which share the memory of the run."""

    name, version = "threads", "1.0.0"

    class Config(Executor.Config):
        """Parameters of the executor."""

        threads: int = Field(default=4, ge=1, le=64, description="Parts that run at once.")

    config: Config

    @property
    def pieces(self) -> int:
        """One part for each thread."""
        return self.config.threads

    def map(self, function, parts, shared=None):
        """The values in the order of the parts."""
        with ThreadPoolExecutor(self.config.threads) as pool:
            return list(pool.map(partial(function, shared), parts))
