"""Drawings of the lineage: a tree for the terminal, mermaid for a page.

Both take the document of ``libs.services.views.reports.lineage``: nodes are flows, edges lead from
an upstream flow to the downstream one that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_instances.libs.services.rendering.diagrams import Arrow, Box, draw_flowchart


@dataclass(frozen=True, slots=True)
class Node:
    """One flow of the drawing; ``label`` is unique."""

    key: str
    label: str
    type: str
    status: str


@dataclass(frozen=True, slots=True)
class Edge:
    """One dependency; ``triggers`` is False if the downstream waits for a slot or request."""

    upstream: str
    downstream: str
    role: str
    triggers: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the tree; ``again`` marks a node that is drawn further up."""

    branch: str
    node: Node
    note: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes by key in order of their labels, with their outgoing edges."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    downstream: Mapping[str, list[Edge]] = field(default_factory=dict)
    upstream: Mapping[str, list[Edge]] = field(default_factory=dict)

    @property
    def roots(self) -> list[Node]:
        """The nodes without an upstream in this graph."""
        return [node for key, node in self.nodes.items() if not self.upstream.get(key)]


def read_graph(document: Mapping[str, Any]) -> Graph:
    """Build the graph of a lineage document; edges to nodes outside it are left out."""
    nodes = {node.key: node for node in sorted(_nodes(document), key=lambda node: node.label)}
    edges = tuple(
        Edge(str(edge["upstream"]), str(edge["downstream"]), edge["role"], edge["triggers"])
        for edge in document["edges"]
        if {str(edge["upstream"]), str(edge["downstream"])} <= nodes.keys()
    )
    downstream: dict[str, list[Edge]] = {}
    upstream: dict[str, list[Edge]] = {}
    order = {key: place for place, key in enumerate(nodes)}
    for edge in sorted(edges, key=lambda edge: (order[edge.downstream], order[edge.upstream])):
        downstream.setdefault(edge.upstream, []).append(edge)
        upstream.setdefault(edge.downstream, []).append(edge)
    return Graph(nodes, edges, downstream, upstream)


def _nodes(document: Mapping[str, Any]) -> Iterator[Node]:
    """Build the nodes; a label holds project and flow only if it needs them to be unique."""
    several = len({node["project"] for node in document["nodes"]}) > 1
    names = [(node["project"], node["name"]) for node in document["nodes"]]
    for node in document["nodes"]:
        project = f"{node['project']}/" if several else ""
        alone = names.count((node["project"], node["name"])) == 1
        flow = "" if alone else f" · {node['flow_kind']}"
        label = f"{project}{node['name']}{flow}"
        yield Node(str(node["flow_id"]), label, node["type"], node["status"])


def tree_lines(graph: Graph) -> list[Line]:
    """Draw the graph as a forest; a node with several upstreams is drawn once, then referenced."""
    drawn: set[str] = set()
    lines: list[Line] = []
    # A stack instead of recursion: a chain may be longer than Python's recursion limit.
    waiting = [(root, "", "") for root in reversed(graph.roots)]
    while waiting:
        node, branch, indent = waiting.pop()
        if node.key in drawn:
            lines.append(Line(branch, node, "see above", again=True))
            continue
        drawn.add(node.key)
        lines.append(Line(branch, node, _note(graph, node)))
        waiting += reversed(_branches(graph, node, indent))
    return lines


def _branches(graph: Graph, node: Node, indent: str) -> list[tuple[Node, str, str]]:
    """Return the children of a node, each with its prefix and that of its own children."""
    edges = graph.downstream.get(node.key, [])
    branches = []
    for place, edge in enumerate(edges, start=1):
        elbow, rail = ("└── ", "    ") if place == len(edges) else ("├── ", "│   ")
        branches.append((graph.nodes[edge.downstream], indent + elbow, indent + rail))
    return branches


def _note(graph: Graph, node: Node) -> str:
    """Return what a tree cannot show: all upstreams of a joint, and edges that do not trigger."""
    edges = graph.upstream.get(node.key, [])
    names = [
        graph.nodes[edge.upstream].label + ("" if edge.triggers else " (does not trigger)")
        for edge in edges
    ]
    plain = len(edges) <= 1 and all(edge.triggers for edge in edges)
    return "" if plain else f"reads {', '.join(names)}"


def mermaid(graph: Graph) -> str:
    """Draw the graph as a mermaid flowchart, coloured by status; dotted edges do not trigger."""
    boxes = [Box(key, (node.label, node.status), node.status) for key, node in graph.nodes.items()]
    arrows = [
        Arrow(edge.upstream, edge.downstream, triggers=edge.triggers, text=edge.role)
        for edge in graph.edges
    ]
    return draw_flowchart(boxes, arrows)
