"""A home with two workers whose processes and database can be struck and brought back."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_instances.cli.runtime import processes
from prefect_instances.cli.runtime.environment import QUIET
from prefect_instances.cli.runtime.home import Home
from prefect_instances.cli.runtime.processes import wait_for_ends
from prefect_instances.flows.execution_flows import build_plan
from prefect_instances.libs.db import sqlite_url
from prefect_instances.libs.services.lifecycle.lifecycle_flows import lifecycle_plans
from prefect_instances.libs.services.lifecycle.verifying import Verified, verify
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.wiring import connect
from tests.databases import Postgres
from tests.e2e.stack import REPOSITORY, Stack

SECOND = "second"
FINE = {
    "INSTANCES_SWEEP_SECONDS": "12",
    "INSTANCES_LEASE_SECONDS": "8",
    "INSTANCES_HEARTBEAT_SECONDS": "2",
    "INSTANCES_CLAIM_SECONDS": "8",
    "INSTANCES_BEGIN_SECONDS": "60",
    "INSTANCES_CRASH_RETRIES": "8",
    "INSTANCES_CRASH_BACKOFF_SECONDS": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}
"""The net of production with a finer mesh; more retries, because one round may strike often."""

ROLES = ("server", "worker", "forkserver", "run")


@dataclass
class World(Stack):
    """One home, its two workers, and PostgreSQL where the state is there."""

    postgres: Postgres | None = None

    @property
    def environment(self) -> dict[str, str]:
        usual = super().environment
        # First, so that a copy of the checkout runs its own code, whatever is installed.
        path = os.pathsep.join([str(REPOSITORY / "src"), usual["PYTHONPATH"]])
        return {**usual, **FINE, "PYTHONPATH": path}

    def verify(self) -> Verified:
        """What ``instances verify`` finds; in this process, which imports everything once."""
        options = {name.removeprefix("INSTANCES_").lower(): text for name, text in FINE.items()}
        own = {name: text for name, text in options.items() if not name.startswith("prefect")}
        url = self.database_url or sqlite_url(self.home / "instances.db")
        settings = load_settings(
            home=self.home, database_url=url, prefect_api_url=self.api_url, **own
        )
        with temporary_settings({PREFECT_API_URL: self.api_url}), connect(settings) as services:
            plans = lifecycle_plans(settings.pool, settings.chosen_sweep_seconds)
            return verify(services, partial(build_plan, services), plans)

    def second_worker(self) -> None:
        """Start the second worker of the pool, unless it runs."""
        home = Home(self.home)
        if processes.alive(home, SECOND) is not None:
            return
        command = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", "instances"]
        options = ["--limit", "4", "--name", SECOND, "--install-policy", "never"]
        own = {
            **QUIET,
            "PREFECT_HOME": str(home.prefect),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        }
        processes.start(home, SECOND, [*command, *options], {**self.environment, **own})

    def restore(self) -> None:
        """Start again whatever is dead, as a supervisor of services does."""
        if self.postgres is not None:
            self.postgres.start_again()
        self.up()
        self.second_worker()

    def end(self) -> None:
        """End every process of the home, and the database server."""
        processes.stop(Home(self.home), SECOND, 20)
        self.down()
        if self.postgres is not None:
            self.postgres.stop()

    def by_role(self) -> dict[str, list[psutil.Process]]:
        """The processes of the home by what they are, oldest first."""
        found: dict[str, list[psutil.Process]] = {role: [] for role in ROLES}
        for process in self.processes():
            role = _role_of(process)
            if role:
                found[role].append(process)
        return {role: sorted(some, key=lambda p: p.pid) for role, some in found.items()}

    @contextmanager
    def database_away(self) -> Iterator[None]:
        """Take the database away for the length of the block."""
        if self.postgres is not None:
            self.postgres.kill()
            yield
            self.postgres.start_again()
            return
        with closing(sqlite3.connect(self.home / "instances.db", timeout=30)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")


class Database(Postgres):
    """A PostgreSQL server of our own that can be killed; it keeps what it said is committed."""

    off = ("fsync", "full_page_writes", "autovacuum")

    def kill(self) -> None:
        """SIGKILL to the server and all its backends."""
        pid = self._server.get_pid()
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            send(process, signal.SIGKILL)
        assert not wait_for_ends(family, 20)

    def start_again(self) -> None:
        """Start the server unless it runs; it recovers from its log."""
        self._server.ensure_postgres_running()


@contextmanager
def new_world(kind: str) -> Iterator[World]:
    """A world from nothing, on ``sqlite`` or ``postgresql``; its processes end with the block."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    postgres = Database(folder / "pg") if kind == "postgresql" else None
    world = World(folder / "home", postgres.create() if postgres else "", postgres=postgres)
    try:
        world.restore()
        yield world
    finally:
        world.end()
        shutil.rmtree(folder, ignore_errors=True)


def send(process: psutil.Process, number: signal.Signals) -> bool:
    """Send a signal; False if the process has ended."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def _role_of(process: psutil.Process) -> str:
    """The role of a process; a forkserver that was forked from another counts as a run."""
    try:
        words = " ".join(process.cmdline())
        if "adapters.prefect.server" in words:
            return "server"
        if "worker start" in words:
            return "worker"
        if "warm_worker.forkserver" not in words:
            return ""
        parent = process.parent()
        above = " ".join(parent.cmdline()) if parent else ""
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
    if "worker start" in above:
        return "forkserver"
    return "run" if "warm_worker.forkserver" in above else ""
