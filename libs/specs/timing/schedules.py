"""Schedules as people write them; ``libs.specs.timing.slots`` computes their slots."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeGuard
from zoneinfo import available_timezones

from pydantic import AfterValidator, ConfigDict, Field

from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.json_values import Text, Whole
from prefect_instances.libs.specs.reading.problems import Fault, did_you_mean
from prefect_instances.libs.specs.timing.local_time import cron_fault, minute_of_day, next_cron_time
from prefect_instances.libs.specs.timing.session_events import is_session_event, session_event_fault
from prefect_instances.libs.specs.timing.sessions import calendar_names, is_session_day

_CLOCK = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d\Z")
_YEAR = 366 * 24 * 60
_PROBE_START = datetime.combine(date(2015, 1, 1), time())
_PROBE_END = datetime.combine(date(2027, 1, 1), time())

_BELONGS: Mapping[str, tuple[str, ...]] = {
    "expression": ("cron",),
    "minutes": ("interval",),
    "window_start": ("interval",),
    "window_end": ("interval",),
    "calendar": ("cron", "interval"),
}
"""The schedule types that use a field; fields that are not listed apply to all types."""


def _checked_expression(text: str) -> str:
    if text and (
        fault := session_event_fault(text) if is_session_event(text) else cron_fault(text)
    ):
        raise ValueError(fault)
    return text


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _checked_zone(text: str) -> str:
    if text not in _zones():
        raise ValueError(f"{text[:60]!r} is not an IANA time zone{_zone_hint(text)}")
    return text


def _zone_hint(text: str) -> str:
    city = text.strip().casefold().replace(" ", "_")
    named = sorted(zone for zone in _zones() if zone.casefold().rpartition("/")[2] == city)
    return did_you_mean(named[0] if named else text, sorted(_zones()))


def _checked_calendar(text: str) -> str:
    if text and text not in calendar_names():
        hint = did_you_mean(text, sorted(calendar_names())) or "; XNYS is New York, XLON London"
        raise ValueError(f"{text!r} is not an exchange calendar{hint}")
    return text


CalendarName = Annotated[Text, AfterValidator(_checked_calendar)]
"""The name of an exchange calendar, or empty."""


def _checked_clock(text: str) -> str:
    if text and not _CLOCK.match(text):
        raise ValueError(f"{text!r} is not a time of day; write HH:MM between 00:00 and 23:59")
    return text.zfill(5) if text else text


class ScheduleSpec(SpecModel):
    """A schedule: cron, interval or manual, with grace period and retry policy."""

    model_config = ConfigDict(title="Schedule")

    type: Literal["cron", "interval", "manual"] = Field(
        default="manual",
        title="Type",
        description=(
            "cron (clock times), interval (every N minutes), or manual (only upstreams and "
            "requests)."
        ),
        examples=["cron"],
    )
    expression: Annotated[Text, AfterValidator(_checked_expression)] = Field(
        default="",
        title="Cron expression",
        description="For cron: minute, hour, day of month, month, weekday, in the time zone below; "
        "or minutes from the opening or close of each session: @close+30, @open-15; or of the "
        "first session of each month or week: @close+30 monthly, @close+30 weekly.",
        examples=["0 6 * * 1-5", "@close+30"],
    )
    minutes: Annotated[Whole, Field(ge=0, le=_YEAR)] = Field(
        default=0,
        title="Minutes",
        description="For interval: minutes from one slot to the next.",
        examples=[30],
    )
    timezone: Annotated[Text, AfterValidator(_checked_zone)] = Field(
        default="UTC",
        title="Time zone",
        description="IANA name of the time zone for the expression, the window and session days.",
        examples=["America/New_York"],
    )
    calendar: CalendarName = Field(
        default="",
        title="Exchange calendar",
        description="Skip days without a session of this exchange; empty for every day.",
        examples=["XNYS"],
    )
    window_start: Annotated[Text, AfterValidator(_checked_clock)] = Field(
        default="",
        title="Window start",
        description="For interval: first slot of each day, HH:MM; empty for around the clock.",
        examples=["09:30"],
    )
    window_end: Annotated[Text, AfterValidator(_checked_clock)] = Field(
        default="",
        title="Window end",
        description=(
            "For interval: last possible slot of each day, HH:MM; before the start: after midnight."
        ),
        examples=["16:00"],
    )
    grace_minutes: Annotated[Whole, Field(ge=0, le=_YEAR)] = Field(
        default=60,
        title="Grace (minutes)",
        description="Minutes after a slot until an instance without new output becomes stale.",
        examples=[120],
    )
    enabled: bool = Field(
        default=True,
        title="Enabled",
        description="Off: the schedule has no slots; upstreams and requests still work.",
        examples=[True],
    )
    max_retries: Annotated[Whole, Field(ge=0, le=100)] = Field(
        default=0,
        title="Retries",
        description="How many times a failed run is repeated automatically.",
        examples=[3],
    )
    backoff: Literal["none", "linear", "exponential"] = Field(
        default="none",
        title="Back-off",
        description="How the wait grows from retry to retry; none: it stays the same.",
        examples=["exponential"],
    )
    backoff_seconds: Annotated[Whole, Field(ge=0, le=86_400)] = Field(
        default=30,
        title="Wait before the first retry (seconds)",
        description="The first wait; the back-off starts from it.",
        examples=[60],
    )
    backoff_jitter: Annotated[Whole, Field(ge=0, le=100)] = Field(
        default=0,
        title="Spread (percent)",
        description="Each wait is extended by up to this percentage, so that runs that failed "
        "together do not all retry together.",
        examples=[20],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that the fields fit the type and that the schedule has a slot."""
        kind = values.get("type", "manual")
        if kind not in ("cron", "interval", "manual"):
            return
        for key, kinds in _BELONGS.items():
            if values.get(key) not in (None, "", 0) and kind not in kinds:
                hint = "" if "type" in values else f"; write `type: {kinds[0]}`"
                yield Fault((key,), f"belongs to a schedule of type {' or '.join(kinds)}{hint}")
        if kind == "cron":
            yield from _cron_faults(values)
        if kind == "interval":
            yield from _interval_faults(values)


