"""Graphs of flows as tests write them: by name, with ids that follow from the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from prefect_instances.libs.core.aggregation import AggregationContract
from prefect_instances.libs.core.lineage import topological_order
from prefect_instances.libs.core.records import EdgeState, FlowState, InstanceState, Region
from prefect_instances.libs.core.status import (
    FlowKind,
    FlowStatus,
    InstanceType,
    Lifecycle,
    Require,
)

SPACE = UUID("6f2c1d3e-0000-4000-8000-000000000001")
PROJECT = "demo"


@dataclass(frozen=True)
class FlowSpec:
    """One flow; ``instance`` is the instance that owns it, by default one of its own name."""

    name: str
    kind: str = FlowKind.REFRESH
    instance: str = ""

    @property
    def owner(self) -> str:
        """Name of the owning instance."""
        return self.instance or self.name


@dataclass(frozen=True)
class EdgeSpec:
    """One dependency between flows by name."""

    upstream: str
    downstream: str
    require: Require = Require.READY
    triggers: bool = True
    role: str = "input"


@dataclass(frozen=True)
class Graph:
    """Flows, upstreams first, their edges, and the contracts of instances that have their own."""

    flows: tuple[FlowSpec, ...]
    edges: tuple[EdgeSpec, ...] = ()
    contracts: Mapping[str, AggregationContract] = field(default_factory=dict)

    @property
    def instances(self) -> list[str]:
        """Names of the instances, in the order of their first flows."""
        return list(dict.fromkeys(flow.owner for flow in self.flows))


def named(kind: str, name: str) -> UUID:
    """The id of a flow, instance, deployment or project by name."""
    return uuid5(SPACE, f"{kind}:{name}")


def flow_id(name: str) -> UUID:
    """The id of a flow."""
    return named("flow", name)


def edge_id(edge: EdgeSpec) -> UUID:
    """The id of an edge."""
    return named("edge", f"{edge.upstream}>{edge.downstream}:{edge.role}")


def region_of(graph: Graph, lifecycle: Lifecycle = Lifecycle.ACTIVE) -> Region:
    """The whole graph as it is just after provisioning, before any run."""
    instances = [
        InstanceState(
            id=named("instance", name),
            name=name,
            project_id=named("project", PROJECT),
            project=PROJECT,
            type=InstanceType.DATASET,
            lifecycle=lifecycle,
            status=FlowStatus.NOT_INITIALIZED,
            contract=graph.contracts.get(name, AggregationContract()),
        )
        for name in graph.instances
    ]
    flows = [
        FlowState(
            id=flow_id(flow.name),
            instance_id=named("instance", flow.owner),
            kind=flow.kind,
            deployment_id=named("deployment", flow.name),
        )
        for flow in graph.flows
    ]
    return Region(
        instances={instance.id: instance for instance in instances},
        flows={flow.id: flow for flow in flows},
        edges={edge_id(edge): _edge(edge) for edge in graph.edges},
    )


def _edge(edge: EdgeSpec) -> EdgeState:
    return EdgeState(
        id=edge_id(edge),
        upstream=flow_id(edge.upstream),
        downstream=flow_id(edge.downstream),
        role=edge.role,
        require=edge.require,
        triggers=edge.triggers,
    )


def of_pairs(pairs: str) -> Graph:
    """A graph of default edges written as ``"A>B B>D"``."""
    ends = [pair.partition(">") for pair in pairs.split()]
    edges = [EdgeSpec(upstream, downstream) for upstream, _, downstream in ends]
    names = dict.fromkeys(name for edge in edges for name in (edge.upstream, edge.downstream))
    order = topological_order(names, [(edge.upstream, edge.downstream) for edge in edges])
    return Graph(tuple(FlowSpec(name) for name in order), tuple(edges))


def chain() -> Graph:
    """A → B → C."""
    return of_pairs("A>B B>C")


def diamond() -> Graph:
    """A → B → D and A → C → D."""
    return of_pairs("A>B A>C B>D C>D")


def unbalanced_diamond() -> Graph:
    """A → B → D and A → C → C2 → D: the far side is one flow longer."""
    return of_pairs("A>B A>C C>C2 B>D C2>D")


def fan_out() -> Graph:
    """A → D1 … D4."""
    return of_pairs("A>D1 A>D2 A>D3 A>D4")


def mixed_cadences() -> Graph:
    """daily → D ← weekly."""
    return of_pairs("daily>D weekly>D")


def model() -> Graph:
    """prices → one model's training (on request), inference and monitoring, by default policies."""
    return Graph(
        (
            FlowSpec("prices"),
            FlowSpec("training", FlowKind.TRAINING, "model"),
            FlowSpec("inference", FlowKind.INFERENCE, "model"),
            FlowSpec("monitoring", FlowKind.MONITORING, "model"),
        ),
        (
            EdgeSpec("prices", "training", triggers=False),
            EdgeSpec("prices", "inference"),
            EdgeSpec("training", "inference", Require.DATA, role="model"),
            EdgeSpec("inference", "monitoring"),
        ),
    )
