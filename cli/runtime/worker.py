"""The local worker of a home."""

from __future__ import annotations

import hashlib
import socket
import sys
import time

from prefect_instances.cli.runtime import processes
from prefect_instances.cli.runtime.environment import worker_environment
from prefect_instances.cli.runtime.home import Home
from prefect_instances.cli.runtime.server import Server
from prefect_instances.libs.adapters.prefect.inspection import Inspector
from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.settings import Settings

ROLE = "worker"
START_SECONDS = 120.0
POLL_SECONDS = 0.2


def worker_name(home: Home) -> str:
    """Return the name of the worker: the same at every start, unique for each home.

    Workers of two homes may poll one Prefect server, which identifies workers by name.
    """
    digest = hashlib.sha256(str(home.path.resolve()).encode()).hexdigest()[:8]
    return f"{socket.gethostname()}-{home.path.name}-{digest}"


def start(home: Home, settings: Settings, server: Server) -> None:
    """Start the worker and wait until the server knows it; raise Unavailable otherwise."""
    with Inspector.connect(server.api_url) as inspector:
        before = _heartbeat(inspector, settings.pool, worker_name(home))
        _launch(home, settings, server)
        deadline = time.monotonic() + START_SECONDS
        # The server shows the previous worker as online for a while after its end.
        while _heartbeat(inspector, settings.pool, worker_name(home)) == before:
            if processes.alive(home, ROLE) is None:
                raise Unavailable(
                    "the worker", f"it ended while starting; {processes.last_words(home, ROLE)}"
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    "the worker",
                    f"it does not report to the server; {processes.last_words(home, ROLE)}",
                )
            time.sleep(POLL_SECONDS)


def _launch(home: Home, settings: Settings, server: Server) -> None:
    command = [sys.executable, "-P", "-m", "prefect", "worker", "start"]
    options = ["--pool", settings.pool, "--limit", str(settings.worker_limit)]
    identity = ["--name", worker_name(home), "--install-policy", "never"]
    environment = worker_environment(home, server.api_url, server.client_environment)
    processes.start(home, ROLE, [*command, *options, *identity], environment)


def _heartbeat(inspector: Inspector, pool: str, name: str) -> str:
    """Return the time of the worker's last heartbeat; empty if there is none."""
    beats = [worker.heartbeat for worker in inspector.workers(pool) if worker.name == name]
    return beats[0] if beats else ""
