"""A chain of five, a fan-out, and an unbalanced diamond with overlapping refreshes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.cascades import SECONDS, Home
from benchmarks.live import derived, eventually, new_day, source
from benchmarks.record import Figure, Run, Target
from prefect_instances.libs.adapters.prefect import DeploymentPlan

APART_SECONDS = 3.0


def measure(run: Run) -> Iterator[Figure]:
    """Each graph is a project of its own; ``--quick`` leaves the diamond to the tests."""
    yield _chain(run)
    yield from _fan_out(run, run.pick(4, 50))
    if not run.quick:
        yield from _diamond(run)


def _prepared(run: Run, project: str, below: list[dict[str, Any]]) -> tuple[Home, Path]:
    path = run.scratch / f"{project}.csv"
    new_day(path)
    run.live.apply(project, [source(f"{project}_a", path), *below])
    home = Home(run.live, project)
    home.rest()
    return home, path


def _chain(run: Run) -> Figure:
    names = [f"chain_{letter}" for letter in "abcde"]
    pairs = pairwise(names)
    home, path = _prepared(run, "chain", [derived(name, up) for up, name in pairs])
    seconds = []
    for _ in range(run.pick(1, 5)):
        before = len(home.completed(names[-1])), len(home.completed(names[0]))
        new_day(path)
        home.refresh(names[0])
        first = home.after(names[0], before[1])
        last = home.after(names[-1], before[0])
        seconds.append((_at(last, "started_at") - _at(first, "started_at")).total_seconds())
    return Figure("cascade", "chain of 5, first body to last", median(seconds), "s",
                  target=Target(4.5))  # fmt: skip


def _fan_out(run: Run, width: int) -> Iterator[Figure]:
    leaves = [f"fan_{number:02d}" for number in range(width)]
    home, path = _prepared(run, "fan", [derived(name, "fan_a") for name in leaves])
    before = {name: len(home.completed(name)) for name in ["fan_a", *leaves]}
    new_day(path)
    home.refresh("fan_a")
    committed = _at(home.after("fan_a", before["fan_a"]), "ended_at")
    runs = [home.after(name, before[name]) for name in leaves]
    bodies = max(_at(run, "started_at") for run in runs)
    ends = max(_at(run, "ended_at") for run in runs)
    name, target = f"fan-out 1→{width}", Target(12) if width == 50 else None
    peer = f"{width} empty runs of Prefect's in the same worker"
    yield Figure(
        "cascade", f"{name}, all bodies started", (bodies - committed).total_seconds(), "s"
    )
    yield Figure(
        "cascade", f"{name}, all committed", (ends - committed).total_seconds(), "s",
        peer, _empty_runs(run, width), target,
    )  # fmt: skip


def _empty_runs(run: Run, count: int) -> float:
    """Seconds from the creation of the first to the end of the last."""
    services = run.live.services
    plan = DeploymentPlan(
        flow_name="empty",
        name="benchmark",
        entrypoint="benchmarks.empty.empty",
        parameter_schema={"type": "object", "properties": {}},
        work_pool=services.settings.pool,
    )
    deployment = services.prefect.ensure_deployment(plan).id
    begin = datetime.now(UTC)
    with ThreadPoolExecutor(4) as callers:
        started = list(
            callers.map(lambda _: services.prefect.start_run(deployment, {}).id, range(count))
        )
    wanted = {"flow_runs": {"id": {"any_": [str(one) for one in started]}}, "limit": count}
    with httpx.Client(base_url=services.prefect.api_url, timeout=30) as client:

        def ended() -> list[dict[str, Any]]:
            runs: list[dict[str, Any]] = client.post("/flow_runs/filter", json=wanted).json()
            return runs if all(one["state_type"] == "COMPLETED" for one in runs) else []

        runs = eventually(ended, SECONDS, f"{count} empty runs")
    return (max(_at(one, "end_time") for one in runs) - begin).total_seconds()


def _diamond(run: Run) -> Iterator[Figure]:
    """A→B→D, A→C→C2→D; the refreshes overlap."""
    below = [
        derived("diamond_b", "diamond_a"),
        derived("diamond_c", "diamond_a"),
        derived("diamond_c2", "diamond_c"),
        derived("diamond_d", "diamond_b", "diamond_c2"),
    ]
    home, path = _prepared(run, "diamond", below)
    sources, joints = len(home.completed("diamond_a")), len(home.completed("diamond_d"))
    for _ in range(2):
        new_day(path)
        home.refresh("diamond_a")
        time.sleep(APART_SECONDS)
    eventually(lambda: len(home.completed("diamond_a")) >= sources + 2, 240, "two refreshes")
    home.rest()
    new = home.completed("diamond_d")[: len(home.completed("diamond_d")) - joints]
    mixed = sum(len(_origins(home, joint)) != 1 for joint in new)
    newest = home.completed("diamond_a")[0]["output_version"]
    lost = 0 if _origins(home, new[0]) == {newest} else 1
    name = "unbalanced diamond, 2 refreshes 3 s apart"
    yield Figure("cascade", f"{name}: runs on mixed inputs", mixed, "runs", target=Target(0))
    yield Figure("cascade", f"{name}: refreshes lost", lost, "runs", target=Target(0))
    yield Figure("cascade", f"{name}: runs of the joint", len(new), "runs", target=Target(2))


def _origins(home: Home, joint: dict[str, Any]) -> set[str]:
    """The versions of A that a run of the joint descends from."""
    made = {
        run["output_version"]: run
        for name in ("diamond_b", "diamond_c", "diamond_c2")
        for run in home.completed(name)
    }
    origins, versions = set(), [pin["version"] for pin in joint["inputs"]]
    while versions:
        version = versions.pop()
        if version in made:
            versions += [pin["version"] for pin in made[version]["inputs"]]
        else:
            origins.add(version)
    return origins


def _at(run: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(run[name])
