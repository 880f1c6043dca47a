"""Schedules as Prefect stores them, made from ours; calendars stay with the flow.

Prefect knows cron expressions and intervals but no daily windows, so that one schedule of ours may
take several of Prefect's. They are told from a person's own ones by their slugs.
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

    One that ``yields`` is that of a new deployment: another schedule that a person puts in its
    place stays.
    """

    seconds: int
    enabled: bool = True
    yields: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule of a deployment as it is in Prefect: ``cron`` or ``interval_seconds`` is set.

    ``slug`` is empty for one that a person added in the UI; one by recurrence rule has neither.
    """

    id: str
    slug: str
    active: bool
    cron: str
    interval_seconds: float | None
    timezone: str


def native_schedules(schedule: ScheduleSpec | Every | None) -> dict[str, dict[str, Any]]:
    """Documents of Prefect's API by slug, that together fire at every slot of ``schedule``.

    Empty where nothing fires by itself. Session days are not considered: the run that comes on
    another day ends at once.
    """
    documents = _documents(schedule)
    slugs = [SLUG, *(f"{SLUG}-{number}" for number in range(2, len(documents) + 1))]
    return dict(zip(slugs, documents, strict=False))


def is_ours(slug: str | None) -> bool:
    """Whether a schedule with this slug was made from a specification."""
    return slug is not None and (slug == SLUG or slug.startswith(f"{SLUG}-"))


def same_schedule(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether the server's document says what ours does, whatever its notation."""
    return _comparable(wanted) == _comparable(stored)


def view_schedule(document: Mapping[str, Any]) -> ScheduleView:
    """The read model of one schedule document."""
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
    """Elapsed time from a fixed moment: a zone would make Prefect follow its clock changes."""
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
