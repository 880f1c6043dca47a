"""What the bodies of a graph did: read from a log, timed, and judged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.graphs import Graph

Commits = Mapping[tuple[str, str], float]
"""When the output of an asset's run was recorded, by asset and run, in seconds of the epoch."""


@dataclass(frozen=True, slots=True)
class BodyRun:
    """One run of an asset's body whose output is recorded.

    ``began`` and ``committed`` are in seconds since the epoch; ``origins`` are the refreshes of the
    root that its inputs come from, one unless they are mixed. A root's run is its own origin.
    """

    name: str
    began: float
    committed: float
    origins: frozenset[str]


@dataclass(frozen=True, slots=True)
class Timing:
    """One refresh: ``hops`` has one number of seconds for each descendant.

    A hop lasts from the commit of the asset's last upstream to its body, ``total`` from the commit
    of the root to the commit of the last descendant.
    """

    hops: tuple[float, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What went wrong in all refreshes of a graph; all zero if nothing did.

    ``lost``: an asset has no run of its own on a refresh that it had to reach. ``mixed``: a run
    read the results of more than one refresh. ``doubled``: a run repeats one on the same refresh.
    """

    lost: int = 0
    mixed: int = 0
    doubled: int = 0

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.lost + other.lost, self.mixed + other.mixed, self.doubled + other.doubled
        )


def parse_log(lines: Iterable[str], commits: Commits) -> list[BodyRun]:
    """Read the log of a peer's bodies, without runs that are not committed yet.

    A last line that is not complete yet is left out too.
    """
    found = []
    for line in lines:
        if not line.endswith("\n"):
            continue
        entry = json.loads(line)
        committed = commits.get((entry["name"], entry["run"]))
        if committed is not None:
            origins = frozenset(entry["origins"])
            found.append(BodyRun(entry["name"], entry["began"], committed, origins))
    return found


def list_refreshes(graph: Graph, runs: Iterable[BodyRun]) -> list[str]:
    """List the refreshes of the root, oldest first."""
    roots = sorted((run for run in runs if run.name == graph.root), key=lambda run: run.began)
    return [origin for run in roots for origin in run.origins]


def has_arrived(graph: Graph, runs: Sequence[BodyRun], refreshes: int) -> bool:
    """Tell whether the last of so many refreshes has reached every descendant, unmixed."""
    known = list_refreshes(graph, runs)
    if len(known) < refreshes:
        return False
    reached = {run.name for run in runs if run.origins == {known[-1]}}
    return reached >= set(graph.upstreams)


def time_refresh(graph: Graph, runs: Iterable[BodyRun], refresh: str) -> Timing | None:
    """Time one refresh by the first run of each asset on it; None where one did not run on it."""
    first: dict[str, BodyRun] = {}
    for run in sorted(runs, key=lambda run: run.began):
        if run.origins == {refresh}:
            first.setdefault(run.name, run)
    if first.keys() < set(graph.upstreams):
        return None
    hops = [
        first[name].began - max(first[upstream].committed for upstream in graph.upstreams[name])
        for name in graph.descendants
    ]
    last = max(first[name].committed for name in graph.descendants)
    return Timing(tuple(hops), last - first[graph.root].committed)


def judge(graph: Graph, runs: Sequence[BodyRun]) -> Verdict:
    """Judge all runs of a graph once it is at rest.

    Of refreshes that overlap only the last has to arrive: it contains those before.
    """
    refreshes = list_refreshes(graph, runs)
    wanted = refreshes if graph.apart is None else refreshes[-1:]
    below = [run for run in runs if run.name in graph.descendants]
    counts = Counter((run.name, run.origins) for run in below)
    lost = sum(
        (name, frozenset({refresh})) not in counts
        for name in graph.descendants
        for refresh in wanted
    )
    mixed = sum(len(run.origins) > 1 for run in below)
    return Verdict(lost, mixed, sum(count - 1 for count in counts.values()))
