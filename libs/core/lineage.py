"""Graph algorithms over ``upstream -> downstream`` pairs: cycles, order, reachability.

Nodes are any hashable values; nothing here knows of flows or instances.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)
Pair = tuple[Node, Node]


def find_cycle(pairs: Iterable[tuple[Node, Node]]) -> list[Node] | None:
    """Return the nodes of one cycle in order, the first one repeated last; None if acyclic."""
    try:
        TopologicalSorter(_upstreams_of(pairs)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def topological_order(nodes: Iterable[Node], pairs: Iterable[tuple[Node, Node]]) -> list[Node]:
    """Sort ``nodes``, upstreams first; stable for equal input. ``pairs`` must be acyclic."""
    listed = list(nodes)
    upstreams = _upstreams_of(pairs)
    sorter = TopologicalSorter({node: upstreams.get(node, ()) for node in listed})
    wanted = set(listed)
    return [node for node in sorter.static_order() if node in wanted]


def levels(nodes: Iterable[Node], pairs: Iterable[tuple[Node, Node]]) -> list[list[Node]]:
    """Group nodes so that each group depends on earlier groups only; return the groups in order."""
    listed = list(nodes)
    known, upstreams = set(listed), _upstreams_of(pairs)
    depth: dict[Node, int] = {}
    for node in topological_order(listed, pairs):
        depth[node] = 1 + max(
            (depth[up] for up in upstreams.get(node, ()) if up in known), default=-1
        )
    grouped: dict[int, list[Node]] = defaultdict(list)
    for node in listed:
        grouped[depth[node]].append(node)
    return [grouped[level] for level in sorted(grouped)]


def descendants(start: Iterable[Node], pairs: Iterable[tuple[Node, Node]]) -> set[Node]:
    """Return all nodes reachable downstream of ``start``, without ``start`` itself."""
    downstreams: dict[Node, list[Node]] = defaultdict(list)
    for upstream, downstream in pairs:
        downstreams[upstream].append(downstream)
    return _reach(start, downstreams)


def ancestors(start: Iterable[Node], pairs: Iterable[tuple[Node, Node]]) -> set[Node]:
    """Return all nodes reachable upstream of ``start``, without ``start`` itself."""
    return _reach(start, _upstreams_of(pairs))


def _upstreams_of(pairs: Iterable[tuple[Node, Node]]) -> dict[Node, list[Node]]:
    upstreams: dict[Node, list[Node]] = defaultdict(list)
    for upstream, downstream in pairs:
        upstreams[downstream].append(upstream)
    return upstreams


def _reach(start: Iterable[Node], following: Mapping[Node, list[Node]]) -> set[Node]:
    origin = set(start)
    seen, queue = set(origin), deque(origin)
    while queue:
        for node in following.get(queue.popleft(), ()):
            if node not in seen:
                seen.add(node)
                queue.append(node)
    return seen - origin
