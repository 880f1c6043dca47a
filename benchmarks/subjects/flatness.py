"""Growth with the number of provisioned instances: the hop, and what our processes use idle.

The instances beyond the pair that hops are rows in bulk, READY and without a schedule.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from benchmarks.cascades import Home, hop_between
from benchmarks.live import Live, derived, new_day, source
from benchmarks.processes import sum_cpu
from benchmarks.record import Figure, Run, Target
from benchmarks.rows import fill, tree

PROJECT = "flat"


def measure(run: Run) -> Iterator[Figure]:
    """The same hop, after more and more rows."""
    path = run.scratch / "flat.csv"
    new_day(path)
    run.live.apply(PROJECT, [source("flat_up", path), derived("flat_down", "flat_up")])
    home = Home(run.live, PROJECT)
    home.rest()
    sizes = run.pick([10, 1_000], [10, 100, 1_000, 2_000, 10_000])
    first, there = 0.0, 0
    for size in sizes:
        more, there = size - there, size
        run.live.services.database.transact(
            lambda session: fill(session, more, tree, project=f"rows{more}")  # noqa: B023
        )
        hops = []
        for _ in range(run.pick(1, 9)):
            before = len(home.completed("flat_up")), len(home.completed("flat_down"))
            new_day(path)
            home.refresh("flat_up")
            upstream = home.after("flat_up", before[0])
            hops.append(hop_between(home, upstream, home.after("flat_down", before[1])).seconds)
        first = first or median(hops)
        yield Figure(
            "flatness", "hop", median(hops), "s", f"with {sizes[0]} instances", first,
            Target(1.3, of_ratio=True), size,
        )  # fmt: skip
        if size in (sizes[0], sizes[-1]):
            # At least one sweep's interval, so that the sweep has its share.
            yield from _idle(run.live, run.pick(2, 60), size)


def _idle(live: Live, seconds: float, size: int) -> Iterator[Figure]:
    before = {role: sum_cpu(live.processes(role)) for role in ("worker", "server")}
    time.sleep(seconds)
    used = {role: (sum_cpu(live.processes(role)) - before[role]) / seconds for role in before}
    yield Figure(
        "flatness", "idle CPU of worker, forkservers and sweeps", max(0.0, used["worker"]), "cores",
        "Prefect's server", max(used["server"], 0.001), Target(0.1), size,
    )  # fmt: skip
