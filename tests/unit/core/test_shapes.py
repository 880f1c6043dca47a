"""The policies of the edges between flows, by kind of flow and by what a reference says."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.core.status import FlowKind, InstanceType, Require

MODEL = SHAPES[InstanceType.MODEL]


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        pytest.param("training", (None, None), (Require.READY, False), id="training"),
        pytest.param("inference", (None, None), (Require.READY, True), id="inference"),
        pytest.param("monitoring", (None, None), (Require.DATA, False), id="monitoring"),
        pytest.param("training", (None, True), (Require.READY, True), id="training-triggered"),
        pytest.param("inference", (Require.DATA, False), (Require.DATA, False), id="inference-not"),
        pytest.param("monitoring", (Require.READY, None), (Require.READY, False), id="waits"),
        pytest.param("monitoring", (None, True), (Require.DATA, True), id="is-triggered"),
        pytest.param("monitoring", (Require.NONE, False), (Require.NONE, False), id="none"),
    ],
)
def test_an_edge_follows_its_reference_and_else_the_kind_of_flow(
    kind: str, said: tuple[Require | None, bool | None], expected: tuple[Require, bool]
) -> None:
    assert MODEL.policy(kind, *said) == expected


def test_the_own_edges_of_a_model() -> None:
    """A new model predicts anew; a training in progress does not block its predictions."""
    assert [
        (edge.upstream, edge.downstream, edge.require, edge.triggers) for edge in MODEL.inner
    ] == [
        (FlowKind.TRAINING, FlowKind.INFERENCE, Require.DATA, True),
        (FlowKind.INFERENCE, FlowKind.MONITORING, Require.READY, True),
    ]
