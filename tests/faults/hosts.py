"""Several hosts: the topology of ``deployments/compose.yaml`` as real processes of one machine.

Two API servers behind a balancer, background services apart, Redis, PostgreSQL, servers of MLflow
and Evidently, an object store, and two hosts that execute runs. A host is a home of its own, with
its own directory for temporary files. It shares with the other one only what it reaches by an
address. What the Prefect servers share is read from the compose file, so that this tests the file.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml
from psycopg import sql

from tests.e2e.stack import BIN, REPOSITORY, Stack
from tests.faults.world import FINE
from tests.object_store import S3, serve_s3
from tests.patience import eventually
from tests.prefect_server import HOST, end_with_parent, free_port

LOGIN = "admin:s3cret"
COMPOSE = REPOSITORY / "deployments" / "compose.yaml"
START_SECONDS = 120.0


PASSWORD = "s3cret"


def find_missing() -> list[str]:
    """List the programs that these hosts need and this machine does not have."""
    return [name for name in ("initdb", "postgres", "redis-server") if not _find(name)]


def _find(program: str) -> str:
    """Return the path of a program; Debian keeps those of PostgreSQL apart. Empty if none."""
    debian = map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *debian])) or ""


@dataclass
class Part:
    """One process that serves the others, such as Redis; it can be killed and started again."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    probe: str = ""
    """Path that answers once it is ready; without one it is ready when it has started."""
    user: str | None = None
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.process is None or self.process.poll() is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    self.command,
                    env={**self.environment, "PREFECT_HOME": str(self.folder)},
                    cwd=self.folder,
                    user=self.user,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=end_with_parent if sys.platform == "linux" else None,
                )
        if self.probe:
            eventually(self._answers, START_SECONDS, f"{self.name} answers")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}{self.probe}", timeout=2).is_success
        except httpx.TransportError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(20)


@dataclass
class Balancer:
    """One address for several servers: each connection goes to the next one that accepts it."""

    ports: Sequence[int]
    port: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Serve in a thread until the process ends."""
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, HOST, 0)
        self.port = int(server.sockets[0].getsockname()[1])
        self._turns = cycle(range(len(self.ports)))
        self._ready.set()
        await server.serve_forever()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(self._turns)
        for port in (*self.ports[first:], *self.ports[:first]):
            try:
                theirs, ours = await asyncio.open_connection(HOST, port)
            except OSError:
                continue
            await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))
            return
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        return  # One side is gone: the other one learns it by the end of its connection.
    finally:
        target.close()


@dataclass
class Host(Stack):
    """A home that executes runs; its server and everything that lasts are elsewhere."""

    @property
    def environment(self) -> dict[str, str]:
        temporary = self.home / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {**super().environment, **FINE, "TMPDIR": str(temporary), **self.more}


@dataclass
class Hosts:
    """Everything that runs."""

    parts: Mapping[str, Part]
    workers: Sequence[Host]
    postgres: Postgres
    s3: S3
    folder: Path

    def restore(self) -> None:
        """Start again whatever is dead, as a supervisor of services does."""
        for part in self.parts.values():
            part.send(signal.SIGCONT)
            part.start()
        for host in self.workers:
            host.up()


@dataclass
class Postgres(Part):
    """A PostgreSQL server with a password, and a database for each of those that need one."""

    def url(self, driver: str, name: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+{driver}://instances:{PASSWORD}@{HOST}:{self.port}/{name}"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it accepts connections."""
        if not (self.folder / "data").exists():
            self._initialize()
        super().start()
        eventually(self._accepts, START_SECONDS, f"{self.name} accepts connections")

    def _initialize(self) -> None:
        self.folder.mkdir(parents=True)
        if self.user:
            shutil.chown(self.folder, self.user)
        (self.folder / "password").write_text(PASSWORD)
        command = [_find("initdb"), "--pgdata", "data", "--auth", "scram-sha-256", "--no-sync"]
        options = ["--username", "instances", "--pwfile", "password", "--encoding", "UTF8"]
        subprocess.run(
            [*command, *options], cwd=self.folder, user=self.user, check=True, capture_output=True
        )

    def restore_from_copy(self) -> None:
        """Kill it, copy its files as they are then, and start on the copy from now on."""
        self.kill()
        old, new = self.folder / "data", self.folder / "restored"
        subprocess.run(["cp", "-a", str(old), str(new)], check=True)
        self.command = [word.replace(str(old), str(new)) for word in self.command]
        self.start()

    def _accepts(self) -> bool:
        try:
            with self.connect():
                return True
        except psycopg.OperationalError:
            return False

    def connect(self) -> psycopg.Connection:
        """Connect as the owner of all databases."""
        url = self.url("psycopg", "postgres").replace("+psycopg", "")
        return psycopg.connect(url, autocommit=True)

    def create(self, *names: str) -> None:
        """Create empty databases."""
        with self.connect() as connection:
            for name in names:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


