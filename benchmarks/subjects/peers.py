"""Airflow and Dagster on the same graphs, in turns with ours; only with ``--only peers``.

Each is installed into an environment of its own; one that cannot be installed is left out, which is
said. Bodies are empty in the peers and a refresh of two rows in ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

from benchmarks.peers.airflow_peer import Airflow
from benchmarks.peers.dagster_peer import Dagster
from benchmarks.peers.environments import Absent, make_environment
from benchmarks.peers.graphs import (
    Graph,
    make_chain,
    make_diamond,
    make_fan_out,
    make_idle,
    make_unbalanced_diamond,
)
from benchmarks.peers.ours import Ours
from benchmarks.peers.systems import System
from benchmarks.peers.turns import Idle, Outcome, measure_idle, take_turn
from benchmarks.record import Figure, Run, Target

PEERS = {"airflow": Airflow, "dagster": Dagster}
APART_SECONDS = 3.0
AT_MOST = Target(1.0, of_ratio=True)
NOTHING = Target(0)

Outcomes = Mapping[str, Outcome]


def measure(run: Run) -> Iterator[Figure]:
    """Take turns of all systems, then look at each with many idle assets."""
    ours = Ours(_make_folder(run, "ours"))
    try:
        systems: list[System] = [ours, *_find_peers(run)]
        outcomes = _take_turns(systems, _plan(run), run.rounds)
        idle = make_idle(run.pick(50, 1000))
        used = {
            system.title: measure_idle(system, idle, run.pick(5, 20), run.pick(5, 60))
            for system in systems
        }
    finally:
        ours.live.close()
    yield from make_figures(ours.title, outcomes)
    yield from make_idle_figures(ours.title, used, len(idle))


def _plan(run: Run) -> list[tuple[Graph, int]]:
    """Each graph with the refreshes of one turn."""
    fan_outs = [(make_fan_out(width), 1) for width in run.widths]
    diamonds = [(make_diamond(), run.pick(1, 3)), (make_unbalanced_diamond(APART_SECONDS), 1)]
    return [(make_chain(5), run.pick(1, 5)), *diamonds, *fan_outs]


def _find_peers(run: Run) -> Iterator[System]:
    for name in run.peers or PEERS:
        try:
            programs = make_environment(name)
        except Absent as reason:
            print(f"  {name} is left out: {reason}", file=sys.stderr, flush=True)
            continue
        yield PEERS[name](programs, _make_folder(run, name))


def _make_folder(run: Run, name: str) -> Path:
    folder = run.scratch / name
    folder.mkdir()
    # PostgreSQL runs as another user and has to reach its folder in this one.
    run.scratch.chmod(0o755)
    return folder


def _take_turns(
    systems: Sequence[System], plan: Sequence[tuple[Graph, int]], rounds: int
) -> dict[str, dict[str, Outcome]]:
    """Outcomes by title of the system and of the graph."""
    found: dict[str, dict[str, Outcome]] = {
        system.title: {graph.title: Outcome() for graph, _ in plan} for system in systems
    }
    for _ in range(rounds):
        for system in systems:
            for title, outcome in take_turn(system, plan).items():
                known = found[system.title][title]
                known.refreshes += outcome.refreshes
                known.timings += outcome.timings
                known.verdict += outcome.verdict
    return found


def make_figures(ours: str, outcomes: Mapping[str, Outcomes]) -> Iterator[Figure]:
    """Make the figures of each graph: ours beside each peer, or alone if there is no peer."""
    peers = [title for title in outcomes if title != ours] or [""]
    for graph, mine in outcomes[ours].items():
        for peer in peers:
            theirs = outcomes[peer][graph] if peer else Outcome()
            yield from _compare(graph, mine, peer, theirs)


def _compare(graph: str, mine: Outcome, peer: str, theirs: Outcome) -> Iterator[Figure]:
    for name, value, other in (
        ("hop, median", _median(mine.hops), _median(theirs.hops)),
        ("hop, p95", _p95(mine.hops), _p95(theirs.hops)),
        ("total, median", _median(_totals(mine)), _median(_totals(theirs))),
    ):
        if value is not None:
            yield Figure("peers", f"{graph}: {name}", value, "s", peer, other, AT_MOST)
    for fault in ("lost", "mixed", "doubled"):
        value, other = getattr(mine.verdict, fault), getattr(theirs.verdict, fault)
        yield Figure(
            "peers", f"{graph}: runs {fault}, of {mine.refreshes} refreshes", value, "runs",
            peer, other if peer else None, NOTHING,
        )  # fmt: skip


def make_idle_figures(ours: str, used: Mapping[str, Idle], count: int) -> Iterator[Figure]:
    """Make the figures of the systems at rest, ours beside each peer."""
    mine = used[ours]
    for peer in [title for title in used if title != ours] or [""]:
        theirs = used.get(peer)
        for name, unit in (("cores", "cores"), ("megabytes", "MB"), ("processes", "processes")):
            yield Figure(
                "peers", f"idle, {name}", getattr(mine, name), unit,
                peer, getattr(theirs, name) if theirs else None, AT_MOST, count,
            )  # fmt: skip


def _totals(outcome: Outcome) -> list[float]:
    return [timing.total for timing in outcome.timings]


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _p95(values: Sequence[float]) -> float | None:
    return quantiles(values, n=20)[-1] if len(values) > 1 else None
