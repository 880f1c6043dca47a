"""Table rows, built from the documents of ``libs.services.views.reports``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from textwrap import shorten
from typing import Any

from prefect_instances.cli.output import format_age, format_cell

ERROR_WIDTH = 120

STATUS_HEADERS = (
    "instance",
    "type",
    "status",
    "freshness",
    "generation",
    "last data",
    "since",
    "reason",
)

RUN_HEADERS = ("started", "flow", "status", "cause", "seconds", "inputs", "output", "id")

FRESHNESS_HEADERS = (
    "upstream",
    "flow",
    "status",
    "freshness",
    "generation",
    "last data",
    "since",
    "reason",
    "blocks",
    "root cause",
)


def status_rows(document: Mapping[str, Any], now: datetime) -> list[list[str]]:
    """Return one row for each flow of each instance of ``instances status --json``."""
    several = len({entry["project"] for entry in document["instances"]}) > 1
    return [row for entry in document["instances"] for row in _instance_rows(entry, several, now)]


def _instance_rows(entry: Mapping[str, Any], several: bool, now: datetime) -> list[list[str]]:
    name = f"{entry['project']}/{entry['name']}" if several else entry["name"]
    flows = entry["flows"]
    if len(flows) == 1:
        return [[name, entry["type"], *_flow_cells(entry, flows[0], now)]]
    whole = [name, entry["type"], entry["status"], format_cell(entry["freshness"]), "", "", "", ""]
    whole[-1] = _instance_reason(entry)
    parts = [[f"  {flow['kind']}", "", *_flow_cells(None, flow, now)] for flow in flows]
    return [whole, *parts]


def _flow_cells(
    entry: Mapping[str, Any] | None, flow: Mapping[str, Any], now: datetime
) -> list[str]:
    """Return the cells from ``status`` on; ``entry`` is given for the row of a whole instance."""
    freshness = format_cell(entry["freshness"]) if entry else ""
    lifecycle = _instance_reason(entry) if entry else ""
    return [
        entry["status"] if entry else flow["status"],
        freshness,
        format_cell(flow["generation"]),
        format_cell(flow["last_data_date"]),
        format_age(flow["since"], now),
        ", ".join(part for part in (lifecycle, _reason(flow), _blockers(flow)) if part),
    ]


def _instance_reason(entry: Mapping[str, Any]) -> str:
    """Return an unusual lifecycle and what stopped it, which explains why nothing happens."""
    if entry["lifecycle"] == "ACTIVE":
        return ""
    error = (entry.get("condition") or {}).get("error", "")
    return f"{entry['lifecycle']}: {error}" if error else str(entry["lifecycle"])


def _reason(flow: Mapping[str, Any]) -> str:
    """Return the reason's code; for an error, with the beginning of its message."""
    if flow["status"] != "ERROR":
        return format_cell(flow["reason"])
    return shorten(f"{flow['reason']}: {flow['message']}", ERROR_WIDTH, placeholder="…")


def _blockers(flow: Mapping[str, Any]) -> str:
    names = [_blocker(upstream) for upstream in flow.get("blocked_by") or ()]
    return f"waits for {', '.join(names)}" if names else ""


def _blocker(upstream: object) -> str:
    return str(upstream["resource"]) if isinstance(upstream, Mapping) else str(upstream)


def run_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Return one row for each run of ``instances runs --json``, in its order."""
    return [
        [
            _to_the_second(run["started_at"]),
            run["flow_kind"],
            run["status"],
            run["cause"],
            _seconds(run["started_at"], run["ended_at"]),
            ", ".join(f"{read['resource']}@{read['generation']}" for read in run["inputs"]),
            format_cell(run["output_version"])[:8],
            format_cell(run["id"]),
        ]
        for run in document["runs"]
    ]


def freshness_table(
    document: Mapping[str, Any], now: datetime
) -> tuple[Sequence[str], list[list[str]]]:
    """Return the headers of ``instances freshness`` and one row for each upstream flow.

    If several flows of the instance read upstreams, the first column names the reading flow.
    """
    rows = freshness_rows(document, now)
    readers = [upstream["for_flow"] for upstream in document["upstreams"]]
    if len(set(readers)) < 2:
        return FRESHNESS_HEADERS, rows
    return ("read by", *FRESHNESS_HEADERS), [
        [r, *row] for r, row in zip(readers, rows, strict=True)
    ]


def freshness_rows(document: Mapping[str, Any], now: datetime) -> list[list[str]]:
    """Return one row for each upstream flow of ``instances freshness``."""
    return [
        [
            upstream["resource"],
            upstream["flow_kind"],
            upstream["status"],
            format_cell(upstream["freshness"]),
            format_cell(upstream["generation"]),
            format_cell(upstream["last_data_date"]),
            format_age(upstream["since"], now),
            format_cell(upstream["reason"]),
            "yes" if upstream["blocking"] else "",
            ", ".join(f"{root['resource']}.{root['flow_kind']}" for root in upstream["roots"]),
        ]
        for upstream in document["upstreams"]
    ]


def not_ready(document: Mapping[str, Any]) -> list[str]:
    """Return the instances that are not READY, each with its status and the cause."""
    return [
        f"{entry['name']} is {entry['status']}: {_instance_reason(entry) or _why(entry['flows'])}"
        for entry in document["instances"]
        if entry["status"] != "READY"
    ]


def _why(flows: Sequence[Mapping[str, Any]]) -> str:
    """Return what the first flow that is not READY waits for, or its own message."""
    reasons = [_why_not_ready(flow) for flow in flows if flow["status"] != "READY"]
    return reasons[0] if reasons else "it has no flow"


def _why_not_ready(flow: Mapping[str, Any]) -> str:
    """Return what a flow waits for, or else its own message."""
    return _blockers(flow) or " ".join(str(flow["message"]).split())


def _to_the_second(moment: str | datetime | None) -> str:
    return format_cell(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)


def _seconds(started: str | datetime | None, ended: str | datetime | None) -> str:
    """Return the duration of a run in seconds; empty while it runs."""
    if started is None or ended is None:
        return ""
    moments = [
        datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        for moment in (started, ended)
    ]
    return f"{(moments[1] - moments[0]).total_seconds():.1f}"
