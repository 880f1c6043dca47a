"""Lineage drawn as a mermaid diagram, coloured by status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLOURS = {
    "READY": "#d5f0d8,stroke:#2e8540",
    "RUNNING": "#d6e6fb,stroke:#2563c9",
    "STALE": "#fdf0cd,stroke:#b7791f",
    "ERROR": "#fbd9d6,stroke:#c0392b",
    "NOT_INITIALIZED": "#eeeeee,stroke:#777777",
}


def mermaid(lineage: Mapping[str, Any]) -> str:
    """A fenced mermaid flowchart of a ``reports.lineage`` document."""
    keys = {node["flow_id"]: f"n{at}" for at, node in enumerate(lineage["nodes"])}
    lines = ["```mermaid", "flowchart LR"]
    for node in lineage["nodes"]:
        label = f"{node['name']}<br/>{node['flow_kind']} · {node['status']}"
        lines.append(f'  {keys[node["flow_id"]]}["{label}"]:::{node["status"]}')
    for edge in lineage["edges"]:
        if edge["upstream"] in keys and edge["downstream"] in keys:
            arrow = "-->" if edge["triggers"] else "-.->"
            role = "" if edge["role"] == "input" else f"|{edge['role']}|"
            lines.append(f"  {keys[edge['upstream']]} {arrow}{role} {keys[edge['downstream']]}")
    lines += [f"  classDef {name} fill:{style},color:#111" for name, style in COLOURS.items()]
    return "\n".join([*lines, "```"])
