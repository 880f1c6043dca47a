"""Conversion of our schedules to Prefect's; calendars are evaluated by the flow.

Prefect has cron expressions and intervals but no daily windows, so that one schedule of ours may
need several of Prefect's. Their slugs distinguish them from people's own schedules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect_instances.libs.specs import INTERVAL_ANCHOR, ScheduleSpec, native_crons, native_zone

SLUG = "instances"
"""Slug of our first schedule of a deployment; the next ones are ``instances-2`` and so on."""

SECONDS_A_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Every:
    """A plain interval in seconds, for lifecycle flows; instances use their ``ScheduleSpec``.

    One that ``yields`` applies to a new deployment only: a schedule that a person puts in its place
    is not changed.
    """

    seconds: int
    enabled: bool = True
    yields: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A deployment's schedule as it is in Prefect: ``cron`` or ``interval_seconds`` is set.

    ``slug`` is empty for one that a person added in the UI; a recurrence rule sets neither.
    """

    id: str
    slug: str
    active: bool
    cron: str
    interval_seconds: float | None
    timezone: str


def build_native_schedules(schedule: ScheduleSpec | Every | None) -> dict[str, dict[str, Any]]:
    """Return documents of Prefect's API by slug that together fire at every slot of ``schedule``.

    Empty if nothing fires by itself. Session days are not considered: a run on another day ends at
    once.
    """
    documents = _documents(schedule)
    slugs = [SLUG, *(f"{SLUG}-{number}" for number in range(2, len(documents) + 1))]
    return dict(zip(slugs, documents, strict=False))


def is_ours(slug: str | None) -> bool:
    """Return True if a schedule with this slug was created from a specification."""
    return slug is not None and (slug == SLUG or slug.startswith(f"{SLUG}-"))


def is_same_schedule(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Return True if the server's document is equivalent to ours, whatever its notation."""
    return _comparable(wanted) == _comparable(stored)


def view_schedule(document: Mapping[str, Any]) -> ScheduleView:
    """Convert a schedule document."""
    schedule = document["schedule"]
    return ScheduleView(
        id=document["id"],
        slug=document.get("slug") or "",
        active=document["active"],
        cron=schedule.get("cron") or "",
        interval_seconds=schedule.get("interval"),
        timezone=schedule.get("timezone") or "UTC",
    )


def _documents(schedule: ScheduleSpec | Every | None) -> list[dict[str, Any]]:
    if schedule is None:
        return []
    if isinstance(schedule, Every):
        return [_interval(schedule.seconds)]
    if crons := native_crons(schedule):
        zone = native_zone(schedule)
        return [
            {"cron": cron.expression, "timezone": zone, "day_or": not cron.both} for cron in crons
        ]
    if schedule.type == "interval":
        return [_interval(schedule.minutes * SECONDS_A_MINUTE)]
    return []


def _interval(seconds: int) -> dict[str, Any]:
    """Return an interval from a fixed moment: with a zone Prefect would follow clock changes."""
    anchor = INTERVAL_ANCHOR.isoformat()
    return {"interval": seconds, "anchor_date": anchor, "timezone": "UTC"}


def _comparable(schedule: Mapping[str, Any]) -> tuple[Any, ...]:
    anchor = schedule.get("anchor_date")
    return (
        schedule.get("cron"),
        schedule.get("day_or", True) if "cron" in schedule else None,
        schedule.get("rrule"),
        float(schedule["interval"]) if "interval" in schedule else None,
        datetime.fromisoformat(anchor) if anchor else None,
        schedule.get("timezone") or "UTC",
    )
