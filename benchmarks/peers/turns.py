"""Turns: each system alone for a while, on all graphs; what they did, and what they use idle."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.peers.graphs import Graph, Upstreams
from benchmarks.peers.records import (
    BodyRun,
    Timing,
    Verdict,
    has_arrived,
    judge,
    list_refreshes,
    time_refresh,
)
from benchmarks.peers.systems import System
from benchmarks.processes import sum_cpu, sum_pss

ARRIVAL_SECONDS, ARRIVAL_SECONDS_AN_ASSET = 60.0, 3.0
LOOK_SECONDS = 0.5
REST_SECONDS = 3.0


@dataclass
class Outcome:
    """What one system did on one graph in all turns so far."""

    refreshes: int = 0
    timings: list[Timing] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def hops(self) -> list[float]:
        """The hops of all refreshes, in seconds."""
        return [hop for timing in self.timings for hop in timing.hops]


@dataclass(frozen=True, slots=True)
class Idle:
    """What a system uses while nothing happens.

    ``cores``: CPU seconds a second of all its processes; ``megabytes``: the sum of their PSS, which
    counts a page that n processes share as 1/n in each.
    """

    cores: float
    megabytes: float
    processes: int


def merge_upstreams(graphs: Sequence[Graph]) -> Upstreams:
    """Put the assets of all graphs into one project."""
    return {name: read for graph in graphs for name, read in graph.upstreams.items()}


def take_turn(system: System, plan: Sequence[tuple[Graph, int]]) -> dict[str, Outcome]:
    """Start a system, refresh each graph so many times, and end it; outcomes by title of graph.

    The first refresh of the first graph warms up and does not count.
    """
    graphs = [graph for graph, _ in plan]
    with system.running(merge_upstreams(graphs)):
        measure_graph(system, graphs[0], 1)
        return {graph.title: measure_graph(system, graph, count) for graph, count in plan}


def measure_graph(system: System, graph: Graph, count: int) -> Outcome:
    """Refresh a graph ``count`` times, each time until it has arrived, and judge what ran.

    A refresh that has not arrived within ARRIVAL_SECONDS, and some more for each asset, is counted
    as lost.
    """
    begin, refreshes = time.time(), 0
    for _ in range(count):
        refreshes += _refresh(system, graph)
        _wait(system, graph, begin, refreshes)
    time.sleep(REST_SECONDS)
    runs = _since(system, graph, begin)
    known = list_refreshes(graph, runs)
    timings = [time_refresh(graph, runs, refresh) for refresh in known]
    made = [timing for timing in timings if timing is not None]
    outcome = Outcome(refreshes, made, judge(graph, runs))
    print(f"  {system.title}, {graph.title}: {_tell(outcome)}", file=sys.stderr, flush=True)
    return outcome


def _refresh(system: System, graph: Graph) -> int:
    begin = time.monotonic()
    system.refresh(graph.root)
    if graph.apart is None:
        return 1
    time.sleep(max(0.0, begin + graph.apart - time.monotonic()))
    system.refresh(graph.root)
    return 2


def _wait(system: System, graph: Graph, begin: float, refreshes: int) -> None:
    patience = ARRIVAL_SECONDS + ARRIVAL_SECONDS_AN_ASSET * len(graph.upstreams)
    until = time.monotonic() + patience
    while not has_arrived(graph, _since(system, graph, begin), refreshes):
        if time.monotonic() > until:
            return
        # Not more often: reading the records takes its share of the machine.
        time.sleep(LOOK_SECONDS)


def _since(system: System, graph: Graph, begin: float) -> list[BodyRun]:
    return [run for run in system.runs(begin) if run.name in graph.upstreams]


def _tell(outcome: Outcome) -> str:
    if not outcome.timings:
        return f"nothing arrived, {outcome.verdict}"
    totals = ", ".join(f"{timing.total:.2f} s" for timing in outcome.timings)
    return f"hop {median(outcome.hops):.2f} s, totals {totals}, {outcome.verdict}"


def measure_idle(system: System, upstreams: Upstreams, settle: float, seconds: float) -> Idle:
    """Start a system on assets of which none runs; look at it for so many seconds."""
    with system.running(upstreams):
        time.sleep(settle)
        before, begin = sum_cpu(system.processes()), time.monotonic()
        time.sleep(seconds)
        processes = system.processes()
        cores = (sum_cpu(processes) - before) / (time.monotonic() - begin)
        return Idle(max(0.0, cores), sum_pss(processes) / 1e6, len(processes))
