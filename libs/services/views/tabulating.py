"""Statuses, runs and lineage as objects for notebooks: frames with a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.services.rendering.diagrams import (
    MOST_ARROWS,
    MOST_BOXES,
    Arrow,
    Box,
)
from prefect_instances.libs.services.rendering.svg import draw_svg
from prefect_instances.libs.services.rendering.tables import Table

if TYPE_CHECKING:
    import polars as pl

Document = Mapping[str, Any]


def tabulate_status(document: Document) -> Table:
    """Build the table of a ``reports.status`` document: one row for each flow."""
    import polars as pl

    rows = [_status_row(entry, flow) for entry in document["instances"] for flow in entry["flows"]]
    schema: dict[str, Any] = {
        "instance": pl.String,
        "flow": pl.String,
        "type": pl.String,
        "status": pl.String,
        "freshness": pl.String,
        "generation": pl.Int64,
        "last_data": pl.Date,
        "since": pl.Datetime("us", "UTC"),
        "reason": pl.String,
        "message": pl.String,
        "waits_for": pl.List(pl.String),
        "lifecycle": pl.String,
    }
    ready = sum(row["status"] == "READY" for row in rows)
    return Table(
        f"{ready} of {len(rows)} flows are READY", pl.DataFrame(rows, schema), ("type", "message")
    )


def _status_row(entry: Document, flow: Document) -> dict[str, Any]:
    return {
        "instance": f"{entry['project']}/{entry['name']}",
        "flow": flow["kind"],
        "type": str(entry["type"]),
        "status": flow["status"],
        "freshness": flow["freshness"],
        "generation": flow["generation"],
        "last_data": _day(flow["last_data_date"]),
        "since": _moment(flow["since"]),
        "reason": flow["reason"],
        "message": flow["message"],
        "waits_for": [blocker["resource"] for blocker in flow["blocked_by"]] or None,
        "lifecycle": None if entry["lifecycle"] == "ACTIVE" else entry["lifecycle"],
    }


def tabulate_runs(document: Document, name: str) -> Table:
    """Build the table of a ``reports.runs`` document: one row for each run, newest first."""
    import polars as pl

    schema: dict[str, Any] = {
        "started": pl.Datetime("us", "UTC"),
        "flow": pl.String,
        "status": pl.String,
        "cause": pl.String,
        "seconds": pl.Float64,
        "inputs": pl.List(pl.String),
        "output": pl.String,
        "error": pl.String,
        "id": pl.String,
    }
    rows = [_run_row(run) for run in document["runs"]]
    return Table(f"{name}: {len(rows)} runs, newest first", pl.DataFrame(rows, schema))


def _run_row(run: Document) -> dict[str, Any]:
    started, ended = _moment(run["started_at"]), _moment(run["ended_at"])
    return {
        "started": started,
        "flow": run["flow_kind"],
        "status": run["status"],
        "cause": run["cause"],
        "seconds": (ended - started).total_seconds() if started and ended else None,
        "inputs": [f"{read['resource']}@{read['generation']}" for read in run["inputs"]] or None,
        "output": run["output_version"],
        "error": run["error"] or None,
        "id": run["id"],
    }


@dataclass(frozen=True)
class Lineage:
    """Which flow reads from which; a notebook shows the graph, coloured by status.

    ``nodes`` has a row for each flow: flow_id, instance, flow, type, status. ``edges`` has a row
    for each dependency: upstream, downstream (as ``instance.flow``), role, require, triggers.
    """

    nodes: pl.DataFrame
    edges: pl.DataFrame
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]

    def __repr__(self) -> str:
        lines = [
            f"{row['upstream']} {'->' if row['triggers'] else '..>'} {row['downstream']}"
            for row in self.edges.iter_rows(named=True)
        ]
        joined = {*self.edges["upstream"], *self.edges["downstream"]}
        labels = [f"{row['instance']}.{row['flow']}" for row in self.nodes.iter_rows(named=True)]
        return "\n".join([*lines, *(label for label in labels if label not in joined)])

    def _repr_html_(self) -> str:
        if len(self.boxes) > MOST_BOXES or len(self.arrows) > MOST_ARROWS:
            return f"<pre>{escape(repr(self))}</pre>"
        return draw_svg(self.boxes, self.arrows)


def build_lineage(document: Document, asked: str = "") -> Lineage:
    """Build the graph of a ``reports.lineage`` document; ``asked`` is an instance to emphasise."""
    import polars as pl

    nodes = {node["flow_id"]: _node_row(node) for node in document["nodes"]}
    edges = [
        edge for edge in document["edges"] if {edge["upstream"], edge["downstream"]} <= {*nodes}
    ]
    listed = [_edge_row(edge, nodes) for edge in edges]
    arrows = [
        Arrow(edge["upstream"], edge["downstream"], edge["triggers"], text=edge["role"])
        for edge in edges
    ]
    return Lineage(
        pl.DataFrame([*nodes.values()], dict.fromkeys(NODE_COLUMNS, pl.String)),
        pl.DataFrame(listed, {**dict.fromkeys(EDGE_COLUMNS, pl.String), "triggers": pl.Boolean}),
        [_build_box(node, asked.lower()) for node in nodes.values()],
        arrows,
    )


def _node_row(node: Document) -> dict[str, str]:
    return {
        "flow_id": node["flow_id"],
        "instance": f"{node['project']}/{node['name']}",
        "flow": node["flow_kind"],
        "type": str(node["type"]),
        "status": node["status"],
    }


def _edge_row(edge: Document, nodes: Mapping[str, Document]) -> dict[str, Any]:
    ends = {end: nodes[edge[end]] for end in ("upstream", "downstream")}
    labels = {end: f"{node['instance']}.{node['flow']}" for end, node in ends.items()}
    return {**labels, **{key: edge[key] for key in ("role", "require", "triggers")}}


def _build_box(node: Document, asked: str) -> Box:
    label, name = node["instance"], node["instance"].partition("/")[2]
    lines = (name, f"{node['flow']} · {node['status']}")
    is_asked = asked in (label.lower(), name.lower())
    return Box(node["flow_id"], lines, node["status"], asked=is_asked)


NODE_COLUMNS = ("flow_id", "instance", "flow", "type", "status")
EDGE_COLUMNS = ("upstream", "downstream", "role", "require")


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
