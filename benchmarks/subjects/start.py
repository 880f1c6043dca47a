"""Starting: what importing the flows adds to Prefect's own import, and the demonstration."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.live import Live
from benchmarks.record import Figure, Run, Target

PREFECT = "import prefect, prefect.flow_engine"
FLOWS = "from prefect_instances.flows import execution_flows, provision_instance, sweep_freshness"


def measure(run: Run) -> Iterator[Figure]:
    """The demonstration runs in a home of its own; ``--quick`` leaves it to the tests."""
    repeats = run.pick(1, 5)
    both, alone = [], []
    for _ in range(repeats + 1):
        alone.append(_import(run.live, PREFECT))
        both.append(_import(run.live, f"{PREFECT}; {FLOWS}"))
    ours, prefect = median(both[1:]), median(alone[1:])
    yield Figure("start", "import of the flows, beyond Prefect", ours - prefect, "s",
                 "import of Prefect", prefect, Target(0.3))  # fmt: skip
    if not run.quick:
        demo = Live()
        begin = time.perf_counter()
        try:
            demo.cli("demo")
            seconds = time.perf_counter() - begin
        finally:
            demo.close()
        yield Figure("start", "demo, prepared environment", seconds, "s", target=Target(90))


def _import(live: Live, code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=live.environment, check=True)
    return time.perf_counter() - begin
