"""Laws of the graph questions, against references that are slow and plain."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.core.lineage import (
    ancestors,
    descendants,
    find_cycle,
    levels,
    topological_order,
)

Pairs = list[tuple[int, int]]
NODE = st.integers(0, 7)
ANY_PAIRS: st.SearchStrategy[Pairs] = st.lists(st.tuples(NODE, NODE), max_size=14)
ACYCLIC: st.SearchStrategy[Pairs] = ANY_PAIRS.map(
    lambda pairs: [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]
)


def closure(pairs: Pairs) -> set[tuple[int, int]]:
    """Every (start, end) of a path of one edge or more, by repetition until nothing is new."""
    reach = set(pairs)
    while True:
        longer = {(a, d) for a, b in reach for c, d in pairs if b == c} | reach
        if longer == reach:
            return reach
        reach = longer


@given(ANY_PAIRS)
def test_a_cycle_is_found_iff_some_node_reaches_itself(pairs: Pairs) -> None:
    cycle = find_cycle(pairs)
    assert (cycle is not None) == any(a == b for a, b in closure(pairs))
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert len(cycle) > 1
        assert set(pairwise(cycle)) <= set(pairs)


@given(ACYCLIC, st.permutations(range(8)))
def test_upstreams_come_first_and_nobody_is_left_out(pairs: Pairs, nodes: list[int]) -> None:
    order = topological_order(nodes, pairs)
    assert sorted(order) == sorted(nodes)
    assert all(order.index(up) < order.index(down) for up, down in pairs)
    assert order == topological_order(nodes, pairs)


@given(ACYCLIC, st.sets(NODE, max_size=8))
def test_only_the_listed_are_ordered(pairs: Pairs, some: set[int]) -> None:
    assert sorted(topological_order(sorted(some), pairs)) == sorted(some)


@given(ACYCLIC, st.sets(NODE, min_size=1))
def test_a_level_depends_on_earlier_ones_and_needs_the_one_before(
    pairs: Pairs, some: set[int]
) -> None:
    inside = [(up, down) for up, down in pairs if up in some and down in some]
    grouped = levels(sorted(some), pairs)
    depth = {node: at for at, level in enumerate(grouped) for node in level}
    assert set(depth) == some
    for node, at in depth.items():
        above = [depth[up] for up, down in inside if down == node]
        assert at == max(above, default=-1) + 1


@given(ANY_PAIRS, st.sets(NODE, max_size=3))
def test_reach_is_the_closure_without_the_start(pairs: Pairs, start: set[int]) -> None:
    paths = closure(pairs)
    assert descendants(start, pairs) == {b for a, b in paths if a in start} - start
    assert ancestors(start, pairs) == {a for a, b in paths if b in start} - start
