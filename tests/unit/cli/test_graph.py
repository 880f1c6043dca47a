"""Lineage drawings: every node once, every edge told."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from prefect_instances.cli.graph import mermaid, read_graph, tree_lines


def node(name: str, kind: str = "refresh", project: str = "demo", **more: Any) -> dict[str, Any]:
    return {
        "id": f"instance-{project}-{name}",
        "flow_id": f"{project}-{name}-{kind}",
        "name": name,
        "project": project,
        "type": "DatasetInstance",
        "status": "READY",
        "flow_kind": kind,
        **more,
    }


def edge(upstream: str, downstream: str, *, triggers: bool = True) -> dict[str, Any]:
    return {
        "upstream": f"demo-{upstream}-refresh",
        "downstream": f"demo-{downstream}-refresh",
        "role": "input",
        "require": "ready",
        "triggers": triggers,
    }


DIAMOND = {
    "nodes": [node(name) for name in ("d", "c", "b", "a")],
    "edges": [edge("a", "b"), edge("a", "c"), edge("b", "d"), edge("c", "d")],
}


def drawn(document: dict[str, Any]) -> list[str]:
    return [f"{line.branch}{line.node.label}" for line in tree_lines(read_graph(document))]


def test_a_diamond_draws_its_joint_once_and_refers_to_it_after() -> None:
    lines = tree_lines(read_graph(DIAMOND))

    assert [f"{line.branch}{line.node.label}" for line in lines] == [
        "a",
        "├── b",
        "│   └── d",
        "└── c",
        "    └── d",
    ]
    assert [line.again for line in lines] == [False, False, False, False, True]
    assert lines[2].note == "reads b, c"


def test_an_edge_that_does_not_trigger_is_told() -> None:
    document = {
        "nodes": [node("a"), node("b")],
        "edges": [edge("a", "b", triggers=False)],
    }

    (_, line) = tree_lines(read_graph(document))

    assert line.note == "reads a (does not trigger)"


def test_an_edge_to_a_node_outside_of_the_document_is_left_out() -> None:
    document = {"nodes": [node("b")], "edges": [edge("a", "b")]}

    assert drawn(document) == ["b"]


def test_several_flows_of_an_instance_and_several_projects_are_told_apart() -> None:
    document = {
        "nodes": [node("m", "training"), node("m", "inference"), node("m", project="other")],
        "edges": [],
    }

    assert drawn(document) == ["demo/m · inference", "demo/m · training", "other/m"]


def test_nothing_at_all_draws_nothing() -> None:
    assert tree_lines(read_graph({"nodes": [], "edges": []})) == []


def test_a_deep_chain_is_drawn_to_its_end() -> None:
    names = [f"n{place:04}" for place in range(2000)]
    edges = [edge(above, below) for above, below in pairwise(names)]
    document = {"nodes": [node(name) for name in names], "edges": edges}

    assert [line.node.label for line in tree_lines(read_graph(document))] == names


@pytest.mark.parametrize(
    ("triggers", "arrow"), [(True, "n0 -->|input| n1"), (False, "n0 -.->|input| n1")]
)
def test_mermaid_dots_edges_that_do_not_trigger(triggers: bool, arrow: str) -> None:
    document = {
        "nodes": [node("a"), node("b", status="ERROR")],
        "edges": [edge("a", "b", triggers=triggers)],
    }

    lines = mermaid(read_graph(document)).splitlines()

    assert lines[1] == "flowchart TB"
    assert f"  {arrow}" in lines
    assert '  n1["b<br/>ERROR"]:::ERROR' in lines
    assert any(line.startswith("  classDef ERROR ") for line in lines)


def test_mermaid_keeps_a_quote_from_ending_a_label() -> None:
    text = mermaid(read_graph({"nodes": [node('a"]')], "edges": []}))

    assert '  n0["a#34;#93;<br/>READY"]:::READY' in text.splitlines()
