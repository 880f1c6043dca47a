"""Cycles, order, levels and reach of a graph."""

from __future__ import annotations

from itertools import pairwise

import pytest

from prefect_instances.libs.core.lineage import (
    ancestors,
    descendants,
    find_cycle,
    levels,
    topological_order,
)

CHAIN = [("A", "B"), ("B", "C")]
DIAMOND = [("A", "B"), ("A", "C"), ("B", "D"), ("C", "D")]
UNBALANCED = [("A", "B"), ("A", "C"), ("C", "C2"), ("B", "D"), ("C2", "D")]
Pairs = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param(CHAIN, None, id="chain"),
        pytest.param(DIAMOND, None, id="diamond"),
        pytest.param([("A", "A")], {"A"}, id="self-reference"),
        pytest.param([("A", "B"), ("B", "A")], {"A", "B"}, id="two-flows"),
        pytest.param(
            [*CHAIN, ("C", "A"), ("C", "D"), ("Z", "A")], {"A", "B", "C"}, id="others-left-out"
        ),
        pytest.param([], None, id="no-edges"),
    ],
)
def test_a_cycle_is_found_where_there_is_one(pairs: Pairs, expected: set[str] | None) -> None:
    cycle = find_cycle(pairs)
    assert (set(cycle) if cycle else None) == expected
    if cycle:
        assert cycle[0] == cycle[-1]
        assert set(pairwise(cycle)) <= set(pairs)


@pytest.mark.parametrize("pairs", [CHAIN, DIAMOND, UNBALANCED], ids=["chain", "diamond", "long"])
def test_upstreams_come_first(pairs: Pairs) -> None:
    nodes = sorted({node for pair in pairs for node in pair}, reverse=True)
    order = topological_order(nodes, pairs)
    assert sorted(order) == sorted(nodes)
    assert all(order.index(up) < order.index(down) for up, down in pairs)


def test_only_the_listed_are_ordered() -> None:
    assert topological_order(["C", "A"], [("A", "C"), ("X", "A")]) == ["A", "C"]


def test_a_flow_without_edges_is_ordered_too() -> None:
    assert topological_order(["X"], []) == ["X"]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param(CHAIN, [["A"], ["B"], ["C"]], id="chain"),
        pytest.param(DIAMOND, [["A"], ["B", "C"], ["D"]], id="diamond"),
        pytest.param(UNBALANCED, [["A"], ["B", "C"], ["C2"], ["D"]], id="unbalanced"),
    ],
)
def test_levels_depend_on_earlier_ones_only(pairs: Pairs, expected: list[list[str]]) -> None:
    assert levels(sorted({node for pair in pairs for node in pair}), pairs) == expected


@pytest.mark.parametrize(
    ("start", "below", "above"),
    [
        pytest.param("A", {"B", "C", "C2", "D"}, set(), id="source"),
        pytest.param("C", {"C2", "D"}, {"A"}, id="middle"),
        pytest.param("D", set(), {"A", "B", "C", "C2"}, id="last"),
    ],
)
def test_reach_leaves_the_start_out(start: str, below: set[str], above: set[str]) -> None:
    assert descendants([start], UNBALANCED) == below
    assert ancestors([start], UNBALANCED) == above
