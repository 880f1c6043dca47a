"""Ours: a home with one instance for each asset of the graphs, and idle rows in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil
import yaml
from sqlalchemy import select

from benchmarks.live import Live, derived, new_day, source
from benchmarks.peers.graphs import Upstreams
from benchmarks.peers.records import BodyRun
from benchmarks.rows import fill, tree
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.models import FlowExecutionResource, Resource, RunRecord
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.wiring import connect

if TYPE_CHECKING:
    from prefect_instances.libs.services.state.context import Services

PROJECT = "peers"
SETTINGS = {
    "database": "SQLite, as `instances up` makes it; Prefect's server too",
    "INSTANCES_WORKER_LIMIT": "4, the default",
}
"""What it runs on."""

Row = tuple[str, RunRecord]


@dataclass
class Ours:
    """Prefect's server and our worker. A body reads and writes two rows; it is not empty.

    What runs is applied once; assets named ``idle_…`` are rows in bulk, without a deployment.
    """

    folder: Path
    live: Live = field(default_factory=Live)
    _services: Services | None = None
    _applied: set[str] = field(default_factory=set)

    @property
    def title(self) -> str:
        """Its name and what it runs on."""
        return f"ours, on Prefect {version('prefect')}"

    @property
    def services(self) -> Services:
        """The services, while it runs."""
        assert self._services is not None
        return self._services

    @contextmanager
    def running(self, upstreams: Upstreams) -> Iterator[None]:
        """Start server and worker, and apply what is not there yet."""
        self.live.cli("up", "--detach")
        try:
            with connect(load_settings(home=self.live.home)) as self._services:
                self._provide({name: upstreams[name] for name in upstreams.keys() - self._applied})
                yield
        finally:
            self.live.cli("down")

    def refresh(self, root: str) -> None:
        """Give a source new data and start its flow over Prefect's API."""
        new_day(self._data(root))
        flow = FlowExecutionResource
        query = select(flow.deployment_id).join(Resource, Resource.id == flow.instance_id)
        with self.services.database.read() as session:
            deployment = session.scalars(query.where(Resource.name == root)).one()
        assert deployment is not None
        self.services.prefect.start_run(deployment, {})

    def runs(self, since: float) -> list[BodyRun]:
        """Return the successful runs that published something, from our database."""
        flow = FlowExecutionResource
        query = (
            select(Resource.name, RunRecord)
            .join(flow, flow.id == RunRecord.flow_id)
            .join(Resource, Resource.id == flow.instance_id)
            .where(RunRecord.status == RunStatus.COMPLETED, RunRecord.output_version.is_not(None))
            .where(RunRecord.ended_at >= datetime.fromtimestamp(since, UTC))
        )
        with self.services.database.read() as session:
            return trace_origins([(name, run) for name, run in session.execute(query)])

    def processes(self) -> list[psutil.Process]:
        """Return server and worker with all their children; SQLite has no process."""
        return [*self.live.processes("server"), *self.live.processes("worker")]

    def _provide(self, upstreams: Upstreams) -> None:
        idle = [name for name in upstreams if name.startswith("idle_")]
        if idle:
            self.services.database.transact(
                lambda session: fill(session, len(idle), tree, project="idle")
            )
        real = {name: upstreams[name] for name in sorted(upstreams.keys() - set(idle))}
        if real:
            path = self.live.home / "peers.yaml"
            path.write_text(yaml.safe_dump({"project": PROJECT, "instances": self._specs(real)}))
            self.live.cli("apply", "-f", str(path), "--wait")
        self._applied |= upstreams.keys()

    def _specs(self, upstreams: Upstreams) -> list[dict[str, Any]]:
        for root in (name for name, read in upstreams.items() if not read):
            new_day(self._data(root))
        return [
            derived(name, *read) if read else source(name, self._data(name))
            for name, read in upstreams.items()
        ]

    def _data(self, root: str) -> Path:
        return self.folder / f"{root}.csv"


def trace_origins(rows: Sequence[Row]) -> list[BodyRun]:
    """Find the versions of the root that each run descends from, over the versions it read."""
    by_version = {run.output_version: run for _, run in rows}
    known: dict[UUID, frozenset[str]] = {}

    def trace(version_id: UUID) -> frozenset[str]:
        if version_id not in known:
            run = by_version.get(version_id)
            read = [UUID(pin["version"]) for pin in run.pins] if run else []
            found = [trace(one) for one in read] or [frozenset({str(version_id)})]
            known[version_id] = frozenset().union(*found)
        return known[version_id]

    made = []
    for name, run in rows:
        assert run.output_version is not None
        assert run.ended_at is not None
        began, committed = run.started_at.timestamp(), run.ended_at.timestamp()
        made.append(BodyRun(name, began, committed, trace(run.output_version)))
    return made
