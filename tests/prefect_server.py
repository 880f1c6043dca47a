"""A real Prefect server for tests: one a session, on a free port, in a directory of its own.

``prefect_api_url`` is the address; ``prefect_environment`` is what a child process (worker, flow,
command line) needs in order to use that server and its temporary home and nothing else; ``gateway``
is our own client of it, ``person`` stands for somebody who clicks in the UI.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from prefect_instances.libs.adapters.prefect import PrefectGateway
from tests.cache import locked_cache

START_SECONDS = 120.0
STOP_SECONDS = 15.0
HOST = "127.0.0.1"
DATABASE = "prefect.db"
_PR_SET_PDEATHSIG = 1

QUIET = {
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
}
"""What a shared server leaves undone, for no test waits for it: every few seconds a look at which
runs of all schedules that tests left behind are late, which workers are away, which pauses ended.
"""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(home: Path, port: int) -> dict[str, str]:
    """The caller's environment without its Prefect settings, with those of a server in ``home``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": api_url(port),
        "PREFECT_SERVER_UI_API_URL": api_url(port),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / DATABASE}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_CLI_COLORS": "false",
    }


def api_url(port: int) -> str:
    """Address of the API of a server on ``port``."""
    return f"http://{HOST}:{port}/api"


@contextmanager
def running_server(home: Path, template: Path | None) -> Iterator[dict[str, str]]:
    """Run a server in ``home`` for as long as the block lasts; yields its clients' environment.

    Its database begins as a copy of ``template``; without one the server migrates it.
    """
    if template:
        begin_migrated(home / DATABASE, template)
    port = free_port()
    variables = environment(home, port)
    log = home / "server.log"
    command = [
        sys.executable,
        "-m",
        "prefect_instances.libs.adapters.prefect.server",
        "--host",
        HOST,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env={**variables, **QUIET},
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )
    try:
        _await_health(process, api_url(port), log)
        yield variables
    finally:
        # It may take seconds to end as it is asked to, and leaves nothing that is wanted.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def end_with_parent() -> None:
    """Even a killed test session leaves no server behind (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    tail = log.read_text(errors="replace")[-3000:]
    pytest.fail(f"the Prefect server did not start (exit code {process.poll()}):\n{tail}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it started: asked first, killed if that takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=STOP_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue


def begin_migrated(database: Path, template: Path) -> None:
    """Spare a server the migrations of an empty database, which take longer than the rest."""
    database.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(template, database)


@pytest.fixture(scope="session")
def prefect_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's migrated database that knows nothing yet; made once on a machine."""
    with locked_cache("prefect") as folder:
        template = folder / f"{version('prefect')}.db"
        if not template.exists():
            home = tmp_path_factory.mktemp("empty")
            partial = template.with_suffix(".partial")
            with (
                running_server(home, None),
                closing(sqlite3.connect(home / DATABASE)) as source,
                closing(sqlite3.connect(partial)) as target,
            ):
                source.backup(target)
            partial.replace(template)
    return template


@pytest.fixture(scope="session")
def prefect_environment(
    tmp_path_factory: pytest.TempPathFactory, prefect_template: Path
) -> Iterator[Mapping[str, str]]:
    """Environment of a child process that uses the session's server."""
    with running_server(tmp_path_factory.mktemp("prefect"), prefect_template) as variables:
        yield variables


@pytest.fixture(scope="session")
def prefect_api_url(prefect_environment: Mapping[str, str]) -> str:
    """API address of the session's server."""
    return prefect_environment["PREFECT_API_URL"]


@pytest.fixture(scope="session")
def gateway(prefect_api_url: str) -> Iterator[PrefectGateway]:
    """A gateway to the session's server."""
    with PrefectGateway.connect(prefect_api_url) as connected:
        yield connected


@pytest.fixture(scope="session")
def person(prefect_api_url: str) -> Iterator[httpx.Client]:
    """Plain requests to the session's server, as its pages send them."""
    with httpx.Client(base_url=prefect_api_url, timeout=30) as client:
        yield client
