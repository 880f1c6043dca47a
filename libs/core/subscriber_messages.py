"""Messages to subscribers, numbered, on the channels of an instance and its project.

Every message is a view of a stored event; its number counts the messages of one instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.events import Event

_INSTANCE = "instance."
_FIRST_DELAY = timedelta(seconds=1)
LONGEST_DELAY = timedelta(seconds=60)
"""The longest pause between two attempts to reach a failing broker."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: ``key`` makes repeated publication harmless, ``payload`` is the content."""

    event_id: UUID
    seq: int
    instance_id: UUID
    project_id: UUID
    payload: Mapping[str, object]

    @property
    def channels(self) -> tuple[str, str]:
        """The channel of the instance and that of its project."""
        return ids.instance_channel(self.instance_id), ids.project_channel(self.project_id)

    @property
    def key(self) -> str:
        """The idempotency key, equal for every attempt."""
        return f"{self.instance_id}:{self.seq}"


def subject(event: Event) -> UUID | None:
    """Return the instance whose subscribers receive the event; None if it is not sent to any."""
    if event.name == ids.STATUS_CHANGED:
        return _uuid(event.resource)
    if event.name.startswith("instance.flow.") or event.name in _OF_A_FLOW:
        return UUID(str(event.payload["instance_id"]))
    return None


_OF_A_FLOW = frozenset({ids.GATE_OPENED, ids.RUN_PROGRESS})


def build_message(event: Event, seq: int) -> Message:
    """Build the message of an event that has a subject.

    Every key is present; a value is None if the event does not hold it. ``old_status`` and
    ``new_status`` are equal if no status changed. ``flow_kind`` is None for the status of the whole
    instance. Raises ValueError for an event without a subject.
    """
    fields, instance_id = event.payload, subject(event)
    if instance_id is None:
        raise ValueError(f"{event.name} is not published to subscribers")
    status = fields.get("status")
    payload = {
        "type": event.name,
        "seq": seq,
        "instance": str(instance_id),
        "name": f"{fields.get('project')}/{fields.get('instance')}",
        "flow_kind": fields.get("flow_kind"),
        "old_status": fields.get("old_status") if "old_status" in fields else status,
        "new_status": status,
        "reason": fields.get("reason"),
        "generation": fields.get("generation"),
        "timestamp": event.occurred.isoformat(),
    }
    if "run" in fields:
        payload["run"] = fields["run"]
    return Message(event.id, seq, instance_id, _project(event), payload)


def _project(event: Event) -> UUID:
    labels = next(r for r in event.related if r.get("prefect.resource.role") == "project")
    return _uuid(labels)


def _uuid(labels: Mapping[str, str]) -> UUID:
    return UUID(labels["prefect.resource.id"].removeprefix(_INSTANCE))


@dataclass(frozen=True, slots=True)
class RelayState:
    """Who publishes to subscribers: a lease, and a circuit breaker that failures open.

    ``configured`` is what the last check found. ``holder`` may publish until ``lease_until``. After
    ``failures`` in a row nobody tries before ``retry_at``.
    """

    configured: bool = False
    holder: UUID | None = None
    lease_until: datetime | None = None
    failures: int = 0
    retry_at: datetime | None = None
    failing_since: datetime | None = None
    reason: str = ""

    def is_held(self, now: datetime) -> bool:
        """Return True if somebody holds the lease."""
        return self.lease_until is not None and self.lease_until > now

    def is_open_to(self, now: datetime) -> bool:
        """Return True if a process may try to publish now."""
        return (
            self.configured
            and not self.is_held(now)
            and (self.retry_at is None or self.retry_at <= now)
        )

    def failed(self, now: datetime, reason: str, chance: float) -> RelayState:
        """Release the lease after a failure; ``chance`` in [0, 1) spreads the next attempts."""
        failures = self.failures + 1
        return RelayState(
            configured=self.configured,
            failures=failures,
            retry_at=now + pause_after(failures, chance),
            failing_since=self.failing_since or now,
            reason=reason,
        )


def pause_after(failures: int, chance: float) -> timedelta:
    """Return the pause before the next attempt to reach a broker.

    It doubles with each failure up to ``LONGEST_DELAY``; ``chance`` picks a value between half of
    it and all of it.
    """
    longest = min(_FIRST_DELAY * 2.0 ** min(failures - 1, 10), LONGEST_DELAY)
    return (0.5 + chance / 2) * longest
