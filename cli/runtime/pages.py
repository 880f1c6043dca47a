"""Web pages of MLflow and Evidently over the stores of a home; runs do not need them.

Each is a server on its own port, bound to this machine, in its own process. If another server is
configured (``INSTANCES_MLFLOW_TRACKING_URI``, ``INSTANCES_EVIDENTLY_URL``), its own pages are used
instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_instances.cli.runtime import processes, web
from prefect_instances.cli.runtime.environment import base_environment
from prefect_instances.cli.runtime.home import Home
from prefect_instances.libs.adapters.evidently import find_workspace_folder
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.settings import PREFIX, Settings, read_config

START_SECONDS = 240.0
GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of pages.

    ``server`` is the setting that names a server instead of the home's store. ``probe`` is a path
    that answers once the server is up.
    """

    role: str
    title: str
    server: str
    probe: str
    command: Callable[[Path, int], Sequence[str]]

    @property
    def port_setting(self) -> str:
        """The setting that holds the port."""
        return f"{self.role}_port"

    @property
    def url_setting(self) -> str:
        """The setting that holds the address for links."""
        return f"{self.role}_ui_url"


def _mlflow(home: Path, port: int) -> Sequence[str]:
    return ["-m", "prefect_instances.cli.runtime.mlflow_pages", str(home / "mlflow"), str(port)]


def _evidently(home: Path, port: int) -> Sequence[str]:
    workspace = find_workspace_folder(home / "evidently")
    where = ["--host", web.HOST, "--port", str(port)]
    return ["-m", "evidently.cli", "ui", "--workspace", str(workspace), *where]


KINDS = {
    kind.role: kind
    for kind in (
        Kind("mlflow", "MLflow", "mlflow_tracking_uri", "/health", _mlflow),
        Kind("evidently", "Evidently", "evidently_url", "/api/version", _evidently),
    )
}
"""The values of ``instances up --with``."""


class ServedElsewhere(PermanentError):
    """The store is on a configured server: open the pages there, or unset the setting."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        name = f"{PREFIX}{kind.server}".upper()
        super().__init__(f"--with {kind.role} needs the embedded store, but {name} names a server")


def require_own_stores(settings: Settings, asked: Iterable[str]) -> None:
    """Raise ServedElsewhere if a requested kind has a configured server."""
    for role in asked:
        if getattr(settings, KINDS[role].server):
            raise ServedElsewhere(KINDS[role])


def select_kinds(home: Home, asked: Collection[str]) -> list[Kind]:
    """Return the requested kinds, and those started before that ``down`` has not ended."""
    return [
        kind
        for kind in KINDS.values()
        if kind.role in asked or processes.record_path(home, kind.role).exists()
    ]


def launch(home: Home, settings: Settings, kind: Kind) -> None:
    """Start the pages and return at once; ``wait`` waits for them. Raises PortInUse."""
    # A process that a killed parent left behind would hold the port.
    processes.stop(home, kind.role, GRACE_SECONDS)
    remembered = int(read_config(home.path).get(kind.port_setting, 0))
    configured = int(getattr(settings, kind.port_setting))
    asked = configured if configured != remembered else 0
    port = web.choose_port(asked, remembered, f"{PREFIX}{kind.port_setting}".upper())
    home.remember(**{kind.port_setting: port, kind.url_setting: f"http://{web.HOST}:{port}"})
    command = [sys.executable, "-P", *kind.command(home.path, port)]
    processes.start(home, kind.role, command, base_environment(home))


def wait(home: Home, kind: Kind) -> str:
    """Return the address of the pages once they answer; raise Unavailable if they do not."""
    config = read_config(home.path)
    port, url = int(config[kind.port_setting]), str(config[kind.url_setting])
    web.wait_until_up(
        home,
        kind.role,
        f"{kind.title}'s server",
        port,
        lambda: web.answers_ok(f"{url}{kind.probe}"),
        START_SECONDS,
    )
    return url


def forget(home: Home, role: str) -> None:
    """Remove the address of ended pages, so that no link leads to them; the port is kept."""
    if role in KINDS:
        home.remember(**{KINDS[role].url_setting: None})
