"""Airflow: one DAG for each asset, started by the events of the assets that it reads."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from benchmarks.live import eventually
from benchmarks.peers.environments import read_version
from benchmarks.peers.programs import find_free_port
from benchmarks.peers.systems import PROJECTS, Peer

START_SECONDS = 300.0
SETTINGS = {
    "core.executor": "LocalExecutor",
    "core.parallelism": "4",
    "core.load_examples": "False",
    "core.simple_auth_manager_all_admins": "True",
    "scheduler.scheduler_idle_sleep_time": "0.1",
    "scheduler.max_dagruns_to_create_per_loop": "200",
    "scheduler.max_dagruns_per_loop_to_schedule": "200",
    "scheduler.max_tis_per_query": "0",
    "dag_processor.min_file_process_interval": "3600",
    "dag_processor.refresh_interval": "3600",
    "dag_processor.parsing_processes": "1",
    "logging.logging_level": "WARNING",
}
"""What differs from Airflow's defaults, as option and value.

The scheduler looks for work ten times a second instead of once, starts a whole fan-out in one loop
and never parses unchanged files again. Four processes run tasks, as many as our worker runs.
"""


@dataclass
class Airflow(Peer):
    """API server, scheduler with LocalExecutor and DAG processor; nothing needs a triggerer."""

    port: int = field(default_factory=find_free_port)
    secret: str = field(default_factory=lambda: secrets.token_hex(32))

    name = "airflow"
    commits_query = (
        "SELECT source_dag_id, source_run_id, extract(epoch FROM timestamp) FROM asset_event"
        " WHERE extract(epoch FROM timestamp) >= %s"
    )

    @property
    def title(self) -> str:
        """Its name and version."""
        return f"Airflow {read_version('airflow')}"

    def environment(self) -> dict[str, str]:
        """Return its settings, its database and its addresses."""
        own = {f"AIRFLOW__{key.replace('.', '__').upper()}": SETTINGS[key] for key in SETTINGS}
        place = f"postgres@/airflow?host={self.socket}"
        return {
            **own,
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{place}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{place}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__SECRET_KEY": self.secret,
            "AIRFLOW__API_AUTH__JWT_SECRET": self.secret,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self._url}/execution/",
        }

    def serve(self) -> None:
        """Start its three programs; wait until every asset has its DAG."""
        (self.folder / "dags").mkdir(exist_ok=True)
        shutil.copy(PROJECTS / "airflow_dags.py", self.folder / "dags")
        self.programs.run(self.bin / "airflow", "db", "migrate")
        for name in ("api-server", "scheduler", "dag-processor"):
            self.programs.start(self.bin / "airflow", name)
        eventually(self._knows_all, START_SECONDS, "Airflow's DAGs")

    def refresh(self, root: str) -> None:
        """Trigger the DAG of a root over the API, as a person does."""
        with self._client() as client:
            made = client.post(f"/api/v2/dags/{root}/dagRuns", json={"logical_date": None})
            made.raise_for_status()

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            token = client.get("/auth/token").raise_for_status().json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client

    def _knows_all(self) -> bool:
        try:
            with self._client() as client:
                health = client.get("/api/v2/monitor/health").raise_for_status().json()
                found = client.get(f"/api/v2/dags/{self.assets[-1]}")
        except httpx.HTTPError:
            return False
        return health["scheduler"]["status"] == "healthy" and found.is_success
