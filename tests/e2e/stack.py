"""A real home: server, worker and command line, as a person has them, on either database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil
import pytest
import yaml

from prefect_instances.cli.runtime.processes import wait_for_ends
from prefect_instances.libs.db import Database, sqlite_url
from prefect_instances.libs.services.state.ledger import utc_now
from prefect_instances.libs.services.views import reports
from tests.e2e.warm_cli import WarmCommandLine
from tests.example_wheel import installed_wheel
from tests.patience import SLOWEST, eventually

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

FAST = {
    "INSTANCES_SWEEP_SECONDS": "12",
    "INSTANCES_LEASE_SECONDS": "12",
    "INSTANCES_HEARTBEAT_SECONDS": "3",
    "INSTANCES_CLAIM_SECONDS": "15",
    "INSTANCES_CRASH_BACKOFF_SECONDS": "2",
}
"""The same net as in production with a finer mesh, so that tests need not wait for minutes."""


def settings_of_others(home: Path) -> dict[str, str]:
    """Prefect's settings in a person's environment: a leftover, and a folder without profiles."""
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nowhere/x",
        "PREFECT_HOME": str(home / "user"),
    }


on_postgresql = pytest.mark.parametrize("stack", ["postgresql"], indirect=True)
"""For tests in the home on PostgreSQL: most are those that wait longest and kill most."""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Stack:
    """One home and its processes."""

    home: Path
    database_url: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "INSTANCES_"))}
        return {
            **kept,
            **FAST,
            "INSTANCES_HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join([str(installed_wheel()), str(REPOSITORY)]),
            "DO_NOT_TRACK": "1",
            **self.more,
        }

    def cli(self, *arguments: str, code: int | None = 0, seconds: float = 240) -> Answer:
        """Run ``instances`` without its start; its exit code is ``code`` unless that is None."""
        done = self.warm.run(arguments, seconds * SLOWEST)
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert code is None or done.returncode == code, (arguments, answer, self.tail())
        return answer

    def start(self, arguments: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own."""
        return subprocess.run(
            [str(BIN / "instances"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    @cached_property
    def warm(self) -> WarmCommandLine:
        """What runs the commands: most of their time is a start."""
        return WarmCommandLine(self.environment)

    def up(self) -> None:
        """Start server and worker."""
        database = ["--database", self.database_url] if self.database_url else []
        self.cli("up", "--detach", *database)

    def down(self) -> None:
        """End them."""
        self.cli("down")
        if "warm" in self.__dict__:
            self.__dict__.pop("warm").close()

    def prefect(self, *arguments: str, cwd: Path | None = None, **more: str) -> Answer:
        """Run Prefect's own command line against this server."""
        done = subprocess.run(
            [str(BIN / "prefect"), *arguments],
            env={
                **self.environment,
                "PREFECT_API_URL": self.api_url,
                "PREFECT_HOME": str(self.home / "prefect-client"),
                **more,
            },
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    @property
    def api_url(self) -> str:
        config = json.loads((self.home / "config.json").read_text())
        return str(config["prefect_api_url"])

    def post(self, path: str, body: Mapping[str, Any] | list[Any]) -> Any:
        """A POST to Prefect's API, as any other tool would make it."""
        answer = httpx.post(f"{self.api_url}{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def count_runs(self, which: Mapping[str, Any]) -> int:
        """How many flow runs Prefect knows of which a filter holds."""
        return int(self.post("/flow_runs/count", which))

    def run_deployment(
        self, full_name: str, parameters: Mapping[str, Any], seconds: float = 90
    ) -> dict[str, Any]:
        """Run ``flow/deployment`` as any other tool would; the flow run when it has ended."""
        found = httpx.get(f"{self.api_url}/deployments/name/{full_name}", timeout=30).json()
        path = f"/deployments/{found['id']}/create_flow_run"
        run = self.post(path, {"parameters": dict(parameters)})
        return self.wait_for_end(run["id"], full_name, seconds)

    def wait_for_end(self, run_id: str, name: str, seconds: float = 90) -> dict[str, Any]:
        """Wait until a flow run has ended, and return it."""

        def ended() -> dict[str, Any]:
            current: dict[str, Any] = httpx.get(f"{self.api_url}/flow_runs/{run_id}").json()
            return current if current["state_type"] in ("COMPLETED", "FAILED", "CRASHED") else {}

        return eventually(ended, seconds, f"{name} ended", pause=0.2)

    def apply(self, manifest: Mapping[str, Any], *arguments: str, seconds: float = 240) -> Answer:
        """Apply a manifest; ``--wait`` waits until all of it is READY."""
        path = self.home / "manifest.yaml"
        path.write_text(yaml.safe_dump(dict(manifest)))
        return self.cli("apply", "-f", str(path), *arguments, seconds=seconds)

    @cached_property
    def database(self) -> Database:
        """The home's database, read as the command line reads it, without a process each time."""
        return Database(self.database_url or sqlite_url(self.home / "instances.db"))

    def instance(self, name: str) -> dict[str, Any]:
        """The status document of one instance."""
        document: dict[str, Any] = reports.status(self.database, utc_now(), name)["instances"][0]
        return document

    def flow(self, name: str) -> dict[str, Any]:
        """The status document of its only flow."""
        flow: dict[str, Any] = self.instance(name)["flows"][0]
        return flow

    def flows(self, project: str) -> dict[str, dict[str, Any]]:
        """Instance name → its only flow, for one project."""
        return {entry["name"]: entry["flows"][0] for entry in self.instances(project)}

    def instances(self, project: str | None = None) -> list[dict[str, Any]]:
        """The status documents of all instances, or of one project."""
        found = reports.status(self.database, utc_now(), project=project)["instances"]
        return list(found)

    def statuses(self, project: str) -> dict[str, str]:
        """Instance name → status, for one project."""
        return {entry["name"]: entry["status"] for entry in self.instances(project)}

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of an instance, newest first."""
        found: list[dict[str, Any]] = reports.runs(self.database, name)["runs"]
        return found

    def completed(self, name: str) -> list[dict[str, Any]]:
        """Its successful runs, newest first."""
        return [run for run in self.runs(name) if run["status"] == "completed"]

    def settled(self, project: str) -> bool:
        """Every instance of a project is READY."""
        return set(self.statuses(project).values()) == {"READY"}

    def running_pid(self, deployment_id: str) -> int:
        """Process of a deployment's running run, as the worker reports it to Prefect."""
        body = {
            "deployments": {"id": {"any_": [deployment_id]}},
            "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
        }
        runs = eventually(lambda: self.post("/flow_runs/filter", body), 30, "a RUNNING run")
        return int(str(runs[0]["infrastructure_pid"]).split(":")[-1])

    def pid(self, role: str) -> int:
        """Process id that is recorded for a role, such as ``server`` or ``worker``."""
        return int(json.loads((self.home / "run" / f"{role}.json").read_text())["pid"])

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this home."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("INSTANCES_HOME") == str(self.home):
                    mine.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return mine

    def kill_everything(self) -> int:
        """SIGKILL to the server, the worker, the forkserver and every run; how many."""
        victims = self.processes()
        for process in victims:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        assert not wait_for_ends(victims, 20)
        return len(victims)

    def tail(self) -> str:
        """The end of the logs, for a failure's message."""
        logs = sorted((self.home / "logs").glob("*.log")) if self.home.exists() else []
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs)


def packaged_days(after: str) -> list[str]:
    """Trading days that the packaged prices have after a date."""
    from prefect_instances.libs.plugins.market_data import MarketDataPipeline

    closes = MarketDataPipeline({"source": "sp500"})._closes()
    later = closes.filter(pl.col("date") > pl.lit(after).str.to_date())["date"].unique().sort()
    return [day.isoformat() for day in later]


def market(name: str, **config: Any) -> dict[str, Any]:
    """A dataset on packaged prices up to the end of November 2022."""
    base = {"source": "us_stocks", "start_date": "2021-01-01", "end_date": "2022-11-30"}
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "market_data", "config": {**base, **config}},
    }


def expression(name: str, text: str, *upstreams: Any, **config: Any) -> dict[str, Any]:
    """A dataset computed from others; an upstream is a name or a whole reference."""
    refs = [up if isinstance(up, dict) else {"resource": up} for up in upstreams]
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "expression", "config": {"expression": text, **config}},
        "upstream_refs": refs,
    }


def slow(name: str, seconds: float, *upstreams: str) -> dict[str, Any]:
    """A dataset that takes its time."""
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "slow_sum", "config": {"seconds": seconds}},
        "upstream_refs": [{"resource": upstream} for upstream in upstreams],
    }


def gated(name: str, folder: Path) -> dict[str, Any]:
    """A source that files in ``folder`` hold or fail."""
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "gated", "config": {"folder": str(folder)}},
    }


def write_rows(folder: Path, last: float) -> None:
    """Two days of data, the newer one ``last``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.csv").write_text(
        f"date,symbol,close\n2022-01-03,AAA,1.0\n2022-01-04,AAA,{last}\n"
    )
