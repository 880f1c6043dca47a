"""Random graphs with random policies, and what their flows would compute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import strategies as st

from prefect_instances.libs.core.aggregation import DEFAULT_PRIORITY, AggregationContract
from prefect_instances.libs.core.commands import RetryPolicy
from prefect_instances.libs.core.status import FlowKind, FlowStatus, Require
from tests.property.backend import DEFAULT_RETRY
from tests.property.graphs import EdgeSpec, FlowSpec, Graph

KINDS = [*FlowKind, "audit"]
"""Kinds of the flows of one instance, in order; the last is one that a definition added."""

POLICIES = [
    *[(Require.READY, True)] * 6,
    (Require.READY, False),
    (Require.DATA, True),
    (Require.DATA, False),
    (Require.NONE, True),
    (Require.NONE, False),
]
SELDOM = st.integers(0, 15).map(lambda drawn: drawn == 15)
"""Whether two flows are joined by a second edge, in another role and with its own policy."""

CONTRACTS = [
    AggregationContract(),
    AggregationContract(priority=(*reversed(DEFAULT_PRIORITY[:-1]), FlowStatus.READY)),
    AggregationContract(priority=(FlowStatus.RUNNING, FlowStatus.READY)),
]


@dataclass(frozen=True)
class World:
    """A graph, and how its flows behave.

    ``coarse`` flows lose information, so that some of their refreshes change nothing;
    ``scheduled`` ones have a deadline; ``unasked`` ones are provisioned without a first request.
    """

    graph: Graph
    coarse: frozenset[str] = frozenset()
    scheduled: frozenset[str] = frozenset()
    unasked: frozenset[str] = frozenset()
    retry: RetryPolicy = DEFAULT_RETRY


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """2–8 flows, upstreams first, some of them sharing an instance."""
    count = draw(st.integers(2, 8))
    names = [f"f{at}" for at in range(count)]
    flows = _flows(names, draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    edges: list[EdgeSpec] = []
    for at in range(1, count):
        for upstream in sorted(draw(st.sets(st.integers(0, at - 1), max_size=3))):
            require, triggers = draw(st.sampled_from(POLICIES))
            edges.append(EdgeSpec(names[upstream], names[at], require, triggers))
            if draw(SELDOM):
                require, triggers = draw(st.sampled_from(POLICIES))
                edges.append(EdgeSpec(names[upstream], names[at], require, triggers, "second"))
    some = st.sets(st.sampled_from(names), max_size=count // 2)
    owners = list(dict.fromkeys(flow.owner for flow in flows))
    return World(
        graph=Graph(flows, tuple(edges), {owners[0]: draw(st.sampled_from(CONTRACTS))}),
        coarse=frozenset(draw(st.sets(st.sampled_from(names)))),
        scheduled=frozenset(draw(some)),
        unasked=frozenset(draw(some)),
        retry=RetryPolicy(
            failed=draw(st.integers(0, 2)),
            crashed=draw(st.integers(0, 2)),
            failed_delay=timedelta(minutes=1),
        ),
    )


def _flows(names: list[str], apart: list[bool]) -> tuple[FlowSpec, ...]:
    flows: list[FlowSpec] = []
    owner, taken = "", 0
    for name, alone in zip(names, apart, strict=True):
        owner, taken = (owner, taken + 1) if owner and not alone else (f"i_{name}", 0)
        flows.append(FlowSpec(name, str(KINDS[taken]), owner))
    return tuple(flows)


def content_of(
    name: str, config: int, source: int, inputs: Iterable[tuple[str, str]], *, coarse: bool
) -> str:
    """What a flow computes: a function of its configuration, its source and exactly its inputs."""
    text = f"{name}|{config}|{source}|{sorted(inputs)}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{name}:{int(digest, 16) % 2}" if coarse else f"{name}:{digest[:16]}"
