"""Thousands of instances that are really provisioned in Prefect, and a refresh through 500 of them.

Nothing runs before the root is asked to; most others are sources that nobody asks. Every instance
has its deployment and its block document in Prefect.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.cascades import Home
from benchmarks.live import CannotMeasure, Live, derived, new_day, source
from benchmarks.processes import sum_cpu, sum_pss
from benchmarks.record import Figure, Run

PROJECT, ROOT = "scale", "root"
CASCADE_SECONDS = 1_800.0


def measure(run: Run) -> Iterator[Figure]:
    """Apply, idle, one refresh of the root; then what the databases on disk have become."""
    count, width = run.pick((40, 10), (2_000, 500))
    live, path = run.live, run.scratch / "scale.csv"
    new_day(path)
    leaves = [f"leaf_{number:04d}" for number in range(width)]
    idle = [
        {**source(f"idle_{number:04d}", path), "run_on_provision": False}
        for number in range(count - width - 1)
    ]
    below = [{**derived(name, ROOT), "run_on_provision": False} for name in leaves]
    home = Home(live, PROJECT)
    root = {**source(ROOT, path), "run_on_provision": False}
    yield from _apply(live, [root, *idle, *below], count)
    # Prefect's server is still busy with the events of the manifest.
    time.sleep(run.pick(2, 90))
    yield from _use(live, run.pick(2, 60), count)
    yield from _cascade(home, path, leaves, count)
    for name, file in _databases(live.home):
        yield Figure("scale", f"size of {name}", file.stat().st_size / 1e6, "MB", at=count)


def _apply(live: Live, instances: list[dict[str, Any]], count: int) -> Iterator[Figure]:
    assert live.services
    before, begin = sum_cpu(live.processes("server")), time.monotonic()
    live.apply(PROJECT, instances, wait=False)
    seconds = time.monotonic() - begin
    used = sum_cpu(live.processes("server")) - before
    yield Figure("scale", "apply", seconds, "s", at=count)
    yield Figure("scale", "apply, an instance", 1000 * seconds / count, "ms", at=count)
    yield Figure("scale", "apply, CPU of Prefect's server", used, "s", at=count)


def _use(live: Live, seconds: float, count: int) -> Iterator[Figure]:
    """CPU and memory of server and worker while nothing but the sweep runs."""
    for role in ("server", "worker"):
        before = sum_cpu(live.processes(role))
        time.sleep(seconds)
        used = (sum_cpu(live.processes(role)) - before) / seconds
        yield Figure("scale", f"idle CPU of the {role}", max(0.0, used), "cores", at=count)
        memory = sum_pss(live.processes(role)) / 1e6
        yield Figure("scale", f"memory of the {role}", memory, "MB", at=count)


def _cascade(home: Home, path: Path, leaves: list[str], count: int) -> Iterator[Figure]:
    """From the commit of the root to the last commit of what reads it, twice: made and renewed."""
    for name in ("first run", "refresh"):
        before = {role: sum_cpu(home.live.processes(role)) for role in ("server", "worker")}
        done, root = _count(home), len(home.completed(ROOT))
        new_day(path)
        home.refresh(ROOT)
        committed = datetime.fromisoformat(home.after(ROOT, root)["ended_at"])
        _await(home, done + len(leaves) + 1)
        ends = [datetime.fromisoformat(home.completed(leaf)[0]["ended_at"]) for leaf in leaves]
        what = f"{name} of {len(leaves)} that read the root"
        yield Figure("scale", what, (max(ends) - committed).total_seconds(), "s", at=count)
        for role, was in before.items():
            used = sum_cpu(home.live.processes(role)) - was
            yield Figure("scale", f"{name}, CPU of the {role}", used, "s", at=count)


def _count(home: Home) -> int:
    """Count the runs of the home that succeeded."""
    from sqlalchemy import func, select

    from prefect_instances.libs.core.status import RunStatus
    from prefect_instances.libs.db.models import RunRecord

    with home.live.services.database.read() as session:
        query = select(func.count()).where(RunRecord.status == RunStatus.COMPLETED)
        return int(session.scalar(query) or 0)


def _await(home: Home, wanted: int) -> None:
    until = time.monotonic() + CASCADE_SECONDS
    while _count(home) < wanted:
        if time.monotonic() > until:
            raise CannotMeasure(f"{_count(home)} of {wanted} runs in {CASCADE_SECONDS:.0f} s")
        time.sleep(0.5)


def _databases(home: Path) -> list[tuple[str, Path]]:
    return [
        ("our database", home / "instances.db"),
        ("Prefect's database", home / "prefect" / "prefect.db"),
    ]
