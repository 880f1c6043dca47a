"""Real MLflow and Evidently servers for tests: one of each a session, once a test asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.prefect_server import HOST, end_with_parent, free_port, stop

START_SECONDS = 120.0


@dataclass(frozen=True)
class ModelServer:
    """A server that answers at ``url`` and keeps all that it has below ``folder``."""

    url: str
    folder: Path


@contextmanager
def running(command: Sequence[str], port: int, probe: str, folder: Path) -> Iterator[ModelServer]:
    """Run a server for as long as the block lasts."""
    server, log = ModelServer(f"http://{HOST}:{port}", folder), folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "DO_NOT_TRACK": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )
    try:
        _await(process, f"{server.url}{probe}", log)
        yield server
    finally:
        stop(process)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    tail = log.read_text(errors="replace")[-3000:]
    pytest.fail(f"no answer at {url} (exit code {process.poll()}):\n{tail}")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """MLflow as people run it: a database, and artifacts that go through the server."""
    folder, port = tmp_path_factory.mktemp("mlflow-server"), free_port()
    store = f"sqlite:///{folder / 'mlflow.db'}"
    places = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    command = ["-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    with running([*command, *places], port, "/health", folder) as server:
        yield server


SECRET = "s3cret"


@pytest.fixture(scope="session")
def evidently_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """Evidently with a secret that it asks for before it writes."""
    folder, port = tmp_path_factory.mktemp("evidently-server"), free_port()
    command = ["-m", "evidently.cli", "ui", "--workspace", str(folder / "workspace")]
    options = ["--host", HOST, "--port", str(port), "--secret", SECRET]
    with running([*command, *options], port, "/api/version", folder) as server:
        yield server


def texts_of(error: BaseException | None) -> str:
    """All that a log of an error says: its text, and those of the errors that led to it."""
    said = []
    while error is not None:
        said.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(said)


@dataclass(frozen=True)
class GuardedServer:
    """Neither MLflow nor Evidently: it refuses every user, and answers those without with nothing.

    ``seen`` are the users and passwords that were tried.
    """

    port: int
    seen: set[tuple[str, str]] = field(default_factory=set)

    def address(self, user: str = "", password: str = "") -> str:
        """Its address, for a user if one is given."""
        return (
            f"http://{user}:{password}@{HOST}:{self.port}" if user else f"http://{HOST}:{self.port}"
        )


REFUSAL = b'{"detail": "Not authorized", "error_code": "UNAUTHENTICATED", "message": "no"}'


@pytest.fixture
def guarded_server() -> Iterator[GuardedServer]:
    """A server that knows nobody."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if scheme == "Basic":
                user, _, password = b64decode(token).decode().partition(":")
                guarded.seen.add((user, password))
            body = REFUSAL if scheme else b"{}"
            self.send_response(401 if scheme else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HOST, 0), Refusing) as server:
        guarded = GuardedServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield guarded
        server.shutdown()
        thread.join()
