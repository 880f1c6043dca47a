"""Lineage as mermaid diagrams, coloured by status.

Prefect's pages draw them at most 700 pixels wide and refuse very large ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from prefect_instances.libs.core.lineage import levels

COLOURS = {
    "READY": "#d5f0d8,stroke:#2e8540",
    "RUNNING": "#d6e6fb,stroke:#2563c9",
    "STALE": "#fdf0cd,stroke:#b7791f",
    "ERROR": "#fbd9d6,stroke:#c0392b",
    "NOT_INITIALIZED": "#eeeeee,stroke:#777777",
}

MOST_BOXES, MOST_ARROWS = 200, 400
"""The largest diagram that is drawn; Prefect's pages refuse 500 arrows."""

WRAP = '%%{init: {"flowchart": {"wrappingWidth": 200}}}%%'
"""Width of a line in a box, in pixels: three boxes side by side fill a page."""

NAMED = 3
"""How many root causes a box names; it counts the others."""

SENTENCE = 140
"""How many characters of a message a box shows; the page has the whole message."""


@dataclass(frozen=True, slots=True)
class Box:
    """One flow in a diagram; round if the diagram is about it.

    Its frame is thick if it is a root cause, dashed if it is READY but waits.
    """

    key: str
    lines: tuple[str, ...]
    status: str
    asked: bool = False
    root: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow from upstream to downstream: dotted if it does not trigger, thick if it blocks."""

    upstream: str
    downstream: str
    triggers: bool = True
    blocks: bool = False
    text: str = ""


def draw_lineage(lineage: Mapping[str, Any]) -> str:
    """Draw a ``reports.lineage`` document as a fenced mermaid flowchart, or say it is too large."""
    if len(lineage["nodes"]) > MOST_BOXES or len(lineage["edges"]) > MOST_ARROWS:
        return f"{len(lineage['nodes'])} flows are too many to draw: see `instances lineage`."
    boxes = [
        Box(
            node["flow_id"],
            (node["name"], f"{node['flow_kind']} · {node['status']}"),
            node["status"],
        )
        for node in lineage["nodes"]
    ]
    arrows = [
        Arrow(
            edge["upstream"],
            edge["downstream"],
            triggers=edge["triggers"],
            text="" if edge["role"] == "input" else edge["role"],
        )
        for edge in lineage["edges"]
    ]
    return fence(draw_flowchart(boxes, arrows))


def draw_freshness(graph: Mapping[str, Any]) -> str:
    """Draw the graph of an ``explaining.freshness`` document as a fenced mermaid flowchart."""
    boxes = [
        Box(
            node["flow_id"],
            _said(node),
            node["status"],
            asked=node["asked"],
            root=node["root"],
            waits=node["status"] == "READY" and bool(node["waits_for"]),
        )
        for node in graph["nodes"]
    ]
    arrows = [
        Arrow(edge["upstream"], edge["downstream"], edge["triggers"], edge["blocks"])
        for edge in graph["edges"]
    ]
    return fence(draw_flowchart(boxes, arrows))


def _said(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the lines of a box: the status, and why the flow blocks or is blocked."""
    lines = (f"{node['resource']}.{node['flow_kind']}", f"{node['status']} · {node['reason']}")
    if not node["explained"]:
        return lines
    if not node["waits_for"]:
        since = (f"since {format_minute(node['since'])}",) if node["since"] else ()
        return (*lines, *since, shorten(node["why"], SENTENCE, placeholder=" …"))
    roots = node["root_causes"]
    more = f" and {len(roots) - NAMED} more" if len(roots) > NAMED else ""
    return (*lines, f"waits for {', '.join(roots[:NAMED])}{more}")


def format_minute(moment: str) -> str:
    """Format an ISO time of UTC for people: ``2026-01-05 09:00 UTC``."""
    return f"{moment[:16].replace('T', ' ')} UTC"


def fence(diagram: str) -> str:
    """Wrap a diagram for a Markdown page."""
    return f"```mermaid\n{diagram}\n```"


def draw_flowchart(boxes: Sequence[Box], arrows: Iterable[Arrow]) -> str:
    """Draw a mermaid flowchart; arrows that start or end outside of it are left out."""
    keys = {box.key: f"n{at}" for at, box in enumerate(boxes)}
    inside = [arrow for arrow in arrows if arrow.upstream in keys and arrow.downstream in keys]
    lines = [WRAP, f"flowchart {_direction(keys, inside)}"]
    for box in boxes:
        begin, end = ('(["', '"])') if box.asked else ('["', '"]')
        text = "<br/>".join(map(_escaped, box.lines))
        lines.append(f"  {keys[box.key]}{begin}{text}{end}:::{box.status}")
    lines += [f"  {keys[a.upstream]} {_line(a)} {keys[a.downstream]}" for a in inside]
    lines += [f"  classDef {name} fill:{style},color:#111" for name, style in COLOURS.items()]
    lines += _frame("root", "stroke-width:4px", [keys[box.key] for box in boxes if box.root])
    lines += _frame("waits", _DASHED, [keys[box.key] for box in boxes if box.waits])
    return "\n".join(lines)


_DASHED = "stroke:#b7791f,stroke-width:3px,stroke-dasharray:6 4"


def _frame(name: str, style: str, keys: Sequence[str]) -> list[str]:
    return [f"  classDef {name} {style}", f"  class {','.join(keys)} {name}"] if keys else []


def _line(arrow: Arrow) -> str:
    text = f"|{_escaped(arrow.text)}|" if arrow.text else ""
    if arrow.blocks:
        return f"==>{text}"
    return f"-->{text}" if arrow.triggers else f"-.->{text}"


def _direction(keys: Iterable[str], arrows: Iterable[Arrow]) -> str:
    """Choose the direction: to the right if a level has more boxes than there are levels."""
    grouped = levels(keys, [(arrow.upstream, arrow.downstream) for arrow in arrows])
    return "LR" if max(map(len, grouped), default=0) > len(grouped) else "TB"


def _escaped(text: str) -> str:
    """Escape text so that a mermaid label shows it unchanged."""
    plain = " ".join(text.split())
    return "".join(c if c.isalnum() or c in _HARMLESS else f"#{ord(c)};" for c in plain)


_HARMLESS = frozenset(" .,:/_-+='()·…")