def _cron_faults(values: Mapping[str, Any]) -> Iterable[Fault]:
    expression, calendar = values.get("expression"), values.get("calendar")
    if not expression:
        yield Fault(("expression",), "is missing: a schedule of type cron needs one")
    elif is_session_event(str(expression)):
        if not calendar and not session_event_fault(str(expression)):
            yield Fault(("calendar",), "is missing: @open and @close are those of an exchange")
    elif _usable(expression, calendar) and not _meets_session(str(expression), str(calendar)):
        yield Fault(("expression",), f"never fires: no such day is a session of {calendar}")


def _usable(expression: Any, calendar: Any) -> bool:
    """Return True if both are given and neither has a fault of its own."""
    if not (isinstance(expression, str) and isinstance(calendar, str) and calendar):
        return False
    return not cron_fault(expression) and calendar in calendar_names()


def _meets_session(expression: str, calendar: str) -> bool:
    """Return True if some slot within twelve years (three leap days) is on a session."""
    local, end = next_cron_time(expression, _PROBE_START), _PROBE_END
    while local is not None and local < end:
        if is_session_day(calendar, local.date()):
            return True
        local = next_cron_time(expression, datetime.combine(local, time.max))
    return False


def _interval_faults(values: Mapping[str, Any]) -> Iterable[Fault]:
    if values.get("minutes") in (None, 0, ""):
        yield Fault(("minutes",), "is missing: a schedule of type interval needs at least 1")
    start, end = values.get("window_start"), values.get("window_end")
    if bool(start) != bool(end):
        yield Fault(
            ("window_end" if start else "window_start",), "is missing: a window has both ends"
        )
    if _is_clock(start) and _is_clock(end) and minute_of_day(start) == minute_of_day(end):
        yield Fault(("window_end",), f"is the window's start ({start}): leave both out for all day")


def _is_clock(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _CLOCK.match(value.strip()) is not None


def retry_delay(schedule: ScheduleSpec, attempt: int, key: str = "") -> timedelta | None:
    """Return the pause after failed attempt number ``attempt`` (from 1).

    None if no retry is left. ``key`` identifies what is retried: it decides where in the spread the
    pause lies, always the same for the same key. Raises ValueError for an attempt below 1.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    if attempt > schedule.max_retries:
        return None
    factor = {"none": 1, "linear": attempt, "exponential": 2 ** min(attempt - 1, 20)}
    seconds = schedule.backoff_seconds * factor[schedule.backoff]
    spread = schedule.backoff_jitter / 100 * _share(key) if key else 0
    return min(timedelta(seconds=round(seconds * (1 + spread))), LONGEST_WAIT)


def _share(key: str) -> float:
    """Return a number from 0 to 1 that is the same for the same key, evenly spread over keys."""
    return int.from_bytes(sha256(key.encode()).digest()[:8]) / 2**64


LONGEST_WAIT = timedelta(days=1)
"""The longest back-off."""
