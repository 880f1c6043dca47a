"""The fixed shape of each instance type: its flows, what they read, and the edges among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.core.status import TRIGGERED_BY_DEFAULT, FlowKind, InstanceType, Require


@dataclass(frozen=True, slots=True)
class InnerEdge:
    """An edge between two flows of the same instance."""

    upstream: FlowKind
    downstream: FlowKind
    role: str
    require: Require = Require.READY
    triggers: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """What is the same for all instances of one type.

    ``output`` is the flow whose output others read. ``readers`` are the flows that read the
    instance's upstreams; those in ``observers`` only look at what is there: an upstream never
    triggers or blocks them once it has published.
    """

    flows: tuple[FlowKind, ...]
    output: FlowKind
    readers: tuple[FlowKind, ...]
    observers: frozenset[FlowKind] = frozenset()
    inner: tuple[InnerEdge, ...] = ()

    def policy(
        self, kind: FlowKind, require: Require | None, triggers: bool | None
    ) -> tuple[Require, bool]:
        """The policy of an upstream's edge into ``kind``; None is what was not asked for."""
        if kind in self.observers:
            return Require.DATA, False
        by_default = kind in TRIGGERED_BY_DEFAULT
        return require or Require.READY, by_default if triggers is None else triggers


def _single(kind: FlowKind) -> Shape:
    return Shape(flows=(kind,), output=kind, readers=(kind,))


SHAPES: Mapping[str, Shape] = {
    InstanceType.DATASET: _single(FlowKind.REFRESH),
    InstanceType.SIGNAL: _single(FlowKind.REFRESH),
    InstanceType.EXPERIMENT: _single(FlowKind.PREVIEW),
    InstanceType.MODEL: Shape(
        flows=(FlowKind.TRAINING, FlowKind.INFERENCE, FlowKind.MONITORING),
        output=FlowKind.INFERENCE,
        readers=(FlowKind.TRAINING, FlowKind.INFERENCE, FlowKind.MONITORING),
        observers=frozenset({FlowKind.MONITORING}),
        inner=(
            InnerEdge(FlowKind.TRAINING, FlowKind.INFERENCE, "model", Require.DATA),
            InnerEdge(FlowKind.INFERENCE, FlowKind.MONITORING, "predictions"),
        ),
    ),
    InstanceType.OPTIMIZER: _single(FlowKind.OPTIMIZE),
    InstanceType.BACKTEST: _single(FlowKind.BACKTEST),
}
