"""The sweep finds what is late by a range of one index, however many flows there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from libs.core.status import FlowStatus, Lifecycle, Reason
from libs.db import Database
from libs.db.models import FlowExecutionResource, Resource
from libs.services.ledger import past_due

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
INDEX = "ix_flow_execution_resources_due"


def test_what_is_late_is_found_by_the_index(database: Database) -> None:
    database.transact(lambda session: _fill(session, 3000))
    statement = past_due(NOW, 1000)

    with database.read() as session:
        compiled = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        postgres = session.get_bind().dialect.name == "postgresql"
        explain = "EXPLAIN " if postgres else "EXPLAIN QUERY PLAN "
        plan = "\n".join(str(row) for row in session.execute(text(f"{explain}{compiled}")))
        found = list(session.scalars(statement))

    assert INDEX in plan, plan
    assert "Seq Scan on flow_execution_resources" not in plan
    assert "SCAN flow_execution_resources" not in plan
    assert len(found) == 3


def _fill(session: Session, count: int) -> None:
    """Flows of which three are late, and two more would be if they were not told of or paused."""
    resources, flows = [], []
    for at in range(count):
        paused = at == 4
        resources.append(_resource(at, Lifecycle.PAUSED if paused else Lifecycle.ACTIVE))
        late = at < 5
        deadline = NOW + timedelta(minutes=-1 if late else at)
        flows.append(_flow(resources[-1]["id"], deadline, breached=at == 3))
    session.execute(insert(Resource), resources)
    session.execute(insert(FlowExecutionResource), flows)
    session.execute(text("ANALYZE"))


def _resource(at: int, lifecycle: Lifecycle) -> dict[str, object]:
    return {
        "id": uuid4(),
        "type": "DatasetInstance",
        "parent_id": None,
        "scope": "DatasetInstance",
        "name": f"i{at}",
        "name_key": f"i{at}",
        "lifecycle": lifecycle,
        "status": FlowStatus.READY,
        "contract": None,
        "condition": None,
        "created_at": NOW,
        "updated_at": NOW,
    }


def _flow(instance_id: object, deadline: datetime, *, breached: bool) -> dict[str, object]:
    return {
        "id": uuid4(),
        "instance_id": instance_id,
        "kind": "refresh",
        "status": FlowStatus.READY,
        "reason": Reason.RUN_SUCCEEDED,
        "since": NOW,
        "detail": "",
        "generation": 1,
        "content_hash": "",
        "config_version": 1,
        "consumed_config_version": 1,
        "opened_key": "",
        "overtaken": 0,
        "next_due_at": deadline,
        "due_deadline": deadline,
        "breached": breached,
    }
