"""The Prefect server of a home: the configured one, or an embedded one on its own port."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect_instances.cli.runtime import processes, web
from prefect_instances.cli.runtime.environment import server_environment
from prefect_instances.cli.runtime.home import Home
from prefect_instances.libs.adapters.prefect import require_settings
from prefect_instances.libs.settings import Settings, read_config

ROLE = "server"
START_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Server:
    """A Prefect server; ``access`` holds the environment variables that a client needs."""

    api_url: str
    embedded: bool
    access: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def client_environment(self) -> dict[str, str]:
        """The variables that its clients need; the embedded server has no CSRF tokens."""
        tokens = {"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false"} if self.embedded else {}
        return {**tokens, **self.access}

    @property
    def ui_url(self) -> str:
        """The address of the UI."""
        return self.api_url.removesuffix("/").removesuffix("/api")


def embedded_url(port: int) -> str:
    """Return the API address of an embedded server."""
    return f"http://{web.HOST}:{port}/api"


def configured_server(settings: Settings) -> Server | None:
    """Return the server that Prefect's own settings name; None if they name none.

    The address of the home's own embedded server (a person exported it for Prefect's command line)
    does not count, because we start that server ourselves.
    """
    require_settings()
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if not api.url or api.url.rstrip("/") == embedded_url(settings.port):
        return None
    return Server(api.url, embedded=False, access=_access())


def _access() -> dict[str, str]:
    """Return the configured server's credentials and connection settings, from any file."""
    from prefect.settings import get_current_settings

    current = get_current_settings()
    secrets = {
        "PREFECT_API_KEY": current.api.key,
        "PREFECT_API_AUTH_STRING": current.api.auth_string,
    }
    access = {name: secret.get_secret_value() for name, secret in secrets.items() if secret}
    if current.api.tls_insecure_skip_verify:
        access["PREFECT_API_TLS_INSECURE_SKIP_VERIFY"] = "true"
    if current.api.ssl_cert_file:
        access["PREFECT_API_SSL_CERT_FILE"] = current.api.ssl_cert_file
    return access


def launch(home: Home, settings: Settings, asked_port: int = 0) -> Server:
    """Start the embedded server and return at once; ``wait_healthy`` waits for it.

    ``asked_port`` is the port that a person demands (PortInUse if it is taken). Without it, the
    last port is used again if it is free.
    """
    remembered = int(read_config(home.path).get("port", 0))
    if not asked_port and settings.port != remembered:
        asked_port = settings.port
    port = web.choose_port(asked_port, remembered, "--port")
    home.remember(port=port, prefect_api_url=embedded_url(port))
    _spawn(home, port, settings)
    return Server(embedded_url(port), embedded=True)


def running(home: Home, settings: Settings) -> Server | None:
    """Return the embedded server of this home if its process runs."""
    if processes.alive(home, ROLE) is None or not settings.port:
        return None
    return Server(embedded_url(settings.port), embedded=True)


def wait_healthy(home: Home, server: Server, seconds: float = START_SECONDS) -> None:
    """Wait until the home's own server answers; raise Unavailable if it ends or takes too long."""
    web.wait_until_up(
        home, ROLE, "the Prefect server", _port(server), lambda: is_healthy(server), seconds
    )


def is_healthy(server: Server) -> bool:
    """Return True if the address answers as a healthy Prefect server."""
    return web.answers_ok(f"{server.api_url}/health")


def lost_port(server: Server) -> bool:
    """Return True if our server is not running and another process has its port."""
    return not web.is_free(_port(server))


def _spawn(home: Home, port: int, settings: Settings) -> None:
    command = [sys.executable, "-P", "-m", "prefect_instances.libs.adapters.prefect.server"]
    options = ["--host", web.HOST, "--port", str(port)]
    environment = server_environment(home, embedded_url(port), settings)
    processes.start(home, ROLE, [*command, *options], environment)


def _port(server: Server) -> int:
    return int(server.api_url.rpartition(":")[2].partition("/")[0])
