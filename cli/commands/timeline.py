"""``timeline``: the slots of an instance around now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from cli.commands.arguments import Json, Name
from cli.output import emit_json, emit_rows
from cli.session import open_database, utc_now

HEADERS = ("flow", "day", "session", "slots")
MOST = 4
"""Slots of one day that are listed; more are counted."""


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("timeline")(timeline)


def timeline(
    name: Name,
    days: Annotated[int, typer.Option(min=1, max=366, help="To each side of now.")] = 14,
    json: Json = False,
) -> None:
    """Past and coming slots, sessions and holidays."""
    from libs.services.timeline import timeline as read

    with open_database() as database:
        document = read(database, utc_now(), name, days)
    if json:
        emit_json(document)
        return
    zones = ", ".join(sorted({flow["timezone"] for flow in document["flows"]}))
    print(f"{document['project']}/{document['instance']}: times in {zones}")
    emit_rows(HEADERS, timeline_rows(document))


def timeline_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """One row a flow and day; a flow without slots has one row that says so."""
    rows = []
    for flow in document["flows"]:
        if not any(day["slots"] for day in flow["days"]):
            rows.append([flow["flow_kind"], "-", "-", "no slots: upstreams and people only"])
            continue
        rows += [_row(flow["flow_kind"], day, document["now"]) for day in flow["days"]]
    return rows


def _row(kind: str, day: Mapping[str, Any], now: str) -> list[str]:
    date = datetime.fromisoformat(day["date"])
    today = " (today)" if now.startswith(day["date"]) else ""
    return [kind, f"{date:%a} {day['date']}{today}", _session(day), _slots(day["slots"])]


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