@contextmanager
def several_hosts() -> Iterator[Hosts]:
    """The whole topology, ready; its processes end with the block. Logs stay if that fails."""
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    folder.chmod(0o755)  # PostgreSQL has a user of its own.
    with serve_s3() as s3:
        hosts = _build(folder, s3)
        try:
            hosts.postgres.start()
            hosts.postgres.create("prefect", "mlflow", "instances")
            _migrate(hosts.parts["API server 1"])
            hosts.restore()
            yield hosts
        finally:
            for host in hosts.workers:
                host.down()
            for part in hosts.parts.values():
                part.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _build(folder: Path, s3: S3) -> Hosts:
    postgres, redis = _postgres(folder / "postgres"), _redis(folder / "redis")
    mlflow, evidently = _mlflow(folder / "mlflow", postgres), _evidently(folder / "evidently")
    balancer = Balancer((free_port(), free_port()))
    balancer.start()
    api = f"http://{HOST}:{balancer.port}/api"
    prefect = _prefect(folder, balancer, _settings(postgres, redis, api))
    database = postgres.url("psycopg", "instances")
    settings = {
        **s3.environment,
        "PREFECT_API_URL": api,
        "PREFECT_API_AUTH_STRING": LOGIN,
        "INSTANCES_DATABASE_URL": database,
        "INSTANCES_MLFLOW_TRACKING_URI": mlflow.address,
        "INSTANCES_EVIDENTLY_URL": evidently.address,
        "INSTANCES_EVIDENTLY_SECRET": LOGIN,
        "INSTANCES_STORE_ROOT": f"s3://{s3.make_bucket()}/stores",
    }
    parts = [postgres, redis, *prefect, mlflow, evidently]
    workers = [Host(folder / name, database, settings) for name in ("host-a", "host-b")]
    return Hosts({part.name: part for part in parts}, workers, postgres, s3, folder)


def _settings(postgres: Postgres, redis: Part, api: str) -> dict[str, str]:
    """What the Prefect servers share: the compose file's, at the addresses of this machine."""
    return {
        **_own_environment(),
        **read_compose("x-prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url("asyncpg", "prefect"),
        "PREFECT_REDIS_MESSAGING_HOST": HOST,
        "PREFECT_REDIS_MESSAGING_PORT": str(redis.port),
        "PREFECT_SERVER_DOCKET_URL": f"redis://{HOST}:{redis.port}/1",
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def _prefect(folder: Path, balancer: Balancer, settings: Mapping[str, str]) -> list[Part]:
    """Two API servers, and the background services apart from them."""
    servers = []
    for at, port in enumerate(balancer.ports, start=1):
        name, own = f"API server {at}", folder / f"api{at}"
        servers.append(Part(name, _command("api", port), settings, own, "/api/health", port=port))
    behind = Part("background services", _command("background"), settings, folder / "background")
    return [*servers, behind]


def _redis(folder: Path) -> Part:
    port = free_port()
    options = ["--bind", HOST, "--port", str(port), "--appendonly", "yes"]
    command = [_find("redis-server"), *options]
    return Part("Redis", command, _own_environment(), folder, port=port)


def _mlflow(folder: Path, postgres: Postgres) -> Part:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    store = ["--backend-store-uri", postgres.url("psycopg", "mlflow"), "--workers", "1"]
    files = ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {**_own_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Part("MLflow", [*command, *store, *files], quiet, folder, "/health", port=port)


def _evidently(folder: Path) -> Part:
    port = free_port()
    command = [sys.executable, "-m", "evidently.cli", "ui", "--host", HOST, "--port", str(port)]
    options = ["--workspace", str(folder / "workspace"), "--secret", LOGIN]
    environment = _own_environment()
    return Part("Evidently", [*command, *options], environment, folder, "/api/version", port=port)


def _postgres(folder: Path) -> Postgres:
    port = free_port()
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    options = ["-D", str(folder / "data"), "-k", str(folder), "-p", str(port)]
    command = [_find("postgres"), *options, "-c", f"listen_addresses={HOST}"]
    return Postgres("PostgreSQL", command, _own_environment(), folder, user=user, port=port)


def _own_environment() -> dict[str, str]:
    foreign = ("PREFECT_", "INSTANCES_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    return {**kept, "PYTHONPATH": path, "DO_NOT_TRACK": "1"}


def read_compose(key: str) -> dict[str, str]:
    """Return a mapping of variables of the compose file, with a password where it asks for one."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return {name: re.sub(r"\$\{\w+:\?[^}]*\}", LOGIN, text) for name, text in document[key].items()}


def _command(service: str, port: int | None = None) -> list[str]:
    """Return the command of a service of the compose file, on an address of this machine."""
    words = yaml.safe_load(COMPOSE.read_text())["services"][service]["command"]
    local = {"python": sys.executable, "0.0.0.0": HOST, "4200": str(port)}  # replaced
    return [local.get(word, word) for word in words]


def _migrate(server: Part) -> None:
    """Prepare Prefect's database once, before any server starts."""
    words = yaml.safe_load(COMPOSE.read_text())["services"]["migrate"]["command"]
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        env={**server.environment, "PREFECT_HOME": str(server.folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
