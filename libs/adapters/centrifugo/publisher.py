"""Publishing one message per request: in ``cent`` one rejected command fails a whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from cent import Client, PublishRequest
from cent.exceptions import (
    CentApiResponseError,
    CentDecodeError,
    CentError,
    CentNetworkError,
    CentTimeoutError,
    CentTransportError,
    CentUnauthorizedError,
)

from prefect_instances.libs.adapters.centrifugo.connection import Connection
from prefect_instances.libs.core.errors import InstancesError, PermanentError, Unavailable

SERVICE = "Centrifugo"
UNKNOWN_CHANNEL = 102


class Publisher:
    """Publishes to one server over a persistent connection; not thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._session = requests.Session()
        self._url, self._timeout = connection.url, connection.timeout_seconds
        self._client = Client(
            connection.url,
            connection.api_key.get_secret_value(),
            timeout=connection.timeout_seconds,
            session=self._session,
        )

    def publish(self, channel: str, payload: Mapping[str, object], key: str) -> None:
        """Publish one message; return when the server has accepted it.

        ``key`` makes a repetition within five minutes harmless. Raises Unavailable if the server
        does not answer or its answer is invalid, PermanentError if it refuses. Neither message
        contains a secret, and no exception of the vendor is attached.
        """
        request = PublishRequest(channel=channel, data=dict(payload), idempotency_key=key)
        problem: InstancesError | None = None
        answer: Any = None
        try:
            answer = self._client.publish(request)
        except (CentError, requests.RequestException) as error:
            problem = self._translated(error, channel)
        if problem is not None:
            # Outside of the handler: the vendor's exception contains the request with its key.
            raise problem
        if answer is None:
            raise Unavailable(SERVICE, f"{self._url} returned an invalid response")

    def _translated(self, error: Exception, channel: str) -> InstancesError:
        if isinstance(error, CentUnauthorizedError):
            return PermanentError(f"Centrifugo at {self._url} refuses the API key of the block")
        if isinstance(error, CentApiResponseError):
            return _refused(error, channel)
        return Unavailable(SERVICE, self._detail(error))

    def _detail(self, error: Exception) -> str:
        if isinstance(error, CentTimeoutError):
            return f"no answer from {self._url} within {self._timeout:g} s"
        if isinstance(error, CentTransportError):
            return f"{self._url} answered HTTP {error.status_code}"
        if isinstance(error, CentDecodeError):
            return f"{self._url} returned an invalid response"
        if isinstance(error, CentNetworkError):
            return f"no connection to {self._url}"
        return f"{self._url}: {type(error).__name__}"

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _refused(error: CentApiResponseError, channel: str) -> InstancesError:
    if error.code == UNKNOWN_CHANNEL:
        namespace = channel.partition(":")[0]
        return PermanentError(
            f"Centrifugo has no namespace {namespace!r}; docs/realtime.md shows its configuration"
        )
    if error.code == 100:  # internal error: it passes
        return Unavailable(SERVICE, "it answered with an internal error")
    return PermanentError(f"Centrifugo refuses to publish to {channel}: error {error.code}")
