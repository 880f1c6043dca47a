"""The slots of an instance before and after now, day by day, with the exchange's sessions."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import FlowExecutionResource, Resource
from prefect_instances.libs.db.repositories.resources import (
    flows_of,
    get_instance,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.runs import select_outcomes_since
from prefect_instances.libs.specs import (
    ScheduleSpec,
    native_zone,
    next_slot,
    parse_spec,
    session_hours,
)

Document = dict[str, Any]

_STATES = {
    RunStatus.COMPLETED: "done",
    RunStatus.RUNNING: "running",
    RunStatus.FAILED: "failed",
    RunStatus.CRASHED: "failed",
    RunStatus.CANCELLED: "cancelled",
}
"""State of a slot by the status of its best run, best first."""


def timeline(database: Database, now: datetime, name: str, days: int) -> Document:
    """Report the slots of an instance on the ``days`` days before and after today.

    Days before the instance's creation are left out. Each flow has its days, in the time zone of
    its schedule: the session of the exchange, if it has a calendar, and the slots with their state
    (``done``, ``running``, ``failed``, ``cancelled``, ``missed`` or ``coming``). ``next_slot`` is
    the next future slot, at any distance; None if there is none. Raises NotFound.
    """
    with database.read() as session:
        named = get_instance(session, name)
        version = select_newest_version(session, named.id)
        if version is None:
            raise NotFound("instance", name)
        spec = parse_spec(version.spec_json)
        created = session.get_one(Resource, named.id).created_at
        flows = sorted(flows_of(session, named.id), key=lambda flow: flow.kind)
        since = now - timedelta(days=days + 2)
        runs = {flow.id: _runs(session, flow.id, since) for flow in flows}
    return {
        "instance": named.name,
        "project": named.project,
        "now": now.isoformat(),
        "flows": [
            _flow(
                flow,
                spec.schedule_of(flow.kind, flow.schedule_json),
                runs[flow.id],
                _Span(created, now, days),
            )
            for flow in flows
        ],
    }


@dataclass(frozen=True, slots=True)
class _Span:
    """A number of days before and after today, from the instance's creation on."""

    created: datetime
    now: datetime
    days: int

    def bounds(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """Return the start of the first day and the end of the last day, by a zone's local time."""
        today, around = self.now.astimezone(zone).date(), timedelta(days=self.days)
        first = datetime.combine(today - around, time(), zone)
        end = datetime.combine(today + around, time.max, zone)
        return max(self.created, first.astimezone(UTC)), end.astimezone(UTC)


def _runs(session: Session, flow_id: UUID, since: datetime) -> list[tuple[datetime, RunStatus]]:
    """Select start and status of the runs that may serve a slot; runs about the past do not."""
    return [
        (started_at, status)
        for started_at, status, parameters in select_outcomes_since(session, flow_id, since)
        if not parameters.about_the_past
    ]


def _flow(
    flow: FlowExecutionResource,
    schedule: ScheduleSpec,
    runs: Sequence[tuple[datetime, RunStatus]],
    span: _Span,
) -> Document:
    zone = ZoneInfo(native_zone(schedule))
    start, end = span.bounds(zone)
    moments = _slots(schedule, start, end)
    states = _slot_states(moments, runs, span.now)
    coming = next_slot(schedule, span.now)
    by_day: dict[date, list[Document]] = defaultdict(list)
    for moment, state in zip(moments, states, strict=True):
        local = moment.astimezone(zone)
        by_day[local.date()].append({"at": local.isoformat(), "state": state})
    first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    listed = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    return {
        "flow_kind": flow.kind,
        "schedule": schedule.document(),
        "timezone": zone.key,
        "today": span.now.astimezone(zone).date().isoformat(),
        "next_due_at": flow.next_due_at.isoformat() if flow.next_due_at else None,
        "next_slot": coming.astimezone(zone).isoformat() if coming else None,
        "days": [
            {"date": day.isoformat(), **_session(schedule, day, zone), "slots": by_day[day]}
            for day in listed
            if schedule.calendar or by_day[day]
        ],
    }


def _slots(schedule: ScheduleSpec, start: datetime, end: datetime) -> list[datetime]:
    moments, moment = [], next_slot(schedule, start)
    while moment is not None and moment <= end:
        moments.append(moment)
        moment = next_slot(schedule, moment)
    return moments


def _slot_states(
    moments: Sequence[datetime], runs: Sequence[tuple[datetime, RunStatus]], now: datetime
) -> list[str]:
    """Attribute each run to the latest slot at or before its start; return each slot's state."""
    found: dict[int, set[RunStatus]] = defaultdict(set)
    for started, status in runs:
        found[bisect_right(moments, started) - 1].add(status)
    return [
        "coming" if moment > now else _state(found[at], "missed")
        for at, moment in enumerate(moments)
    ]


def _state(statuses: set[RunStatus], without: str) -> str:
    return next((word for status, word in _STATES.items() if status in statuses), without)


def _session(schedule: ScheduleSpec, day: date, zone: ZoneInfo) -> Document:
    """Return the session of a day, or in ``closed`` why there is none; empty without a calendar."""
    if not schedule.calendar:
        return {}
    hours = session_hours(schedule.calendar, day)
    if hours is None:
        return {"closed": "weekend" if day.weekday() >= 5 else "holiday"}
    opens, closes = (moment.astimezone(zone).isoformat() for moment in hours)
    return {"opens": opens, "closes": closes, "early": _is_early(schedule.calendar, day)}


def _is_early(calendar: str, day: date) -> bool:
    """Return True if the session is shorter than the longest one within a week of it."""
    near = (session_hours(calendar, day + timedelta(days=at)) for at in range(-7, 8))
    spans = [closes - opens for opens, closes in filter(None, near)]
    opens, closes = session_hours(calendar, day) or (None, None)
    return opens is not None and closes is not None and closes - opens < max(spans)
