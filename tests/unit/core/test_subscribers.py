"""Messages to subscribers: what one says, and when a relay that failed tries again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.subscriber_messages import (
    RelayState,
    build_message,
    pause_after,
    subject,
)

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
INSTANCE, PROJECT = UUID(int=1), UUID(int=2)


def event(name: str, **payload: Any) -> Event:
    return Event(
        id=uuid4(),
        name=name,
        occurred=NOW,
        resource={"prefect.resource.id": f"instance.{INSTANCE}"},
        related=(
            {
                "prefect.resource.id": f"instance.{PROJECT}",
                "prefect.resource.role": "project",
            },
        ),
        payload=payload,
    )


def test_a_message_says_what_changed_and_goes_to_the_instance_and_its_project() -> None:
    changed = event(
        ids.STATUS_CHANGED, project="p", instance="px", old_status="STALE", status="READY"
    )

    message = build_message(changed, 7)

    assert message.channels == (ids.instance_channel(INSTANCE), ids.project_channel(PROJECT))
    assert message.key == f"{INSTANCE}:7"
    assert message.payload == {
        "type": ids.STATUS_CHANGED,
        "seq": 7,
        "instance": str(INSTANCE),
        "name": "p/px",
        "flow_kind": None,
        "old_status": "STALE",
        "new_status": "READY",
        "reason": None,
        "generation": None,
        "timestamp": NOW.isoformat(),
    }


def test_where_no_status_changed_old_and_new_are_equal_and_the_run_is_named() -> None:
    progress = event(ids.RUN_PROGRESS, instance_id=str(INSTANCE), status="RUNNING", run="r")
    payload = build_message(progress, 1).payload
    assert (payload["old_status"], payload["new_status"], payload["run"]) == (
        "RUNNING",
        "RUNNING",
        "r",
    )


def test_other_events_are_not_published() -> None:
    assert subject(event("prefect.flow-run.Completed")) is None
    with pytest.raises(ValueError, match="not published"):
        build_message(event("prefect.flow-run.Completed"), 1)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)]
)
def test_the_pause_doubles_up_to_a_minute_of_which_chance_takes_up_to_half(
    failures: int, seconds: int
) -> None:
    assert pause_after(failures, 1.0) == timedelta(seconds=seconds)
    assert pause_after(failures, 0.0) == timedelta(seconds=seconds / 2)


def test_after_a_failure_nobody_tries_before_the_pause_is_over() -> None:
    held = RelayState(configured=True, holder=uuid4(), lease_until=NOW + timedelta(seconds=5))
    assert held.is_held(NOW)
    assert not held.is_open_to(NOW)

    once = held.failed(NOW, "refused", 1.0)
    assert not once.is_open_to(NOW)
    assert once.is_open_to(NOW + timedelta(seconds=1))

    later = NOW + timedelta(seconds=1)
    twice = once.failed(later, "again", 1.0)
    assert (twice.failures, twice.failing_since, twice.reason) == (2, NOW, "again")
    assert twice.retry_at == later + timedelta(seconds=2)
    assert not RelayState().is_open_to(NOW), "nothing is configured"
