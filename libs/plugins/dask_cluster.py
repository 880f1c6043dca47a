"""Executor ``dask``: the parts run on the workers of a Dask cluster.

Each part is sent with everything that it needs. So when a worker dies, its parts run again
elsewhere: the one that ran, and those whose values were not fetched yet. No other part does.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.definitions.executor import Executor, Part, Value
from prefect_instances.libs.plugins.cluster import ClusterConfig, compare_versions, read_versions

if TYPE_CHECKING:
    from distributed import Client

_ADDRESS = re.compile(r"(tcp|tls|ws|wss)://[^\s/@]+:\d+")


class DaskExecutor(Executor):
    """Computes on the workers of a Dask cluster that is running already."""

    name = "dask"
    version = "1.0.0"

    class Config(ClusterConfig):
        """Parameters of the executor."""

        address: str = Field(
            description="Address of the cluster's scheduler.",
            examples=["tcp://scheduler:8786"],
        )

        @field_validator("address")
        @classmethod
        def _is_address(cls, address: str) -> str:
            if not _ADDRESS.fullmatch(address):
                raise ValueError("write tcp://HOST:PORT of the scheduler")
            return address

    config: Config

    @property
    def pieces(self) -> int:
        """See ``Executor.pieces``."""
        return self.config.pieces

    def check(self) -> None:
        """See ``Executor.check``; the workers must have the same versions as this process."""
        with self._connected() as client:
            found = client.run(read_versions, on_error="return")
        for worker, theirs in sorted(found.items()):
            if unlike := compare_versions(theirs):
                raise self._unavailable(f"worker {worker} {unlike}")

    def map(
        self, function: Callable[[Any, Part], Value], parts: Sequence[Part], shared: Any = None
    ) -> list[Value]:
        """See ``Executor.map``; the cluster repeats a part whose worker dies, three times.

        Each value is fetched when its part ends and then given up by the cluster, which would
        compute it again if its worker died later.
        """
        if not parts:
            return []
        from distributed import CancelledError, KilledWorker, as_completed

        with self._connected() as client, warnings.catch_warnings():
            # Data within the graph are what lets a part run again elsewhere.
            warnings.filterwarnings("ignore", message="Sending large graph")
            common = client.submit(_keep, shared, pure=False)
            made = [client.submit(function, common, part, pure=False) for part in parts]
            try:
                values = {}
                for ended, value in as_completed(made, loop=client.loop, with_results=True):
                    values[ended] = value
                    ended.release()
            except KilledWorker as error:
                text = "a part ended several workers, perhaps by its need of memory"
                raise self._unavailable(text) from error
            except CancelledError as error:
                raise self._unavailable("it ended before the parts did") from error
        return [values[one] for one in made]

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        """Yield a connection of its own to a cluster that has a worker."""
        try:
            from distributed import Client
        except ImportError as error:
            text = "Dask is not installed: install prefect-instances[dask]"
            raise self._unavailable(text) from error
        address, wait = self.config.address, self.config.timeout_seconds
        try:
            client = Client(address, timeout=wait, set_as_default=False)
        except OSError as error:  # every failure to connect, timeouts too
            raise self._unavailable("it cannot be reached") from error
        with client:
            if not client.scheduler_info(n_workers=-1)["workers"]:
                raise self._unavailable("it has no worker")
            yield client

    def _unavailable(self, detail: str) -> Unavailable:
        return Unavailable(f"Dask cluster {self.config.address}", detail)


def _keep(shared: Any) -> Any:
    return shared
