"""Flows that the warm worker's test runs, and what they leave for it in files."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
from prefect import Flow, flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings

changed_by_runs: list[str] = []
"""Grows in a run; must be empty again in the next."""


def note(path: str, **values: Any) -> None:
    """Append one line of JSON to the file: what this process knows about itself, and ``values``."""
    known = {
        "time": time.time(),
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "cwd": os.getcwd(),
        "flow_run": os.environ.get("PREFECT__FLOW_RUN_ID"),
    }
    with Path(path).open("a") as file:
        file.write(json.dumps({**known, **values}) + "\n")


def on_end(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Hook: notes that it was called."""
    note(flow_run.parameters["path"], hook=state.type.value, of=str(flow_run.id), flow=flow.name)


@flow
def mark(path: str) -> None:
    """Says when its body started."""
    note(path)
    get_run_logger().info("a line from the body")
    print("printed by the body", flush=True)


@flow(flow_run_name="{word}")
def compare(path: str, word: str) -> None:  # in the run's name
    """Says in what the flow run that it was given differs from what the server has."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    known = context.flow_run.model_dump(mode="json")
    with get_client(sync_client=True) as client:
        read = client.read_flow_run(context.flow_run.id).model_dump(mode="json")
    note(
        path,
        differ={n: [known[n], read[n]] for n in read if known[n] != read[n]},
        heartbeat=get_current_settings().flows.heartbeat_frequency,
    )


@flow
def leak(path: str) -> None:
    """Changes everything that a run can change in its process, and says what it found."""
    import random

    import numpy as np

    note(
        path,
        found=list(changed_by_runs),
        variable=os.environ.get("WARM_LEAK"),
        setting=os.environ.get("WARM_SETTING"),
        files=os.listdir(),
        import_path=sys.path,
        draws=[random.random(), float(np.random.rand())],
        limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )
    changed_by_runs.append("leaked")
    os.environ["WARM_LEAK"] = "leaked"
    Path("leaked").touch()
    resource.setrlimit(resource.RLIMIT_NOFILE, (900, 900))
    os.chdir("/")


@flow
def frames(path: str, root: str) -> None:
    """Works with polars and Delta Lake, whose thread pools do not survive a careless fork."""
    frame = pl.DataFrame({"key": [i % 7 for i in range(50_000)], "value": range(50_000)})
    sums = frame.lazy().group_by("key").agg(pl.col("value").sum()).collect()
    table = f"{root}/{os.getpid()}"
    deltalake.write_deltalake(table, frame)
    deltalake.write_deltalake(table, frame, mode="append")
    read = pl.scan_delta(table).select(pl.len()).collect().item()
    note(path, sums=sums.height, read=read, version=deltalake.DeltaTable(table).version())


@flow(on_crashed=[on_end], on_cancellation=[on_end])
def linger(path: str, seconds: float = 120.0) -> None:
    """Waits, with a child of its own."""
    child = subprocess.Popen(["sleep", str(seconds)])
    note(path, child=child.pid)
    try:
        time.sleep(seconds)
    finally:
        note(path, left=True)


@flow(on_crashed=[on_end], on_cancellation=[on_end])
def stubborn(path: str) -> None:
    """Refuses to be ended."""
    note(path)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001 - being ended is one
            note(path, refused=True)


@flow
async def asynchronous(path: str) -> None:
    """An async flow."""
    await asyncio.sleep(0)
    note(path)


@flow
def fail(path: str) -> None:
    """Raises."""
    note(path)
    raise ValueError("as it should")


@flow(on_crashed=[on_end])
def leave(path: str, code: int, hard: bool) -> None:
    """Ends its process in the middle of the run."""
    note(path)
    if hard:
        os._exit(code)
    sys.exit(code)


@flow(timeout_seconds=1)
def tardy(path: str) -> None:
    """Takes longer than it may."""
    note(path)
    for _ in range(600):
        time.sleep(0.1)


@flow(on_crashed=[on_end])
def greedy(path: str, killed: bool) -> None:
    """Takes more memory than it may: it is refused more, or ended as the kernel ends such."""
    note(path)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
    bytearray(2**34)


@task
def step(path: str, number: int) -> None:
    """Notes its number."""
    note(path, step=number)


@flow
def steps(path: str, count: int) -> None:
    """Takes many short steps, each a task, so that it can be suspended between two."""
    for number in range(count):
        step(path, number)
        time.sleep(0.1)
