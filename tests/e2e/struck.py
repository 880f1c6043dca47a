"""A home whose processes and database can be struck at a chosen point of a run's life."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_instances.cli.output import NOT_READY
from prefect_instances.cli.runtime.processes import wait_for_ends
from prefect_instances.libs.db import sqlite_url
from prefect_instances.libs.db.engine import LINEAGE_LOCK
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.wiring import connect
from tests.e2e.stack import REPOSITORY, Answer, expression, gated, write_rows
from tests.faults.world import World, send
from tests.patience import eventually

SHORT = {
    "INSTANCES_SWEEP_SECONDS": "8",
    "INSTANCES_LEASE_SECONDS": "8",
    "INSTANCES_HEARTBEAT_SECONDS": "2",
    "INSTANCES_CLAIM_SECONDS": "5",
    "INSTANCES_BEGIN_SECONDS": "20",
    "INSTANCES_CRASH_BACKOFF_SECONDS": "1",
}
"""Waits as short as a busy machine allows."""

LIVE = ("PENDING", "RUNNING")


class Struck(World):
    """One home with one worker, and what can be done to it and seen of it."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **SHORT, **self.more}

    @contextmanager
    def services(self) -> Iterator[Services]:
        """What the flows of this home work with, in this process."""
        url = self.database_url or sqlite_url(self.home / "instances.db")
        settings = load_settings(home=self.home, database_url=url, prefect_api_url=self.api_url)
        with temporary_settings({PREFECT_API_URL: self.api_url}), connect(settings) as services:
            yield services

    def moved_to(self, home: Path) -> None:
        """Carry the directory elsewhere; nothing of it may run."""
        self.home = self.home.rename(home)
        if "database" in self.__dict__:
            self.__dict__.pop("database").close()

    def source(self, project: str, folder: Path, *derived: str) -> str:
        """Apply a source that files in ``folder`` hold, and what is derived from it; its label."""
        write_rows(folder, 1.0)
        others = [expression(name, "close * 2", "source") for name in derived]
        instances = [gated("source", folder), *others]
        self.apply({"project": project, "instances": instances}, "--wait")
        write_rows(folder, 2.0)
        return f"{project}/source"

    def hold(self, label: str, folder: Path) -> None:
        """Run a source and return when it is held in its work."""
        (folder / "hold").touch()
        began = (folder / "began").read_text().count("\n")
        self.cli("run", label)
        eventually(lambda: (folder / "began").read_text().count("\n") > began, 60, "the run began")

    def flow_runs(self, label: str, *states: str) -> list[dict[str, Any]]:
        """The flow runs of an instance's only deployment, in some states, newest first."""
        body: dict[str, Any] = {
            "deployments": {"id": {"any_": [self.flow(label)["deployment_id"]]}},
            "sort": "START_TIME_DESC",
        }
        if states:
            body["flow_runs"] = {"state": {"type": {"any_": states}}}
        found: list[dict[str, Any]] = self.post("/flow_runs/filter", body)
        return found

    def state_of(self, flow_run: dict[str, Any]) -> str:
        """State of a flow run in Prefect now."""
        found = httpx.get(f"{self.api_url}/flow_runs/{flow_run['id']}", timeout=30)
        return str(found.json()["state_type"])

    def send_all(self, role: str, number: signal.Signals) -> None:
        """Send a signal to every process of a role."""
        for process in self.by_role()[role]:
            send(process, number)

    def kill_worker(self) -> None:
        """SIGKILL to the worker and then to all that it started, frozen or not."""
        roles = self.by_role()
        assert roles["worker"], "there was no worker"
        family = [p for role in ("worker", "forkserver", "run") for p in roles[role]]
        for process in family:
            send(process, signal.SIGKILL)
        assert not wait_for_ends(family, 20), "the worker's processes outlived it"

    @contextmanager
    def writes_held(self) -> Iterator[None]:
        """Let nobody else write during the block; reading goes on."""
        if self.database_url:
            with psycopg.connect(self.database_url.replace("+psycopg", "")) as connection:
                connection.execute("SELECT pg_advisory_lock(%s)", [LINEAGE_LOCK])
                yield
            return
        with closing(sqlite3.connect(self.home / "instances.db", timeout=30)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def arrives(self, label: str, generation: int = 2, seconds: float = 120) -> None:
        """Wait until an instance is READY at a generation."""

        def there() -> bool:
            flow = self.flow(label)
            return (flow["status"], flow["generation"]) == ("READY", generation)

        eventually(there, seconds, f"{label} READY at generation {generation}")

    def findings(self, project: str) -> list[dict[str, Any]]:
        """What ``verify`` finds of a project."""
        found = self.cli("verify", "--json", code=None).json["findings"]
        return [one for one in found if one["subject"].startswith(f"{project}/")]


@contextmanager
def frozen(home: Struck, role: str) -> Iterator[Callable[[], None]]:
    """SIGSTOP to all processes of a role; what is yielded wakes them before the block ends."""
    home.send_all(role, signal.SIGSTOP)
    try:
        yield lambda: home.send_all(role, signal.SIGCONT)
    finally:
        home.send_all(role, signal.SIGCONT)


def newer_release(folder: Path, revision: str) -> Path:
    """A directory for PYTHONPATH: this code with one more revision of the database."""
    package = _links(folder / "prefect_instances", REPOSITORY / "src" / "prefect_instances", "libs")
    libs = _links(package / "libs", REPOSITORY / "libs", "db")
    database = _links(libs / "db", REPOSITORY / "libs" / "db", "migrations")
    migrations = _links(database / "migrations", REPOSITORY / "libs/db/migrations", "versions")
    versions = _links(migrations / "versions", REPOSITORY / "libs/db/migrations/versions", "")
    (versions / "0002_newer.py").write_text(revision)
    return folder


def _links(folder: Path, origin: Path, without: str) -> Path:
    """Make a directory of links to everything in ``origin`` but one."""
    folder.mkdir(parents=True)
    for path in origin.iterdir():
        if path.name not in (without, "__pycache__"):
            (folder / path.name).symlink_to(path.resolve())
    return folder


def run_remedy(home: Struck, remedy: str) -> Answer:
    """Run the command that a remedy names, as a person types it, and wait for its end.

    What is downstream of it may be lost too, and so not READY yet.
    """
    command = remedy.partition("`instances ")[2].partition("`")[0]
    assert command, f"no command in {remedy!r}"
    answer = home.cli(*command.split(), "--wait", code=None)
    assert answer.code in (0, NOT_READY), answer
    return answer
