"""Instances that change their status without any flow: the rows that the ledger writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import insert

from prefect_instances.libs.adapters.centrifugo.connection import Connection
from prefect_instances.libs.adapters.centrifugo.publisher import Publisher
from prefect_instances.libs.core import ids
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.status import FlowStatus, Lifecycle
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Resource
from prefect_instances.libs.db.repositories.outbox import record_events
from prefect_instances.libs.services.state.subscriber_relay import SubscriberRelay


@dataclass
class World:
    """A project with some instances in one database."""

    database: Database
    instances: int = 1
    project_id: UUID = field(default_factory=uuid4)
    instance_ids: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instance_ids = [uuid4() for _ in range(self.instances)]
        rows = [_row(self.project_id, "Project", None)]
        rows += [_row(id_, "DatasetInstance", self.project_id) for id_ in self.instance_ids]
        self.database.transact(lambda session: session.execute(insert(Resource), rows))

    def change(self, at: int = 0, times: int = 1) -> None:
        """One transaction in which an instance changes its status."""
        events = [self._event(self.instance_ids[at]) for _ in range(times)]
        self.database.transact(lambda session: record_events(session, events))

    def live(
        self,
        connection: Connection | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> SubscriberRelay:
        """A relay of one process."""
        return SubscriberRelay(
            self.database, clock, lambda: Publisher(connection) if connection else None
        )

    def channel(self, at: int = 0) -> str:
        return ids.instance_channel(self.instance_ids[at])

    @property
    def project_channel(self) -> str:
        return ids.project_channel(self.project_id)

    def _event(self, instance_id: UUID) -> Event:
        return Event(
            id=uuid4(),
            name=ids.flow_event(FlowStatus.READY),
            occurred=datetime.now(UTC),
            resource={"prefect.resource.id": ids.flow_resource(uuid4())},
            related=(
                {
                    "prefect.resource.id": ids.instance_resource(self.project_id),
                    "prefect.resource.role": "project",
                },
            ),
            payload={
                "instance": f"i{instance_id.hex[:8]}",
                "instance_id": str(instance_id),
                "project": "p",
                "flow_kind": "refresh",
                "old_status": "RUNNING",
                "status": "READY",
                "reason": "RunSucceeded",
                "generation": 1,
            },
        )


def _row(id_: UUID, type_: str, parent: UUID | None) -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "id": id_,
        "type": type_,
        "parent_id": parent,
        "scope": str(parent or type_),
        "name": f"i{id_.hex[:8]}",
        "name_key": f"i{id_.hex[:8]}",
        "lifecycle": Lifecycle.ACTIVE,
        "status": None,
        "contract": None,
        "condition": None,
        "created_at": now,
        "updated_at": now,
    }
