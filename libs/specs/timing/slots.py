"""The slots of a schedule: the times at which fresh output is due. Pure; no clock is read.

Cron expressions and daily windows use local time: a time that a clock change skips fires once, at
the first moment after the gap; a time that occurs twice fires once, at its first occurrence. An
interval without a window is elapsed time, counted from ``INTERVAL_ANCHOR``. A schedule by session
events follows the sessions of its exchange, early closes included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from functools import partial
from itertools import islice
from zoneinfo import ZoneInfo

from prefect_instances.libs.specs.timing.local_time import (
    daily_times,
    instant,
    next_cron_time,
    next_window_time,
    portable_crons,
    window_crons,
)
from prefect_instances.libs.specs.timing.native import NativeCron, split_at_changes
from prefect_instances.libs.specs.timing.schedules import ScheduleSpec
from prefect_instances.libs.specs.timing.session_events import (
    is_session_event,
    next_event_time,
    parse_session_event,
    session_event_crons,
)
from prefect_instances.libs.specs.timing.sessions import is_session_day, session_zone

INTERVAL_ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)
"""The slots of an interval without a window are whole multiples of it away from this time."""

SEARCH_LIMIT = timedelta(days=366 * 12)
"""A schedule without a session for this long has no next slot."""

_REACHES = (
    timedelta(hours=2),
    timedelta(days=2),
    timedelta(days=40),
    timedelta(days=400),
    SEARCH_LIMIT,
)
"""How far back to search for a slot, shortest first."""


def next_slot(schedule: ScheduleSpec, after: datetime) -> datetime | None:
    """Return the first slot strictly after an aware time, in UTC; None if manual or disabled."""
    return next(_walk(schedule, after), None)


def slots(schedule: ScheduleSpec, after: datetime, count: int) -> list[datetime]:
    """Return the first ``count`` slots strictly after ``after``; fewer if there are no more."""
    return list(islice(_walk(schedule, after), count))


def is_slot(schedule: ScheduleSpec, moment: datetime) -> bool:
    """Return True if the time, to the second, is a slot of the schedule."""
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return next_slot(schedule, whole - timedelta(microseconds=1)) == whole


def is_session(schedule: ScheduleSpec, slot: datetime) -> bool:
    """Return True if the slot's local day is a session; always True without a calendar.

    For a schedule by session events: True if the time is that of an event.
    """
    if is_session_event(schedule.expression):
        return is_slot(schedule, slot)
    local = _aware(slot).astimezone(ZoneInfo(schedule.timezone))
    return is_session_day(schedule.calendar, local.date())


def due_window(schedule: ScheduleSpec, served: datetime) -> tuple[datetime, datetime] | None:
    """Return when the slot after ``served`` is due, and when it is overdue.

    None if there is no next slot.
    """
    due = next_slot(schedule, served)
    return None if due is None else (due, due + timedelta(minutes=schedule.grace_minutes))


def native_crons(schedule: ScheduleSpec) -> list[NativeCron]:
    """Return the cron expressions by which Prefect fires at the slots, calendars aside.

    Often several: for an interval with a daily window, for a list with ``L``, and for a time that a
    clock change skips. An empty list for a manual schedule, and for an interval without a window
    (its ``minutes`` from ``INTERVAL_ANCHOR`` suffice). No two fire at the same time.
    """
    if is_session_event(schedule.expression):
        crons = session_event_crons(parse_session_event(schedule.expression), schedule.calendar)
        return [NativeCron(cron) for cron in crons]
    if schedule.type == "cron":
        return split_at_changes(portable_crons(schedule.expression), schedule.timezone)
    if _has_window(schedule):
        return split_at_changes(window_crons(_times(schedule)), schedule.timezone)
    return []


def native_zone(schedule: ScheduleSpec) -> str:
    """Return the time zone of ``native_crons``; for session events that of the exchange."""
    if is_session_event(schedule.expression):
        return session_zone(schedule.calendar).key
    return schedule.timezone


def served_slot(schedule: ScheduleSpec, now: datetime) -> datetime | None:
    """Return the last slot at or before ``now``, which a run at ``now`` serves; None if none."""
    for reach in _REACHES:
        last = None
        for slot in _walk(schedule, now - reach):
            if slot > now:
                break
            last = slot
        if last is not None:
            return last
    return None


def _walk(schedule: ScheduleSpec, after: datetime) -> Iterator[datetime]:
    """Yield the slots after a time, strictly increasing, only on sessions."""
    position = _aware(after).astimezone(UTC)
    if schedule.type == "manual" or not schedule.enabled:
        return
    if is_session_event(schedule.expression):
        yield from _walk_session_events(schedule, position)
        return
    zone = ZoneInfo(schedule.timezone)
    following = _following(schedule, zone)
    give_up = position + SEARCH_LIMIT
    while (moment := following(position)) is not None:
        if is_session(schedule, moment):
            position, give_up = moment, moment + SEARCH_LIMIT
            yield moment
        elif moment > give_up:
            return
        else:
            position = _end_of_day(moment, zone)


def _walk_session_events(schedule: ScheduleSpec, position: datetime) -> Iterator[datetime]:
    event = parse_session_event(schedule.expression)
    while (moment := next_event_time(event, schedule.calendar, position, SEARCH_LIMIT)) is not None:
        yield moment
        position = moment


def _following(schedule: ScheduleSpec, zone: ZoneInfo) -> Callable[[datetime], datetime | None]:
    """Return the function that finds the first slot after a time, calendars aside."""
    if schedule.type == "cron":
        return partial(_by_local_time, partial(next_cron_time, schedule.expression), zone)
    if _has_window(schedule):
        return partial(_by_local_time, partial(next_window_time, _times(schedule)), zone)
    return partial(_by_grid, timedelta(minutes=schedule.minutes))


def _by_local_time(
    next_local: Callable[[datetime], datetime | None], zone: ZoneInfo, after: datetime
) -> datetime | None:
    """Find the first local time whose moment is after ``after``; both increase together."""
    local = next_local(after.astimezone(zone).replace(tzinfo=None))
    while local is not None:
        moment = instant(local, zone)
        if moment > after:
            return moment
        local = next_local(local)
    return None


def _by_grid(step: timedelta, after: datetime) -> datetime:
    return INTERVAL_ANCHOR + step * ((after - INTERVAL_ANCHOR) // step + 1)


def _end_of_day(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the last second of the local day that contains the time."""
    tomorrow = moment.astimezone(zone).date() + timedelta(days=1)
    return instant(datetime.combine(tomorrow, time()), zone) - timedelta(seconds=1)


def _has_window(schedule: ScheduleSpec) -> bool:
    return schedule.type == "interval" and bool(schedule.window_start and schedule.window_end)


def _times(schedule: ScheduleSpec) -> list[time]:
    return daily_times(schedule.window_start, schedule.window_end, schedule.minutes)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("the time needs a time zone")
    return moment
