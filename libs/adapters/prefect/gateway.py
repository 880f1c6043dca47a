"""The gateway: every call to Prefect that the rest of the project makes, on one connection."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx

from prefect_instances.libs.adapters.prefect.api import NO_SERVER, SERVICE, Api, NotPrefect
from prefect_instances.libs.adapters.prefect.artifacts import ArtifactCalls
from prefect_instances.libs.adapters.prefect.automations import AutomationCalls
from prefect_instances.libs.adapters.prefect.blocks import BlockCalls
from prefect_instances.libs.adapters.prefect.deployments import DeploymentCalls
from prefect_instances.libs.adapters.prefect.events import EventCalls
from prefect_instances.libs.adapters.prefect.own_settings import limit_retries, require_settings
from prefect_instances.libs.adapters.prefect.pools import WorkPoolCalls
from prefect_instances.libs.adapters.prefect.runs import RunCalls
from prefect_instances.libs.adapters.prefect.variables import VariableCalls
from prefect_instances.libs.core.errors import PermanentError, Unavailable

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

HEALTH_SECONDS = 3.0


class PrefectGateway(
    DeploymentCalls,
    RunCalls,
    EventCalls,
    BlockCalls,
    AutomationCalls,
    WorkPoolCalls,
    ArtifactCalls,
    VariableCalls,
):
    """A connection to a Prefect server; a context manager that closes it.

    Every call raises Unavailable if the server does not answer, and a PermanentError with one clear
    line if it refuses. Threads may share a gateway; create a new one after a fork.
    """

    @classmethod
    def connect(cls, api_url: str | None = None) -> Self:
        """Connect to ``api_url``, by default to the server of Prefect's settings and profile.

        Nothing is sent yet. Raises Unavailable if no server is configured; unlike Prefect's own
        client, this one never starts a temporary server.
        """
        try:
            return cls(Api(_client(api_url)))
        except (ImportError, ValueError) as error:
            raise PermanentError(_unusable_way(error)) from error

    @classmethod
    def connect_later(cls, api_url: str = "") -> Self:
        """Return a gateway that connects when it is first used, as ``connect`` does.

        The server of Prefect's settings takes precedence over ``api_url``. Until then Prefect is
        not imported, and no server needs to be configured.
        """
        return cls(Api.connect_later(lambda: _client(read_configured_api_url() or api_url or None)))

    @property
    def api_url(self) -> str:
        """Return the address of the server's API."""
        return self._api.url

    def close(self) -> None:
        """Close the connections; the gateway cannot be used afterwards."""
        self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def require_answer(self) -> None:
        """Raise Unavailable within seconds if the server is away; wait for one that is only slow.

        Prefect's client repeats a request for minutes before it gives up.
        """
        with limit_retries(1):
            try:
                _ask(self._api, "/health")
            except NotPrefect:
                raise
            except Unavailable as error:
                if isinstance(error.__cause__, httpx.TimeoutException):
                    return
                detail = f"{error.detail}; `instances doctor` says what to do"
                raise Unavailable(SERVICE, detail) from error

    def health(self) -> str | None:
        """Return the server's version, or None if it does not answer promptly or is not healthy.

        Raises NotPrefect if another server answers, Refused if it rejects our credentials.
        """
        with limit_retries(0):
            try:
                healthy = _ask(self._api, "/health")
                version = _ask(self._api, "/admin/version")
            except NotPrefect:
                raise
            except Unavailable:
                return None
        return str(version) if healthy is True else None


def read_configured_api_url() -> str | None:
    """Return the server in Prefect's own settings (``PREFECT_API_URL`` or the active profile)."""
    require_settings()
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value() or "").rstrip("/") or None


def _client(api_url: str | None) -> SyncPrefectClient:
    from prefect.client.orchestration import SyncPrefectClient, get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

    configured = read_configured_api_url()
    if api_url is None and configured is None:
        raise Unavailable(SERVICE, NO_SERVER)
    if api_url is None or api_url.rstrip("/") == configured:
        return get_client(sync_client=True)
    return SyncPrefectClient(
        api_url, auth_string=PREFECT_API_AUTH_STRING.value(), api_key=PREFECT_API_KEY.value()
    )


def _unusable_way(error: Exception) -> str:
    """Return one line on settings with which no connection can even be tried."""
    if "SOCKS" in str(error):
        return (
            "ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names a SOCKS proxy, which needs the package "
            "socksio: install it (pip install 'httpx[socks]'), or unset the variable"
        )
    text = " ".join(str(error).split())
    return f"Prefect's settings or a proxy variable cannot be used ({text}); correct or unset them"


def _ask(api: Api, path: str) -> object:
    return api.request("GET", path, doing="tell its health", timeout=HEALTH_SECONDS)
