"""``timeline``: show the past and coming slots of an instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from prefect_instances.cli.commands.arguments import Json, Name
from prefect_instances.cli.output import emit_json, emit_rows
from prefect_instances.cli.session import open_database, utc_now
from prefect_instances.libs.services.views.timeline import timeline as read

HEADERS = ("flow", "day", "session", "slots")
MOST = 4
"""Number of slots of one day that are listed; the others are counted."""

MOMENT = "%a %Y-%m-%d %H:%M"


def timeline(
    name: Name,
    days: Annotated[
        int, typer.Option(min=1, max=366, help="Number of days before and after now.")
    ] = 14,
    json: Json = False,
) -> None:
    """Show past and coming slots, sessions and holidays."""
    with open_database() as database:
        document = read(database, utc_now(), name, days)
    if json:
        emit_json(document)
        return
    print(f"{document['project']}/{document['instance']}{describe_zones(document)}")
    emit_rows(HEADERS, timeline_rows(document))


def describe_zones(document: Mapping[str, Any]) -> str:
    """Say in which time zones the times are shown; flows without slots have none."""
    zones: dict[str, list[str]] = {}
    for flow in document["flows"]:
        if flow["next_slot"] or _has_slots(flow):
            zones.setdefault(flow["timezone"], []).append(flow["flow_kind"])
    if len(zones) > 1:
        said = ", ".join(f"{' and '.join(kinds)} in {zone}" for zone, kinds in zones.items())
        return f": times of {said}"
    return "".join(f": times in {zone}" for zone in zones)


def timeline_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Return one row per flow and day; a flow without slots gets one row that says so."""
    rows = []
    for flow in document["flows"]:
        if _has_slots(flow):
            rows += [_row(flow, day) for day in flow["days"]]
        else:
            rows.append([flow["flow_kind"], "-", "-", _without_slots(flow)])
    return rows


def _has_slots(flow: Mapping[str, Any]) -> bool:
    return any(day["slots"] for day in flow["days"])


def _without_slots(flow: Mapping[str, Any]) -> str:
    if flow["next_slot"]:
        return f"none in these days, the next {datetime.fromisoformat(flow['next_slot']):{MOMENT}}"
    if not flow["schedule"].get("enabled", True):
        return "no slots: its schedule is switched off"
    return "no slots: upstreams and people only"


def _row(flow: Mapping[str, Any], day: Mapping[str, Any]) -> list[str]:
    date = datetime.fromisoformat(day["date"])
    today = " (today)" if day["date"] == flow["today"] else ""
    shown = f"{date:%a} {day['date']}{today}"
    return [flow["flow_kind"], shown, _session(day), _slots(day["slots"])]


def _session(day: Mapping[str, Any]) -> str:
    if "opens" not in day:
        return str(day.get("closed", "-"))
    early = " early close" if day["early"] else ""
    return f"{_clock(day['opens'])}-{_clock(day['closes'])}{early}"


def _slots(slots: Sequence[Mapping[str, Any]]) -> str:
    if len(slots) <= MOST:
        return ", ".join(f"{_clock(slot['at'])} {slot['state']}" for slot in slots) or "-"
    counts = Counter(slot["state"] for slot in slots)
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{_clock(slots[0]['at'])} to {_clock(slots[-1]['at'])}: {said}"


def _clock(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%H:%M}"
