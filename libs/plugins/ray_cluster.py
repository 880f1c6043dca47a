"""Executor ``ray``: the parts run on the workers of a Ray cluster.

It connects as a Ray client, so the run's machine is no part of the cluster. Ray repeats a part
whose worker dies; the values of other parts are kept by the nodes and not computed again.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import Field, field_validator

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.definitions.executor import Executor, Part, Value
from prefect_instances.libs.plugins.cluster import ClusterConfig, compare_versions, read_versions

_ADDRESS = re.compile(r"ray://(?P<host>[^\s/@:]+):(?P<port>\d+)")

RETRIES = 3
"""How often Ray repeats a part whose worker died."""


class RayExecutor(Executor):
    """Computes on the workers of a Ray cluster that is running already."""

    name = "ray"
    version = "1.0.0"

    class Config(ClusterConfig):
        """Parameters of the executor."""

        address: str = Field(
            description="Address of the cluster's client server.",
            examples=["ray://head:10001"],
        )

        @field_validator("address")
        @classmethod
        def _is_address(cls, address: str) -> str:
            if not _ADDRESS.fullmatch(address):
                raise ValueError("write ray://HOST:PORT of the head's client server")
            return address

    config: Config
    _client: Any = None

    @property
    def pieces(self) -> int:
        """See ``Executor.pieces``."""
        return self.config.pieces

    def check(self) -> None:
        """See ``Executor.check``; the nodes must have the same versions as this process."""
        with self.connect() as ray:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            read = ray.remote(read_versions)
            for node in ray.nodes():
                if not node["Alive"] or not node["Resources"].get("CPU"):
                    continue  # no part runs there
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                asked = read.options(scheduling_strategy=there, num_cpus=0).remote()
                if unlike := compare_versions(self._get(ray, asked)):
                    raise self._unavailable(f"node {node['NodeManagerAddress']} {unlike}")

    def map(
        self, function: Callable[[Any, Part], Value], parts: Sequence[Part], shared: Any = None
    ) -> list[Value]:
        """See ``Executor.map``; the cluster repeats a part whose worker dies, three times."""
        if not parts:
            return []
        with self.connect() as ray:
            from ray.exceptions import RayError, RayTaskError

            call = ray.remote(function).options(max_retries=RETRIES)
            common = ray.put(shared)
            made = [call.remote(common, part) for part in parts]
            try:
                return [ray.get(one) for one in made]
            except RayTaskError as error:
                raise getattr(error, "cause", error) from error
            except RayError as error:
                text = "a part ended several workers, perhaps by its need of memory"
                raise self._unavailable(text) from error
            except ConnectionError as error:
                raise self._unavailable("it ended before the parts did") from error

    def _get(self, ray: Any, asked: Any) -> Any:
        """Return the versions on a node, or the error of reading them."""
        from ray.exceptions import GetTimeoutError, RayError

        try:
            return ray.get(asked, timeout=self.config.timeout_seconds)
        except GetTimeoutError as error:
            raise self._unavailable("it has no free worker") from error
        except RayError as error:
            return getattr(error, "cause", error)

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Yield Ray, connected to a cluster that has a node for parts.

        Calls within the block share the connection, which takes seconds to make.
        """
        if self._client is not None:
            yield self._client
            return
        try:
            import ray
        except ImportError as error:
            text = "Ray is not installed: install prefect-instances[ray]"
            raise self._unavailable(text) from error
        self._require_server()
        try:
            client = ray.init(self.config.address, allow_multiple=True, log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            # Such as another version of Ray or Python on the other side.
            raise self._unavailable(str(error).splitlines()[0]) from error
        try:
            with client:
                if not any(node["Resources"].get("CPU") for node in ray.nodes() if node["Alive"]):
                    raise self._unavailable("it has no worker")
                self._client = ray
                yield ray
        finally:
            self._client = None
            client.disconnect()  # the end of its own block keeps the connection

    def _require_server(self) -> None:
        """Raise Unavailable if nothing listens there; Ray itself would try for half a minute."""
        found = _ADDRESS.fullmatch(self.config.address)
        assert found is not None
        where = found["host"], int(found["port"])
        try:
            socket.create_connection(where, self.config.timeout_seconds).close()
        except OSError as error:
            raise self._unavailable("it cannot be reached") from error

    def _unavailable(self, detail: str) -> Unavailable:
        return Unavailable(f"Ray cluster {self.config.address}", detail)
