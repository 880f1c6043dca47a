"""The hop: an upstream's READY committed → the body of the downstream's flow, by stages.

The comparison is Prefect's own process worker, as it is installed, behind the same gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from benchmarks.cascades import Home, Hop, hop_between
from benchmarks.live import derived, new_day, source
from benchmarks.record import Figure, Run, Target

PLAIN = "plain"
PROJECT = "hop"


def measure(run: Run) -> Iterator[Figure]:
    """Median, p95 and stages of the hop in a small graph."""
    live, path = run.live, run.scratch / "hop.csv"
    new_day(path)
    live.services.prefect.ensure_work_pool(PLAIN, "process", None)
    home = Home(live, PROJECT)
    with live.worker(PLAIN):
        chain = [source("up", path), derived("warm", "up"), derived("plain", "up", pool=PLAIN)]
        live.apply(PROJECT, chain)
        plain = [_hop(home, path, "plain") for _ in range(run.pick(1, 5))]
    live.cli("pause", f"{PROJECT}/plain")
    warm = [_hop(home, path, "warm") for _ in range(run.pick(2, 15))]
    yield from _figures(warm, plain)


def _hop(home: Home, path: Path, to: str) -> Hop:
    before = len(home.completed(to)), len(home.completed("up"))
    new_day(path)
    home.refresh("up")
    upstream = home.after("up", before[1])
    return hop_between(home, upstream, home.after(to, before[0]))


def _figures(warm: list[Hop], plain: list[Hop]) -> Iterator[Figure]:
    peer, ours = median(h.seconds for h in plain), [h.seconds for h in warm]
    worker = "plain process worker"
    yield Figure("hop", "median", median(ours), "s", worker, peer, Target(1.0))
    yield Figure("hop", "p95", quantiles(ours, n=20)[-1], "s", target=Target(2.0))
    yield Figure(
        "hop", "times faster", peer / median(ours), "×", worker, target=Target(5, least=True)
    )
    for stage in warm[0].stages():
        mine = median(h.stages()[stage] for h in warm)
        theirs = median(h.stages()[stage] for h in plain)
        yield Figure("hop", f"stage: {stage}", 1000 * mine, "ms", worker, 1000 * theirs)
