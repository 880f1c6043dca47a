"""What subscribers are told: numbered messages on the channels of an instance and its project.

Every message is a view of a recorded event; its number counts the messages of one instance.
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
"""The longest pause between two attempts to reach a broker that fails."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: ``key`` makes publishing it again harmless, ``payload`` is what is sent."""

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
        """The idempotency key: the same for every attempt."""
        return f"{self.instance_id}:{self.seq}"


def subject(event: Event) -> UUID | None:
    """The instance whose subscribers hear of an event; None where they do not."""
    if event.name == ids.STATUS_CHANGED:
        return _uuid(event.resource)
    if event.name.startswith("instance.flow.") or event.name in _OF_A_FLOW:
        return UUID(str(event.payload["instance_id"]))
    return None


_OF_A_FLOW = frozenset({ids.GATE_OPENED, ids.RUN_PROGRESS})


def message(event: Event, seq: int) -> Message:
    """The message of an event that has a subject; every key is there, None where it says nothing.

    ``old_status`` and ``new_status`` are equal where no status changed. ``flow_kind`` is None for
    the status of the instance as a whole.
    """
    told, instance_id = event.payload, subject(event)
    if instance_id is None:
        raise ValueError(f"{event.name} is not published to subscribers")
    status = told.get("status")
    payload = {
        "type": event.name,
        "seq": seq,
        "instance": str(instance_id),
        "name": f"{told.get('project')}/{told.get('instance')}",
        "flow_kind": told.get("flow_kind"),
        "old_status": told.get("old_status") if "old_status" in told else status,
        "new_status": status,
        "reason": told.get("reason"),
        "generation": told.get("generation"),
        "timestamp": event.occurred.isoformat(),
    }
    if "run" in told:
        payload["run"] = told["run"]
    return Message(event.id, seq, instance_id, _project(event), payload)


def _project(event: Event) -> UUID:
    labels = next(r for r in event.related if r.get("prefect.resource.role") == "project")
    return _uuid(labels)


def _uuid(labels: Mapping[str, str]) -> UUID:
    return UUID(labels["prefect.resource.id"].removeprefix(_INSTANCE))


@dataclass(frozen=True, slots=True)
class RelayState:
    """Who relays, and how it goes: a lease, and a circuit that failures open for a while.

    ``configured`` is what the last look found; ``holder`` may publish until ``lease_until``; after
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
        """Somebody publishes, or did a moment ago."""
        return self.lease_until is not None and self.lease_until > now

    def is_open_to(self, now: datetime) -> bool:
        """Whether somebody may try now."""
        return (
            self.configured
            and not self.is_held(now)
            and (self.retry_at is None or self.retry_at <= now)
        )

    def failed(self, now: datetime, reason: str, chance: float) -> RelayState:
        """The lease given back after a failure; ``chance`` in [0, 1) spreads the next attempts."""
        failures = self.failures + 1
        return RelayState(
            configured=self.configured,
            failures=failures,
            retry_at=now + pause_after(failures, chance),
            failing_since=self.failing_since or now,
            reason=reason,
        )


def pause_after(failures: int, chance: float) -> timedelta:
    """How long to leave a broker alone: doubled each time, between half and all of it by chance."""
    longest = min(_FIRST_DELAY * 2.0 ** min(failures - 1, 10), LONGEST_DELAY)
    return (0.5 + chance / 2) * longest
