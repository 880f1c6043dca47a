"""Starting refreshes on a live home, and reading from its records when what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from benchmarks.live import Live, eventually
from prefect_instances.libs.core.status import FlowStatus, RunStatus
from prefect_instances.libs.db.models import FlowExecutionResource, OutboxEvent, Resource, RunRecord
from prefect_instances.libs.services.views import reports

SECONDS = 240.0


@dataclass(frozen=True)
class Home:
    """One project of a live home."""

    live: Live
    project: str

    def refresh(self, name: str) -> None:
        """Ask Prefect for a run of an instance, as a person does in its pages."""
        services = self.live.services
        flow = FlowExecutionResource
        with services.database.read() as session:
            query = select(flow.deployment_id).join(Resource, Resource.id == flow.instance_id)
            found = session.scalars(query.where(Resource.name == name)).one()
        assert found is not None
        services.prefect.start_run(found, {})

    def completed(self, name: str) -> list[dict[str, Any]]:
        """The successful runs of an instance, newest first."""
        found = reports.runs(self.live.services.database, f"{self.project}/{name}")["runs"]
        return [run for run in found if run["status"] == RunStatus.COMPLETED]

    def after(self, name: str, count: int) -> dict[str, Any]:
        """The newest successful run of an instance once it has more than ``count`` of them."""

        def newest() -> dict[str, Any] | None:
            runs = self.completed(name)
            return runs[0] if len(runs) > count else None

        found = eventually(newest, SECONDS, f"a run of {name}")
        assert found is not None
        return found

    def rest(self) -> None:
        """Wait until every flow of the project is READY."""

        def ready() -> bool:
            services = self.live.services
            listed = reports.status(services.database, services.now(), project=self.project)
            return all(entry["status"] == FlowStatus.READY for entry in listed["instances"])

        eventually(ready, SECONDS, f"all of {self.project} READY")


@dataclass(frozen=True, slots=True)
class Hop:
    """Instants of one hop, in order: each stage ends at its own."""

    committed: datetime
    published: datetime
    created: datetime
    picked_up: datetime
    running: datetime
    body: datetime

    def stages(self) -> dict[str, float]:
        """Seconds by stage."""
        instants = {
            "event sent": (self.committed, self.published),
            "run created": (self.published, self.created),
            "picked up": (self.created, self.picked_up),
            "forked, engine running": (self.picked_up, self.running),
            "body holds its claim": (self.running, self.body),
        }
        return {name: (end - begin).total_seconds() for name, (begin, end) in instants.items()}

    @property
    def seconds(self) -> float:
        """From the upstream's commit to the downstream's claim, the first act of its body."""
        return (self.body - self.committed).total_seconds()


def hop_between(home: Home, upstream: dict[str, Any], downstream: dict[str, Any]) -> Hop:
    """The hop from one run to another that it started."""
    services = home.live.services
    run_id = UUID(downstream["prefect_flow_run_id"])
    with services.database.read() as session:
        run = session.get_one(RunRecord, UUID(downstream["id"]))
        wanted = str(run.opening_id)
        events = session.scalars(
            select(OutboxEvent)
            .where(OutboxEvent.name == "instance.gate.opened")
            .order_by(OutboxEvent.seq.desc())
            .limit(50)
        )
        published = next(e.published_at for e in events if e.payload.get("opening") == wanted)
    assert published is not None
    with httpx.Client(base_url=services.prefect.api_url, timeout=30) as client:
        states = client.get("/flow_run_states/", params={"flow_run_id": str(run_id)}).json()
        flow_run = client.get(f"/flow_runs/{run_id}").json()
    at = {state["type"]: datetime.fromisoformat(state["timestamp"]) for state in states}
    created = datetime.fromisoformat(flow_run["created"])
    return Hop(
        committed=datetime.fromisoformat(upstream["ended_at"]),
        # It is noted once the server has accepted it, which may start the run before that.
        published=min(published, created),
        created=created,
        picked_up=at["PENDING"],
        running=at["RUNNING"],
        body=datetime.fromisoformat(downstream["started_at"]),
    )
