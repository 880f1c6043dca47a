"""What a bystander writes down about a history: contents, their origins, and what is owed.

The ghost knows every output's content and which generation of each triggering ancestor it stems
from, so that a mix of old and new is seen exactly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from uuid import UUID

from prefect_instances.libs.core.records import EdgeState, Region, Run
from prefect_instances.libs.core.status import Cause, FlowStatus, Mode, Reason, Require
from tests.property.graphs import flow_id
from tests.property.worlds import World, content_of

Output = tuple[UUID, int]
"""A flow and the generation of its output; 0 stands for no output."""

Origin = dict[UUID, frozenset[int]]
"""Flow id → the generations of it that an output stems from; more than one is a mix."""


class Ghost:
    """The record of one history."""

    def __init__(self, world: World, state: Region) -> None:
        self.names = {flow_id(flow.name): flow.name for flow in world.graph.flows}
        self.coarse = {flow_id(name) for name in world.coarse}
        self.incoming: dict[UUID, list[UUID]] = defaultdict(list)
        for edge in state.edges.values():
            self.incoming[edge.downstream].append(edge.id)
        # A graph lists upstreams first; whatever order a database returns must not matter.
        self.order = list(self.names)
        self.sources = {flow for flow in self.order if not self.incoming[flow]}
        self.delivered = Counter(dict.fromkeys(self.sources, 1))
        self.contents: dict[Output, str] = {(flow, 0): "nothing" for flow in self.order}
        self.origins: dict[Output, Origin] = {(flow, 0): {} for flow in self.order}
        self.read_source: dict[UUID, int] = {}
        self.gate_successes: Counter[tuple[UUID, int, tuple[tuple[UUID, int], ...]]] = Counter()
        self.owed_full: set[UUID] = set()

    def compute(self, run: Run, source: int) -> str:
        """The output of a run, from exactly what it pinned."""
        inputs = [
            (f"{pin.role}:{self.names[pin.upstream]}", self.contents[pin.upstream, pin.generation])
            for pin in run.pins
        ]
        return self._content(run.flow_id, run.config_version, source, inputs)

    def _content(
        self, flow: UUID, config: int, source: int, inputs: Iterable[tuple[str, str]]
    ) -> str:
        coarse = flow in self.coarse
        return content_of(self.names[flow], config, source, inputs, coarse=coarse)

    def started(self, state: Region, run: Run) -> None:
        """A run pinned its inputs: these are published outputs, and no mix."""
        assert {pin.edge_id for pin in run.pins} == set(self.incoming[run.flow_id])
        for pin in run.pins:
            upstream = state.flows[pin.upstream]
            assert (pin.generation, pin.version_id) == (upstream.generation, upstream.version_id)
        if run.parameters.mode is Mode.FULL:
            self.owed_full.discard(run.flow_id)
        assert run.flow_id not in self.owed_full, "a full refresh was asked for, and forgotten"
        if not run.parameters.force:
            self._reads_no_mix(state, run)

    def _reads_no_mix(self, state: Region, run: Run) -> None:
        seen: Origin = {}
        for pin in run.pins:
            edge, upstream = state.edges[pin.edge_id], state.flows[pin.upstream]
            if edge.require is Require.READY:
                assert upstream.status is FlowStatus.READY, f"read {upstream.status} unforced"
            elif edge.require is Require.DATA:
                assert upstream.generation > 0, "read an upstream without output"
            if edge.require is Require.READY and edge.triggers:
                _merge(seen, self.origins[pin.upstream, pin.generation])
        mixed = {self.names[flow]: sorted(seen[flow]) for flow in seen if len(seen[flow]) > 1}
        assert not mixed, f"{self.names[run.flow_id]} reads a mix of {mixed}"

    def succeeded(self, before: Region, after: Region, run: Run, content: str, source: int) -> None:
        """A run ended well: note what its output is and stems from."""
        flow = after.flows[run.flow_id]
        here = (flow.id, flow.generation)
        if flow.generation == before.flows[flow.id].generation:
            assert self.contents[here] == content, "a cut-off changed the content"
        self.contents[here] = content
        self.origins[here] = self._origin(
            here, [(after.edges[pin.edge_id], pin.generation) for pin in run.pins]
        )
        if flow.id in self.sources:
            self.read_source[flow.id] = source
        self._revalidated(before, after)
        if run.cause in (Cause.GATE, Cause.CONFIG):
            vector = tuple(sorted((pin.edge_id, pin.generation) for pin in run.pins))
            cause = (flow.id, run.config_version, vector)
            self.gate_successes[cause] += 1
            assert self.gate_successes[cause] == 1, f"{self.names[flow.id]} ran twice on {vector}"

    def _revalidated(self, before: Region, after: Region) -> None:
        """Flows that became READY without a run now stem from the newest ancestors."""
        for flow_id_ in self.order:
            old, new = before.flows[flow_id_], after.flows[flow_id_]
            if new.reason is Reason.REVALIDATED and old.reason is not Reason.REVALIDATED:
                assert old.status is FlowStatus.STALE, f"revalidated a flow that was {old.status}"
                edges = [after.edges[edge_id] for edge_id in self.incoming[new.id]]
                here = (new.id, new.generation)
                self.origins[here] = self._origin(here, [(e, e.consumed) for e in edges])

    def _origin(self, here: Output, read: list[tuple[EdgeState, int]]) -> Origin:
        origin: Origin = {here[0]: frozenset({here[1]})}
        for edge, generation in read:
            if edge.triggers:
                _merge(origin, self.origins[edge.upstream, generation])
        return origin

    def check_ready(self, state: Region) -> None:
        """A READY output equals what its flow would compute now, and is no mix."""
        for flow_id_ in self.order:
            flow = state.flows[flow_id_]
            if flow.status is not FlowStatus.READY:
                continue
            origin = self.origins[flow.id, flow.generation]
            for ancestor, generations in origin.items():
                newest = {state.flows[ancestor].generation}
                name = self.names[ancestor]
                assert generations == newest, f"READY on {name} {generations}, it is at {newest}"
            edges = [state.edges[edge_id] for edge_id in self.incoming[flow.id]]
            inputs = [
                (f"{e.role}:{self.names[e.upstream]}", self.contents[e.upstream, e.consumed])
                for e in edges
            ]
            self._equals(state, flow.id, inputs)

    def check_equals_recomputed(self, state: Region) -> None:
        """At rest: every output equals that of computing all from the sources, in order.

        Over edges that do not trigger, the output that was last read stands for the upstream.
        """
        scratch: dict[UUID, str] = {}
        for flow in self.order:
            inputs = []
            for edge_id in self.incoming[flow]:
                edge = state.edges[edge_id]
                old = self.contents[edge.upstream, edge.consumed]
                newest = scratch[edge.upstream] if edge.triggers else old
                inputs.append((f"{edge.role}:{self.names[edge.upstream]}", newest))
            scratch[flow] = self._equals(state, flow, inputs)

    def _equals(self, state: Region, flow_id_: UUID, inputs: list[tuple[str, str]]) -> str:
        flow = state.flows[flow_id_]
        source = self.read_source.get(flow.id, 0)
        expected = self._content(flow.id, flow.config_version, source, inputs)
        actual = self.contents[flow.id, flow.generation]
        assert actual == expected, f"{self.names[flow.id]} holds {actual}, not {expected}"
        return expected


def _merge(into: Origin, origin: Origin) -> None:
    for flow, generations in origin.items():
        into[flow] = into.get(flow, frozenset()) | generations
