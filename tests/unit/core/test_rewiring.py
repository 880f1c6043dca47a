"""A new configuration: which edges stay, and which flows it makes due."""

from __future__ import annotations

from uuid import uuid4

from prefect_instances.libs.core.reconfiguration import (
    Reconfiguration,
    WantedEdge,
    reconfigure,
    rewire,
)
from prefect_instances.libs.core.records import EdgeState
from prefect_instances.libs.core.status import FlowStatus, Reason, Require
from tests.property.graphs import chain, flow_id
from tests.property.scene import Scene


def edge(upstream: str, downstream: str) -> EdgeState:
    return EdgeState(uuid4(), flow_id(upstream), flow_id(downstream), consumed=1)


def wanted(upstream: str, downstream: str, role: str = "input") -> WantedEdge:
    return WantedEdge(
        flow_id(upstream), flow_id(downstream), role, 0, require=Require.READY, triggers=True
    )


def test_an_edge_that_is_wanted_again_is_kept_and_no_other() -> None:
    kept, gone = edge("A", "C"), edge("B", "C")
    again, new = wanted("A", "C"), wanted("A", "C", "other role")

    rewiring = rewire([kept, gone], [again, new])

    assert rewiring.kept == {kept.id: again}
    assert rewiring.added == (new,)
    assert rewiring.removed == (gone.id,)


def test_only_flows_whose_output_changes_are_stale_and_due() -> None:
    scene = Scene.ready(chain())
    flows = (flow_id("A"), flow_id("B"))
    change = Reconfiguration(flows, {flow_id("B")}, version=2, due={})

    scene.backend.decide(lambda draft: reconfigure(draft, change))

    assert scene.state_of("A") == (FlowStatus.READY, Reason.RUN_SUCCEEDED)
    assert scene.flow("A").config_version == 1
    assert scene.state_of("B") == (FlowStatus.STALE, Reason.CONFIG_CHANGED)
    assert scene.flow("B").config_version == 2
