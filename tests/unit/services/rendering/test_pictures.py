"""Diagrams: what a box says is shown as it is, and a page holds the whole."""

from __future__ import annotations

import re
from typing import Any

import pytest

from prefect_instances.libs.services.rendering.diagrams import (
    MOST_BOXES,
    Arrow,
    Box,
    draw_flowchart,
    draw_freshness,
    draw_lineage,
)


def box(key: str, *lines: str, **more: Any) -> Box:
    return Box(key, lines or (key,), "READY", **more)


def direction(boxes: list[Box], arrows: list[Arrow]) -> str:
    (found,) = re.findall(r"^flowchart (\w+)$", draw_flowchart(boxes, arrows), re.MULTILINE)
    return str(found)


def labels(diagram: str) -> list[str]:
    """What mermaid shows in each box: its entities resolved."""
    found = re.findall(r'"(.*)"', diagram.replace('{"flowchart": {"wrappingWidth": 200}}', ""))
    return [re.sub(r"#(\d+);", lambda code: chr(int(code[1])), text) for text in found]


@pytest.mark.parametrize(
    "text",
    [
        'a "quoted" <b>tag</b>',
        "C:\\data\\x.csv; then `rm`",
        "100 % & #35; [1] {2} |3|",
        "Größe – 株価",
    ],
)
def test_any_text_stays_what_it_is_and_ends_no_label(text: str) -> None:
    diagram = draw_flowchart([box("a", text)], [])

    assert labels(diagram) == [text]
    assert not set(re.findall(r'n0\["(.*)"\]', diagram)[0]) & set('"<>[]{}|`&')


def test_a_text_of_several_lines_is_one_line_of_a_box() -> None:
    assert labels(draw_flowchart([box("a", "one\n  two", "three")], [])) == ["one two<br/>three"]


def test_a_chain_is_drawn_downwards_and_a_fan_to_the_right() -> None:
    chain = [Arrow(f"{at}", f"{at + 1}") for at in range(4)]
    fan = [Arrow(f"{at}", "9") for at in range(4)]

    assert direction([box(f"{at}") for at in range(5)], chain) == "TB"
    assert direction([box(f"{at}") for at in (0, 1, 2, 3, 9)], fan) == "LR"
    assert direction([], []) == "TB"


def test_arrows_tell_what_blocks_and_what_does_not_trigger() -> None:
    arrows = [
        Arrow("a", "b"),
        Arrow("a", "c", triggers=False, text="signal"),
        Arrow("b", "c", triggers=False, blocks=True),
        Arrow("b", "elsewhere"),
    ]

    lines = draw_flowchart([box("a"), box("b"), box("c")], arrows).splitlines()

    assert [line.strip() for line in lines if re.search(r"n\d .*n\d$", line)] == [
        "n0 --> n1",
        "n0 -.->|signal| n2",
        "n1 ==> n2",
    ]


def test_roots_have_a_thick_frame_and_the_flow_asked_about_is_round() -> None:
    diagram = draw_flowchart([box("a", root=True), box("b", asked=True), box("c", root=True)], [])

    assert '  n1(["b"]):::READY' in diagram
    assert diagram.endswith("  class n0,n2 root")
    assert "classDef root stroke-width" in diagram
    assert "root" not in draw_flowchart([box("a")], [])


def test_a_flow_that_is_ready_and_waits_all_the_same_has_a_dashed_frame() -> None:
    nodes = [node("a", status="READY"), node("b"), node("c", status="READY", waits_for=[])]

    diagram = draw_freshness({"nodes": nodes, "edges": []})

    assert "\n  class n0 waits\n" in diagram
    assert "stroke-dasharray" in diagram


def node(name: str, **more: Any) -> dict[str, Any]:
    return {
        "flow_id": name,
        "resource": name,
        "flow_kind": "refresh",
        "status": "STALE",
        "reason": "UpstreamAdvanced",
        "since": "2026-01-05T09:30:12.5+00:00",
        "why": "it waits for its upstreams",
        "waits_for": ["x"],
        "asked": False,
        "root": False,
        "explained": True,
        "root_causes": [],
        **more,
    }


def test_a_flow_that_waits_names_the_first_of_many_roots() -> None:
    roots = [f"r{at}.refresh" for at in range(5)]
    graph = {"nodes": [node("a", root_causes=roots)], "edges": []}

    (label,) = labels(draw_freshness(graph))

    assert label.endswith("waits for r0.refresh, r1.refresh, r2.refresh and 2 more")


def test_a_root_says_since_when_and_why_at_a_length_that_a_box_holds() -> None:
    root = node("a", waits_for=[], root=True, status="ERROR", reason="RunFailed", why="word " * 90)

    (label,) = labels(draw_freshness({"nodes": [root], "edges": []}))

    first, state, since, why = label.split("<br/>")
    assert (first, state) == ("a.refresh", "ERROR · RunFailed")
    assert since == "since 2026-01-05 09:30 UTC"
    assert why.endswith("word …")
    assert len(why) <= 140


def test_a_lineage_that_no_page_draws_is_a_sentence() -> None:
    nodes = [
        {"flow_id": f"{at}", "name": f"i{at}", "flow_kind": "refresh", "status": "READY"}
        for at in range(MOST_BOXES + 1)
    ]

    assert "```" not in draw_lineage({"nodes": nodes, "edges": []})
    assert draw_lineage({"nodes": nodes[1:], "edges": []}).count("```") == 2
