"""Dagster: one asset for each node, run by declarative automation in its daemon."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

import psutil
import yaml

from benchmarks.live import CannotMeasure, eventually
from benchmarks.peers.environments import read_version
from benchmarks.peers.systems import Peer

START_SECONDS = 300.0
TICKS = "SELECT id FROM job_ticks WHERE status <> 'STARTED' AND extract(epoch FROM timestamp) >= %s"
SETTINGS = {
    "run_coordinator": "DefaultRunCoordinator, which starts a run without a queue",
    "executor": "in_process_executor: the steps of a run follow each other in one process",
    "compute_logs": "NoOpComputeLogManager",
    "automation sensor": "minimum_interval_seconds 1; its daemon looks every 5 s, which is fixed",
}
"""What differs from Dagster's defaults."""


@dataclass
class Dagster(Peer):
    """The daemon with its code server, and no web server.

    An agent materializes the roots and is not counted: it stands for the person who asks.
    """

    agent: subprocess.Popen[str] | None = None

    name = "dagster"
    commits_query = (
        "SELECT asset_key::json->>0, run_id, extract(epoch FROM timestamp) FROM event_logs"
        " WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        " AND extract(epoch FROM timestamp) >= %s"
    )

    @property
    def title(self) -> str:
        """Its name and version."""
        return f"Dagster {read_version('dagster')}"

    def environment(self) -> dict[str, str]:
        """Return its home; everything else is in the files there."""
        return {"DAGSTER_HOME": str(self.folder), "DAGSTER_DISABLE_TELEMETRY": "1"}

    def serve(self) -> None:
        """Start daemon and agent; wait until the daemon has evaluated all conditions once.

        What is materialized before its first evaluation starts nothing.
        """
        self._write("dagster.yaml", self._instance())
        code = {"relative_path": "dagster_assets.py", "attribute": "definitions"}
        self._write("workspace.yaml", {"load_from": [{"python_file": code}]})
        # First the agent, which makes the tables: daemons that make them at once collide.
        self.agent = self.programs.start(self.bin / "python", "dagster_agent.py", talk=True)
        self._hear("ready")
        begin = time.time()
        self.programs.start(self.bin / "dagster-daemon", "run", "-w", "workspace.yaml")
        eventually(lambda: self.read(TICKS, begin), START_SECONDS, "Dagster's first evaluation")

    def refresh(self, root: str) -> None:
        """Materialize a root in the agent."""
        assert self.agent is not None
        assert self.agent.stdin is not None
        self.agent.stdin.write(f"{root}\n")
        self.agent.stdin.flush()
        self._hear("done")

    def processes(self) -> list[psutil.Process]:
        """Return everything but the agent."""
        agent = self.agent.pid if self.agent is not None else None
        return [process for process in super().processes() if process.pid != agent]

    def _hear(self, word: str) -> None:
        assert self.agent is not None
        assert self.agent.stdout is not None
        if (heard := self.agent.stdout.readline().strip()) != word:
            raise CannotMeasure(f"Dagster's agent says {heard!r}, not {word!r}")

    def _instance(self) -> dict[str, object]:
        address = f"postgresql+psycopg2://postgres@/dagster?host={self.socket}"
        coordinator = "dagster._core.run_coordinator"
        logs = "dagster._core.storage.noop_compute_log_manager"
        return {
            "storage": {"postgres": {"postgres_url": address}},
            "run_coordinator": {"module": coordinator, "class": "DefaultRunCoordinator"},
            "compute_logs": {"module": logs, "class": "NoOpComputeLogManager"},
            "telemetry": {"enabled": False},
        }

    def _write(self, name: str, content: object) -> None:
        (self.folder / name).write_text(yaml.safe_dump(content))
