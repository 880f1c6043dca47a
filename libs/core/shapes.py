"""The shape of each instance type: its flows, what they read, and the edges among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from prefect_instances.libs.core.status import TRIGGERED_BY_DEFAULT, FlowKind, InstanceType, Require

OWN_OUTPUT = "output"
"""The role in which the flows that a definition adds read the instance's own output."""


@dataclass(frozen=True, slots=True)
class InnerEdge:
    """An edge between two flows of the same instance."""

    upstream: str
    downstream: str
    role: str
    require: Require = Require.READY
    triggers: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """The flows of an instance: those of its type, and those that its definition adds.

    ``output`` is the flow whose output others read. ``readers`` are the flows that read the
    instance's upstreams. An upstream neither triggers nor, once it has published, blocks the
    readers in ``observers``, unless the reference to it says so. Upstreams that advance make the
    flows in ``triggered`` due, unless an edge says otherwise.
    """

    flows: tuple[str, ...]
    output: str
    readers: tuple[str, ...]
    observers: frozenset[str] = frozenset()
    inner: tuple[InnerEdge, ...] = ()
    triggered: frozenset[str] = TRIGGERED_BY_DEFAULT

    def adding(self, kind: str, *, output: bool, upstreams: bool, triggered: bool) -> Shape:
        """Return a copy with one more flow, which reads the output, the upstreams, or both."""
        own = InnerEdge(self.output, kind, OWN_OUTPUT, triggers=triggered)
        return replace(
            self,
            flows=(*self.flows, kind),
            readers=(*self.readers, kind) if upstreams else self.readers,
            inner=(*self.inner, own) if output else self.inner,
            triggered=self.triggered | {kind} if triggered else self.triggered,
        )

    def policy(
        self, kind: str, require: Require | None, triggers: bool | None
    ) -> tuple[Require, bool]:
        """Return the policy (``require``, ``triggers``) of an upstream's edge into ``kind``.

        None for ``require`` or ``triggers`` means the default of the flow.
        """
        if kind in self.observers:
            return require or Require.DATA, bool(triggers)
        by_default = kind in self.triggered
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
